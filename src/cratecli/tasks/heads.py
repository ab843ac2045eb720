"""What every head looks at: its attention and its label-free score, beside itself across photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.heads import auto, even_share, mean_attention
from cratecli.emergence.masks import enlarge, scale
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.io.sheet import CELL, Tile, contact_sheet, fit_within, heat
from cratecli.model.unroll import WeightsId, WhiteBox
from cratecli.runs.batch import Desk, Outcomes, Photo, Question, work_through
from cratecli.runs.cache import FeatureCache
from cratecli.runs.jobs import Job
from cratecli.runs.views import as_model, see
from cratecli.tasks.recipes import Recipe, choose_recipe

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
    image: images.PhotoLike,
    model: WhiteBox | str | Path | None = None,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
) -> HeadMaps:
    """Look at every head of some layers in one photo: a path, a Pillow image or an upright RGB array (0–255).

    What is left out is as `segment` has it. Raises `InputError` for a bad photo, `UsageError` for an option that
    makes no sense, and what `load_model` raises.
    """
    ready = as_model(model)
    return heads_batch([images.as_rgb(image)], ready, choose_recipe(ready, layers=layers, sizes=sizes))[0]


def heads_batch(
    photos: Sequence[RGB], model: WhiteBox, recipe: Recipe, cache: FeatureCache | None = None
) -> list[HeadMaps]:
    """Look at every head of the recipe's layers, in upright RGB photos."""
    layers = absolute_layers(recipe.layers, model.depth)
    return [_judge(views, layers, model) for views in see(photos, model, layers, recipe.sizes, cache=cache)]


def _judge(views: Sequence[View], layers: tuple[int, ...], model: WhiteBox) -> HeadMaps:
    found = auto(views)
    return HeadMaps(mean_attention(views), found.scores, found.shares, layers, model.weights)


@dataclass(frozen=True, eq=False)
class Judged:
    """A photo that was looked at, as small as a contact sheet shows it."""

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


def heads_jobs(jobs: Sequence[Job], desk: Desk, recipe: Recipe) -> Outcomes[Judged]:
    """Look at photos; a bad one is a `Failure`, not the end."""
    layers = absolute_layers(recipe.layers, desk.model.depth)

    def finish(photo: Photo, views: Sequence[View]) -> Judged:
        return Judged(photo.job, _judge(views, layers, desk.model), fit_within(photo.rgb, CELL))

    return work_through(jobs, desk, Question(layers, recipe.sizes), finish)


def heads_sheet(judged: Sequence[Judged]) -> RGB:
    """Put photos under one another, so that a column is one head; several layers of a photo are rows of it."""
    labels, rows = [], []
    for photo in judged:
        for layer, tiles in zip(photo.maps.layers, photo.tiles, strict=True):
            labels.append(f"{Path(photo.job.name).name} · layer {layer}")
            rows.append(tiles)
    count = judged[0].maps.attention.shape[1]
    return contact_sheet(rows, columns=["photo", *(f"head {head}" for head in range(count))], labels=labels)
