"""What every head looks at: its attention and its label-free score, beside itself across photos."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.heads import agree, even_share, mean_attention
from cratecli.emergence.masks import enlarge, scale
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.io.formats import ArrayEnding
from cratecli.io.formats.tensors import Arrays
from cratecli.io.sheet import CELL, Tile, contact_sheet, fit_within, heat
from cratecli.model.engine import Model, WeightsId
from cratecli.runs.batch import Outcomes
from cratecli.runs.cache import ViewCache
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Failure, Job, SeenPhoto, Skipped
from cratecli.runs.plan import numbered
from cratecli.runs.planned import HasJob, Plan
from cratecli.runs.portions import Written
from cratecli.runs.refusals import refuse_inputs
from cratecli.runs.session import Session, provenance_of
from cratecli.runs.views import Look, Question, look, views_of
from cratecli.tasks.arrays_run import ArraysPhoto, arrays_run
from cratecli.tasks.combined import write_sheet
from cratecli.tasks.options import ViewOptions
from cratecli.tasks.recipes import ViewRecipe, choose_view_recipe

ROWS = 120  # of a contact sheet: 20,000 px, where programs and formats end at 65,535


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What the heads of some layers attend to in one photo.

    `attention` is the class token's, averaged over the recipe's sizes on the finest grid; each map sums to 1.
    `scores`, −1 to 1, tell how far a head agrees with the others; `shares`, which sum to 1, what `--heads agree`
    gives it for that. It trusts those with at least an even share.
    """

    attention: Float[np.ndarray, "layers k rows cols"]
    scores: Float[np.ndarray, "layers k"]
    shares: Float[np.ndarray, "layers k"]
    layers: tuple[int, ...]
    weights: WeightsId | None

    @property
    def trusted(self) -> Bool[np.ndarray, "layers k"]:
        """Tell which heads carry at least an even share."""
        return even_share(self.shares)


def heads(
    image: images.PhotoLike | Look,
    model: Model | str | Path | None = None,
    **asked: Unpack[ViewOptions],
) -> HeadMaps:
    """Look at every head of some layers in a photo: a path, a Pillow image, an upright RGB array (0–255), or a `Look`.

    Layers and sizes that are left out are those of `segment`. Raises `InputError` for a bad photo, `UsageError` for an
    option that makes no sense, and what `load_model` raises.
    """
    seen = look(image, model, asked.get("range"))
    return heads_batch([seen.rgb], seen.model, choose_view_recipe(seen.model, **asked), seen.cache)[0]


def heads_batch(
    photos: Sequence[RGB], model: Model, recipe: ViewRecipe, cache: ViewCache | None = None
) -> list[HeadMaps]:
    """Look at every head of the recipe's layers, in upright RGB photos."""
    seen = views_of(photos, model, _question(recipe), cache=cache)
    return [_score(views, recipe, model) for views in seen]


def _score(views: Sequence[View], recipe: ViewRecipe, model: Model) -> HeadMaps:
    saliency, layers = agree(views), absolute_layers(recipe.layers, model.depth)
    return HeadMaps(mean_attention(views), saliency.scores, saliency.shares, layers, model.weights)


def _question(recipe: ViewRecipe) -> Question:
    return Question(recipe.layers, recipe.sizes)


@dataclass(frozen=True, eq=False)
class HeadsPhoto:
    """A photo of a run with its heads' maps, as small as a contact sheet shows it."""

    job: Job
    maps: HeadMaps
    thumbnail: RGB

    @property
    def tiles(self) -> list[list[Tile]]:
        """Draw its rows, one a layer: the photo, then every head, those that `agree` trusts framed."""
        size = Size(*self.thumbnail.shape[:2])
        maps = self.maps
        return [
            [
                Tile(self.thumbnail),
                *(
                    Tile(heat(scale(enlarge(each.astype(np.float32), size))), f"{score:.2f}", bool(trusted))
                    for each, score, trusted in zip(attention, scores, trust, strict=True)
                ),
            ]
            for attention, scores, trust in zip(maps.attention, maps.scores, maps.trusted, strict=True)
        ]


def heads_run(plan: Plan, desk: Desk, recipe: ViewRecipe, *, drawn: bool) -> Outcomes[HeadsPhoto | Written]:
    """Look at the photos of a plan, and write contact sheets of them, if they are to be `drawn`.

    The first stands at the plan's target, the others beside it; standard output takes the first alone. A bad photo is
    a `Failure`, not the end. Raises `OutputError` for a sheet that cannot be written, `UsageError` for one that is an
    input.
    """
    sheets = _Sheets(plan, max(1, ROWS // len(recipe.layers))) if drawn else None
    made = provenance_of("heads", recipe.as_data(), plan, desk, several=True)

    def finish(photo: DecodedPhoto, views: Sequence[View]) -> HeadsPhoto:
        return HeadsPhoto(photo.job, _score(views, recipe, desk.model), fit_within(photo.rgb, CELL))

    with Session(plan, replace(desk, range=recipe.range)) as session:
        for outcome in session.work(_question(recipe), finish):
            yield outcome
            if sheets and (ready := sheets.add(outcome)) and not desk.stopping():
                yield write_sheet(session, heads_sheet(ready.photos), made, ready.target, ready.number)
    if sheets and plan.target is None and not desk.stopping() and len(set(sheets.counts)) > 1:
        shown, photos = sheets.counts
        desk.note(
            f"the sheet shows {shown} of {photos} photos; -o FILE writes several sheets, --json has them all"
        )


class _Sheet(NamedTuple):
    """A contact sheet to draw: its photos in the plan's order, its place, and its number among several, from 2."""

    photos: list[HeadsPhoto]
    target: Path | None
    number: int | None


class _Sheets:
    """Photos that wait for their contact sheet, some to each, until all of a sheet are done: memory does not grow."""

    def __init__(self, plan: Plan, together: int) -> None:
        """Put the plan's photos on sheets, `together` on each. Raises `UsageError` for a sheet that is an input."""
        self._plan, self._together = plan, together
        self._missing = Counter(self._sheet_of(SeenPhoto(job)) for job in plan.jobs)
        self._photos: defaultdict[int, list[HeadsPhoto]] = defaultdict(list)
        self._done = Counter[int]()
        for number in self._missing:
            if target := self._target(number):
                refuse_inputs(target, plan.jobs)

    def _sheet_of(self, done: HasJob) -> int:
        return self._plan.place_of(done) // self._together

    def _target(self, number: int) -> Path | None:
        target = self._plan.target
        return target and (numbered(target, number + 1) if number else target)

    def add(self, outcome: HeadsPhoto | Failure | Skipped) -> _Sheet | None:
        """Take what became of a photo; gives a sheet whose last photo that was, if it shows any."""
        number = self._sheet_of(outcome)
        self._missing[number] -= 1
        if isinstance(outcome, HeadsPhoto):
            self._done[number] += 1
            if number == 0 or self._plan.target is not None:
                self._photos[number].append(outcome)
        if self._missing[number] or not (photos := self._photos.pop(number, [])):
            return None
        photos.sort(key=self._plan.place_of)
        return _Sheet(photos, self._target(number), number + 1 if number else None)

    @property
    def counts(self) -> tuple[int, int]:
        """Count the photos of the first sheet, and all."""
        return self._done[0], self._done.total()


def heads_arrays(
    plan: Plan, desk: Desk, recipe: ViewRecipe, ending: ArrayEnding
) -> Outcomes[ArraysPhoto[HeadsPhoto]]:
    """Look at the photos of a plan, and write the maps, scores and shares of each as arrays; see `arrays_run`."""

    def measure(photo: DecodedPhoto, views: Sequence[View]) -> tuple[HeadsPhoto, Arrays]:
        maps = _score(views, recipe, desk.model)
        arrays = {"attention": maps.attention, "scores": maps.scores, "shares": maps.shares}
        numbers = {name: each.astype(np.float32) for name, each in arrays.items()}
        done = HeadsPhoto(photo.job, maps, fit_within(photo.rgb, CELL))
        return done, {"layers": np.array(maps.layers, np.int64), **numbers}

    return arrays_run("heads", plan, desk, recipe, _question(recipe), ending=ending, measure=measure)


def heads_sheet(judged: Sequence[HeadsPhoto]) -> RGB:
    """Put photos under one another, so that a column is one head; several layers of a photo are rows of it."""
    labels, rows = [], []
    for photo in judged:
        for layer, tiles in zip(photo.maps.layers, photo.tiles, strict=True):
            labels.append(f"{Path(photo.job.name).name} · layer {layer}")
            rows.append(tiles)
    count = judged[0].maps.attention.shape[1]
    return contact_sheet(rows, columns=["photo", *(f"head {head}" for head in range(count))], labels=labels)
