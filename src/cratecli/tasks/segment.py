"""Segment photos: the heads' attention becomes one mask an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from cratecli.emergence import heads as heads_
from cratecli.emergence import refine
from cratecli.emergence.features import View, absolute_layers, observe
from cratecli.emergence.masks import Keep, bounding_box, clean, enlarge, iou, scale, threshold
from cratecli.errors import InputError, UsageError
from cratecli.geometry import Box, Grid, Size, fit_grid
from cratecli.io import images
from cratecli.io.formats.png import Kind, encode
from cratecli.model.crate import Crate
from cratecli.model.unroll import WeightsId, WhiteBox
from cratecli.tasks.batch import Failure, Job, deliver, read_in_batches
from cratecli.weights.checkpoint import load_model

Refine = Literal["none", "guided", "grabcut"]
Heads = Literal["auto", "all"] | tuple[int, ...]
RGB = UInt8[np.ndarray, "height width 3"]

THUMBNAIL = 128  # px: a model trained on images smaller than this sees a photo at several sizes
MARGIN = 0.05  # how far the cut is moved, on the scaled map, to see whether the mask stands


@dataclass(frozen=True)
class Recipe:
    """How attention becomes a mask.

    `layers` count from 0, −1 is the last; `sizes` are input short sides in px, the second, fourth, … seen
    mirrored; `min_area` is a share of the image, 0–1. Raises `UsageError` for what makes no sense.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    heads: Heads = "auto"
    keep: Keep = Keep("mass", 0.6)
    refine: Refine = "none"
    min_area: float = 0.0
    largest: bool = False
    fill_holes: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        if not self.layers or not self.sizes or self.heads == ():
            raise UsageError("at least one layer, one head and one size are needed")
        if not all(1 <= size <= 4096 for size in self.sizes):
            raise UsageError(f"input size {self.sizes} is not within 1 to 4096 px")
        if self.refine not in get_args(Refine):
            raise UsageError(f"refine {self.refine!r} is not one of {', '.join(get_args(Refine))}")
        if not 0 <= self.min_area < 1:
            raise UsageError(f"min-area {self.min_area} is not a share of the image, 0 to 1")

    def __str__(self) -> str:
        """Say the recipe in the command line's words."""
        parts = [
            f"layers {','.join(map(str, self.layers))}",
            f"heads {self.heads if isinstance(self.heads, str) else ','.join(map(str, self.heads))}",
            f"sizes {','.join(map(str, self.sizes))}",
            f"keep {self.keep}",
            f"refine {self.refine}",
        ]
        return ", ".join(parts)


def default_recipe(model: WhiteBox) -> Recipe:
    """Choose what the paper does, or for a model trained on thumbnails what `benchmarks/` found best.

    The paper: the penultimate layer of a CRATE, the last of a ViT, 60 % of the mass (2308.16271, B.1, B.3).
    """
    side = model.image_size
    if side < THUMBNAIL:
        sizes = tuple(round(side * factor) for factor in (1, 1.5, 2, 2.5, 3))
        layers = tuple(range(-min(4, model.depth), 0))
        return Recipe(layers=layers, sizes=sizes, keep=Keep("otsu"), refine="grabcut")
    penultimate = isinstance(model, Crate) and model.depth > 1
    return Recipe(layers=(-2 if penultimate else -1,), sizes=(side, side))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One photo's mask, and why it is so.

    `mask` and `soft` (0–1, the scaled map before its threshold) have the photo's upright size, as has `box`.
    `heads` lists those that made the map, `head_scores` the label-free score of every head at each of `layers`.
    `confidence`, 0–1, is how much of the mask stands when each view alone, or a moved threshold, decides.
    """

    mask: Bool[np.ndarray, "height width"]
    soft: Float[np.ndarray, "height width"]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    head_scores: Float[np.ndarray, "layers k"]
    threshold: float
    confidence: float
    weights: WeightsId | None

    @property
    def size(self) -> Size:
        """Give the photo's height and width, in pixels."""
        return Size(*self.mask.shape)

    @property
    def area(self) -> int:
        """Count the mask's pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> Box | None:
        """Give the mask's bounding box, in pixels; `None` when it is empty."""
        return bounding_box(self.mask)

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing in the mask."""
        return not self.mask.any()


def segment(
    image: RGB | str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    heads: Literal["auto", "all"] | Sequence[int] | None = None,
    keep: str | None = None,
    refine: Refine | None = None,
    min_area: float | None = None,
    largest: bool | None = None,
    fill_holes: bool | None = None,
) -> Segmentation:
    """Segment one photo, a path or an upright RGB array (0–255).

    `model` is what `load_model` gave, or a name or file for it; none is the default model. What is left out is
    as measured best for the model: see `Recipe` for units and ranges, `Keep.parse` for `keep`.
    Raises `InputError` for a bad photo, `UsageError` for an option that makes no sense, and what `load_model`
    raises.
    """
    loaded = model if isinstance(model, WhiteBox) else _loaded(None if model is None else str(model))
    recipe = choose_recipe(
        loaded,
        layers=layers,
        sizes=sizes,
        heads=heads,
        keep=keep,
        refine=refine,
        min_area=min_area,
        largest=largest,
        fill_holes=fill_holes,
    )
    rgb = image if isinstance(image, np.ndarray) else images.read(Path(image))
    return segment_batch([rgb], loaded, recipe)[0]


_loaded = lru_cache(maxsize=1)(load_model)


def choose_recipe(
    model: WhiteBox,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    heads: Literal["auto", "all"] | Sequence[int] | None = None,
    keep: str | None = None,
    refine: Refine | None = None,
    min_area: float | None = None,
    largest: bool | None = None,
    fill_holes: bool | None = None,
) -> Recipe:
    """Take the model's default recipe, and what was asked for instead. Raises `UsageError`."""
    try:
        asked = {
            "layers": layers and absolute_layers(layers, model.depth),
            "sizes": sizes and tuple(sizes),
            "heads": heads if heads is None or isinstance(heads, str) else _known_heads(heads, model.heads),
            "keep": keep and Keep.parse(keep),
            "refine": refine,
            "min_area": min_area,
            "largest": largest,
            "fill_holes": fill_holes,
        }
        recipe = default_recipe(model)
        return replace(recipe, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _known_heads(heads: Sequence[int], count: int) -> tuple[int, ...]:
    if absent := [head for head in heads if not 0 <= head < count]:
        raise ValueError(f"head {absent[0]} of a model with {count} heads, 0 to {count - 1}")
    return tuple(heads)


def segment_batch(photos: Sequence[RGB], model: WhiteBox, recipe: Recipe) -> list[Segmentation]:
    """Segment upright RGB photos; those that share their input grids go through the model together."""
    layers = absolute_layers(recipe.layers, model.depth)
    seen = see(photos, model, recipe)
    return [_decide(photo, views, recipe, layers, model) for photo, views in zip(photos, seen, strict=True)]


def see(photos: Sequence[RGB], model: WhiteBox, recipe: Recipe) -> list[list[View]]:
    """Show each upright RGB photo to the model at the recipe's sizes; gives each photo's views, in that order.

    Raises `InputError` where attention is not finite.
    """
    layers = absolute_layers(recipe.layers, model.depth)
    views: list[list[View]] = [[] for _ in photos]
    for number, side in enumerate(recipe.sizes):
        together: dict[Grid, list[int]] = {}
        for index, photo in enumerate(photos):
            together.setdefault(fit_grid(Size(*photo.shape[:2]), side, model.patch_size), []).append(index)
        for grid, members in together.items():
            batch = _inputs([photos[index] for index in members], grid, model)
            try:
                found = observe(model, batch, layers, mirrored=number % 2 == 1)
            except FloatingPointError as error:
                raise InputError(str(error)) from None
            for index, view in zip(members, found, strict=True):
                views[index].append(view)
    return views


@dataclass(frozen=True, eq=False)
class Segmented:
    """A job that was done: its result, and the picture, which stands at the job's target if it has one."""

    job: Job
    segmentation: Segmentation
    png: bytes


def segment_jobs(
    jobs: Sequence[Job], model: WhiteBox, recipe: Recipe, kind: Kind, batch_size: int, stdin: bytes = b""
) -> Iterator[Segmented | Failure]:
    """Segment and write one job after another, in order of each batch; a bad photo is a `Failure`, not the end.

    Raises `OutputError` when an output cannot be written.
    """
    for photos, failures in read_in_batches(jobs, batch_size, stdin):
        yield from failures
        found = segment_batch([rgb for _, rgb in photos], model, recipe)
        for (job, rgb), result in zip(photos, found, strict=True):
            png = encode(rgb, result.mask, result.soft, kind)
            deliver(job, png)
            yield Segmented(job, result, png)


def prepare(
    image: RGB | str | Path, model: WhiteBox, size: int | None = None
) -> Float[torch.Tensor, "1 3 h w"]:
    """Make a photo into what `model.unroll` takes: on the patch grid, normalised, on the model's device.

    `size` is the input's short side in px; none is the model's own. The aspect is kept to the nearest patch.
    """
    rgb = image if isinstance(image, np.ndarray) else images.read(Path(image))
    grid = fit_grid(Size(*rgb.shape[:2]), size or model.image_size, model.patch_size)
    return _inputs([rgb], grid, model)


def _inputs(photos: Sequence[RGB], grid: Grid, model: WhiteBox) -> torch.Tensor:
    """Fit photos to one grid, as a batch on the model's device and in its number format."""
    fitted = np.stack([images.fit(photo, grid, model.patch_size, model.mean, model.std) for photo in photos])
    parameter = next(model.parameters())
    return torch.from_numpy(fitted).to(parameter.device, parameter.dtype)


def _decide(
    photo: RGB, views: Sequence[View], recipe: Recipe, layers: tuple[int, ...], model: WhiteBox
) -> Segmentation:
    """Turn one photo's views into its mask."""
    size = Size(*photo.shape[:2])
    match recipe.heads:
        case "auto":
            saliency = heads_.auto(views)
        case "all":
            saliency = heads_.fixed(views, range(model.heads))
        case chosen:
            saliency = heads_.fixed(views, chosen)
    cut = threshold(saliency.log_attention, recipe.keep)
    soft = enlarge(scale(saliency.log_attention), size)
    if not (soft.any() and np.ptp(photo, axis=(0, 1)).any()):  # a constant photo or map shows nothing
        soft, mask = np.zeros_like(soft), np.zeros(size, bool)
    elif recipe.refine == "grabcut":
        mask = refine.grabcut(photo, soft, cut)
    elif recipe.refine == "guided":
        cell = max(size) / max(heads_.common_grid(views))
        mask = refine.guided_filter(photo, soft, radius=max(1, round(cell))) >= cut
    else:
        mask = soft >= cut
    mask = clean(mask, min_area=recipe.min_area, largest=recipe.largest, fill_holes=recipe.fill_holes)
    return Segmentation(
        mask=mask,
        soft=soft,
        layers=layers,
        heads=saliency.chosen,
        head_scores=saliency.scores,
        threshold=cut,
        confidence=_stability(saliency, recipe.keep, cut) if mask.any() else 0.0,
        weights=model.weights,
    )


def _stability(saliency: heads_.Saliency, keep: Keep, cut: float) -> float:
    """Average the IoU of the mask with those of each view alone and of a cut moved up and down."""
    scaled = scale(saliency.log_attention)
    mask = scaled >= cut
    alone = [scale(view) >= threshold(view, keep) for view in saliency.views]
    moved = [scaled >= cut + step for step in (-MARGIN, MARGIN)]
    return float(np.mean([iou(mask, other) for other in (*alone, *moved)]))
