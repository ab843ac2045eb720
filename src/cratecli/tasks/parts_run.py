"""One run of parts over a folder: a vocabulary, learned or known, and every photo labelled by it."""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cratecli.emergence.parts import Vocabulary, in_order, rename
from cratecli.errors import UsageError
from cratecli.io.formats.png import encode_rgb
from cratecli.io.sheet import Tile
from cratecli.model.engine import Model
from cratecli.runs.batch import Outcomes
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job, SeenPhoto, Skipped
from cratecli.runs.limits import temporary_folder
from cratecli.runs.parts_plan import PARTS_FILE, SHEET_FILE
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.runs.provenance import Provenance
from cratecli.runs.session import Session, provenance_of
from cratecli.tasks.options import PartOptions, read_names
from cratecli.tasks.parts import Album
from cratecli.tasks.parts_album import PartsPhoto, fill_album, label_album, label_photos
from cratecli.tasks.parts_pictures import (
    SHEET,
    PartOutput,
    PartPicture,
    PictureWriter,
    is_arrays,
    parts_sheet,
    thumbnail,
)
from cratecli.tasks.parts_vocabulary import Saved, load_vocabulary, save_vocabulary
from cratecli.tasks.recipes import PartRecipe, choose_part_recipe
from cratecli.tasks.records import PartsRecord, parts_file, parts_record

_Seen = SeenPhoto | Failure | Skipped


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
    plan: Plan, desk: Desk, choice: VocabularyChoice, *, kind: PartOutput
) -> Outcomes[SeenPhoto | PartsPhoto | Written]:
    """Label the photos of a plan; write their pictures, parts.json, the contact sheet and, if asked, the vocabulary.

    Photos that a vocabulary is learned from are `SeenPhoto`s first. A bad photo is a `Failure`, not the end. Raises
    `InputError` where photos show too little to learn from, and `OutputError`.
    """
    if plan.place is None:
        raise ValueError("parts fill a folder")
    recipe = choice.recipe
    about = {"as_": kind, "names": choice.names, **choice.recorded}
    made = provenance_of("parts", plan=plan, desk=desk, several=True, **about)
    with (
        temporary_folder() as folder,
        Session(plan, replace(desk, range=recipe.range), made, shared=False) as session,
    ):
        writer = PictureWriter(session, plan.place, kind, made)
        if choice.known is not None:
            vocabulary = _named(choice.known, choice.names)
            labelled = label_photos(session, vocabulary, recipe, written=writer)
        else:
            album = Album(folder, recipe)
            read = yield from _fill(album, session, recipe)
            if desk.stopping():
                return
            vocabulary = _named(_learned(album, choice, desk), choice.names)
            if choice.save:
                save_vocabulary(choice.save, Saved(vocabulary, recipe), desk.model)
                yield Written(choice.save, b"")
            labelled = label_album(album, read, session, vocabulary, recipe, written=writer)
        summary = _Summary(session, choice, "labels" if is_arrays(kind) else kind, made)
        for outcome in labelled:
            if isinstance(outcome, PartsPhoto):
                summary.add(outcome)
            yield outcome
        if not desk.stopping():
            yield from summary.write(plan.place, vocabulary)


def _fill(album: Album, session: Session, recipe: PartRecipe) -> Generator[_Seen, None, list[Job]]:
    """Show all photos to the model; gives the jobs of those that could be read, in the album's order."""
    read = list[Job]()
    for outcome in fill_album(album, session, recipe):
        if isinstance(outcome, Job):
            read.append(outcome)
            yield SeenPhoto(outcome)
        else:
            yield outcome
    return read


class _Summary:
    """What stands for all photos of a run: parts.json, and a contact sheet of the first."""

    def __init__(
        self, session: Session, choice: VocabularyChoice, picture: PartPicture, made: Provenance
    ) -> None:
        self._session, self._choice, self._picture, self._made = session, choice, picture, made
        self._records: dict[int, PartsRecord] = {}
        self._tiles: dict[int, Tile] = {}

    def add(self, photo: PartsPhoto) -> None:
        """Take a labelled photo in."""
        place = self._session.plan.place_of(photo)
        self._records[place] = parts_record(photo)
        if len(self._tiles) < SHEET:
            self._tiles[place] = thumbnail(photo, self._picture)

    def write(self, folder: Path, vocabulary: Vocabulary) -> Iterator[Written]:
        """Write both files, photos in the order of the inputs, if there are any. Raises `OutputError`."""
        if not self._records:
            return
        session, made = self._session, self._made
        images = [self._records[place] for place in sorted(self._records)]
        tiles = [self._tiles[place] for place in sorted(self._tiles)]
        about = made.seen_from(folder / PARTS_FILE, folder).as_data()
        parts = parts_file(vocabulary, self._choice.recipe, session.desk.model, about, images)
        yield session.write(json.dumps(parts.as_data(), indent=1).encode(), folder / PARTS_FILE)
        text = made.seen_from(folder / SHEET_FILE, folder).to_json()
        sheet = encode_rgb(parts_sheet(vocabulary, tiles, self._picture), text)
        yield session.write(sheet, folder / SHEET_FILE)
        if len(tiles) < len(images):
            session.desk.note(f"the sheet shows {len(tiles)} of {len(images)} photos")


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
