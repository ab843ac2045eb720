"""One run of parts over a folder: a vocabulary, learned or known, and every photo labelled by it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cratecli.emergence.parts import Vocabulary, in_order, rename
from cratecli.errors import UsageError
from cratecli.model.engine import Model
from cratecli.runs.batch import Outcomes
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import SeenPhoto
from cratecli.runs.limits import temporary_folder
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.runs.session import Session, provenance_of
from cratecli.tasks.options import PartOptions, read_names
from cratecli.tasks.parts_album import Labelling, fill_album, label_and_record
from cratecli.tasks.parts_features import KEPT, Album
from cratecli.tasks.parts_pictures import DrawParts, LabelledPhoto, PartOutput
from cratecli.tasks.parts_summary import Summary
from cratecli.tasks.parts_vocabulary import Saved, load_vocabulary, save_vocabulary
from cratecli.tasks.recipes import PartRecipe, choose_part_recipe


@dataclass(frozen=True)
class VocabularyChoice:
    """Where the vocabulary of a run comes from, and how photos are looked at.

    A `known` one, read from `parts`, labels; without, one is learned, and takes names and colours over from `before`.
    With `save` it is saved. `names` replace all names.
    """

    recipe: PartRecipe
    known: Vocabulary | None = None
    parts: Path | None = None
    before: Vocabulary | None = None
    save: Path | None = None
    names: str | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """Give the recipe and the vocabulary's path, as a run records them."""
        if self.known is not None:
            return {
                "recipe": {"refine": self.recipe.refine, "range": self.recipe.range},
                "parts": str(self.parts),
            }
        handed_on = {"save_parts": str(self.save)} if self.before else {}
        return {"recipe": self.recipe.as_data(), **handed_on}


def choose_vocabulary(
    model: Model,
    asked: PartOptions,
    *,
    parts: Path | None = None,
    save: Path | None = None,
    names: str | None = None,
) -> VocabularyChoice:
    """Take the vocabulary saved in `parts`, or settle how one is learned and where it is saved.

    Raises `InputError` for a broken vocabulary, `UsageError` for one of another model or other layers.
    """
    recipe = choose_part_recipe(model, **asked)
    if parts is not None:
        saved = load_vocabulary(parts, model)
        looked = replace(saved.recipe, refine=recipe.refine, range=recipe.range)
        return VocabularyChoice(looked, saved.vocabulary, parts, names=names)
    before = load_vocabulary(save, model) if save and save.exists() else None
    if before and before.recipe.layers != recipe.layers:
        layers = ",".join(map(str, before.recipe.layers))
        raise UsageError(f"{save}: was learned from layer {layers}: give --layer {layers}, or another file")
    if before and asked.get("k") is None:
        recipe = replace(recipe, k=len(before.vocabulary.names))
    words = before.vocabulary if before else None
    return VocabularyChoice(recipe, before=words, save=save, names=names)


def parts_run(
    plan: Plan, desk: Desk, choice: VocabularyChoice, *, kind: PartOutput | None
) -> Outcomes[SeenPhoto | LabelledPhoto | Written]:
    """Label the photos of a plan; write their pictures, parts.json, the contact sheet and, if asked, the vocabulary.

    Photos that a vocabulary is learned from are `SeenPhoto`s first; without a `kind` of pictures nothing else is made
    of them. A bad photo is a `Failure`, not the end. Raises `InputError` where photos show too little to learn from,
    and `OutputError`.
    """
    recipe = choice.recipe
    about = {"as_": kind, "names": choice.names, **choice.recorded}
    made = kind and provenance_of("parts", plan=plan, desk=desk, several=True, **about)
    with (
        temporary_folder() as folder,
        Session(plan, replace(desk, range=recipe.range), made, shared=False) as session,
    ):
        album = failed = None
        if choice.known is not None:
            vocabulary = _named(choice.known, choice.names)
        else:
            needed = recipe.foreground == "pca" or (kind is not None and desk.carrier is None)
            album = Album(folder, recipe, KEPT if needed else 0)
            failed = yield from fill_album(album, session, recipe)
            if desk.stopping():
                return
            vocabulary = _named(_learned(album, choice, desk), choice.names)
            if choice.save:
                save_vocabulary(choice.save, Saved(vocabulary, recipe), desk.model)
                yield Written(choice.save, b"")
        if not kind or not made:
            return
        if plan.place is None:
            raise ValueError("parts fill a folder")
        summary = Summary(session, kind, made, folder)
        draw = DrawParts(plan.place, kind, made)
        labelling = Labelling(vocabulary, recipe, draw, None if desk.carrier else album)
        for outcome in label_and_record(session, labelling, failed):
            if isinstance(outcome, LabelledPhoto):
                summary.add(outcome)
            yield outcome
        if not desk.stopping():
            yield from summary.write(plan.place, vocabulary, recipe)


def _learned(album: Album, choice: VocabularyChoice, desk: Desk) -> Vocabulary:
    """Learn a vocabulary; names and colours come from the one that was there before."""
    learned = album.learn()
    if choice.before is None:
        return learned
    learned = in_order(rename(learned, choice.before))
    if lost := [name for name in choice.before.names if name not in learned.names]:
        desk.note(f"{choice.save}: no part matches, and none is kept, of {', '.join(lost)}")
    return learned


def _named(vocabulary: Vocabulary, names: str | None) -> Vocabulary:
    if names is None:
        return vocabulary
    return replace(vocabulary, names=read_names(names, len(vocabulary.names)))
