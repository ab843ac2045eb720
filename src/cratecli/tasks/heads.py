"""What every head looks at: its attention and its label-free score, beside itself across photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.heads import auto, even_share, mean_attention
from cratecli.emergence.masks import enlarge, scale
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.io.formats import ArrayEnding
from cratecli.io.formats.tensors import Arrays
from cratecli.io.sheet import CELL, Tile, contact_sheet, fit_within, heat
from cratecli.model.unroll import WeightsId, WhiteBox
from cratecli.runs.batch import DecodedPhoto, Desk, Outcomes
from cratecli.runs.cache import ViewCache
from cratecli.runs.jobs import Job
from cratecli.runs.plan import Plan
from cratecli.runs.session import Session, Written, provenance_of
from cratecli.runs.views import Look, Question, look, views_of
from cratecli.tasks.arrays_run import ArraysPhoto, arrays_run
from cratecli.tasks.combined import write_sheet
from cratecli.tasks.options import ViewOptions
from cratecli.tasks.recipes import ViewRecipe, choose_view_recipe

ROWS = 120  # of a contact sheet: what photos come after are left out of it


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What the heads of some layers attend to in one photo.

    `attention` is the class token's, averaged over the recipe's sizes on the finest grid; each map sums to 1.
    `scores`, −1 to 1, tell how far a head agrees with the others; `shares`, which sum to 1, what `--heads auto`
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
    model: WhiteBox | str | Path | None = None,
    **asked: Unpack[ViewOptions],
) -> HeadMaps:
    """Look at every head of some layers in a photo: a path, a Pillow image, an upright RGB array (0–255), or a `Look`.

    Layers and sizes that are left out are those of `segment`. Raises `InputError` for a bad photo, `UsageError` for an
    option that makes no sense, and what `load_model` raises.
    """
    seen = look(image, model)
    return heads_batch([seen.rgb], seen.model, choose_view_recipe(seen.model, **asked), seen.cache)[0]


def heads_batch(
    photos: Sequence[RGB], model: WhiteBox, recipe: ViewRecipe, cache: ViewCache | None = None
) -> list[HeadMaps]:
    """Look at every head of the recipe's layers, in upright RGB photos."""
    seen = views_of(photos, model, _question(recipe), cache=cache)
    return [_score(views, recipe, model) for views in seen]


def _score(views: Sequence[View], recipe: ViewRecipe, model: WhiteBox) -> HeadMaps:
    saliency, layers = auto(views), absolute_layers(recipe.layers, model.depth)
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
        """Draw its rows, one a layer: the photo, then every head, those that `auto` trusts framed."""
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
    """Look at the photos of a plan, and write the contact sheet of the first, if one is to be `drawn`.

    A bad photo is a `Failure`, not the end. Raises `OutputError` when the sheet cannot be written.
    """
    shown: list[HeadsPhoto] = []
    photos = 0

    def finish(photo: DecodedPhoto, views: Sequence[View]) -> HeadsPhoto:
        return HeadsPhoto(photo.job, _score(views, recipe, desk.model), fit_within(photo.rgb, CELL))

    with Session(plan, desk) as session:
        for outcome in session.work(_question(recipe), finish):
            yield outcome
            if isinstance(outcome, HeadsPhoto):
                photos += 1
                if len(shown) * len(recipe.layers) < ROWS:
                    shown.append(outcome)
        if not drawn or not shown or desk.stopping():
            return
        if len(shown) < photos:
            desk.note(f"the sheet shows {len(shown)} of {photos} photos; --json has them all")
        shown.sort(key=plan.place_of)
        made = provenance_of("heads", recipe.as_data(), plan, desk, several=True)
        yield write_sheet(session, heads_sheet(shown), made)


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
