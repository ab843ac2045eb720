"""Segment photos: the heads' attention becomes one mask an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from cratecli.emergence import heads as heads_
from cratecli.emergence import refine
from cratecli.emergence.features import View, absolute_layers, observe
from cratecli.emergence.masks import bounding_box, clean, contrast, enlarge, scale, threshold
from cratecli.errors import InputError
from cratecli.geometry import Box, Grid, Size, fit_grid
from cratecli.io import images
from cratecli.io.formats.png import Kind, encode
from cratecli.model.unroll import WeightsId, WhiteBox
from cratecli.tasks.batch import Failure, Job, deliver, outlive, read_in_batches
from cratecli.tasks.recipe import Recipe, Refine, choose_recipe
from cratecli.weights.checkpoint import load_model
from cratecli.weights.registry import default_name

RGB = UInt8[np.ndarray, "height width 3"]

NOTHING = 0.12  # confidence below which `auto` sees nothing: textures reach 0.08, photos begin at 0.14


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One photo's mask, and why it is so.

    `mask` and `soft` (0–1, the scaled map before its threshold) have the photo's upright size, as has `box`.
    `heads` lists those that made the map, `head_scores` the label-free score of every head at each of `layers`.
    `confidence`, 0–1, is how far heads, layers and views agree, times how much more attention a patch inside the
    mask gets than one outside. Where `auto` has next to none, the mask is empty: nothing is there.
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
    image: images.Photo,
    model: WhiteBox | str | Path | None = None,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    heads: Literal["auto", "all"] | Sequence[int] = "auto",
    keep: str | None = None,
    refine: Refine | None = None,
    min_area: float | None = None,
    largest: bool | None = None,
    fill_holes: bool | None = None,
) -> Segmentation:
    """Segment one photo: a path, a Pillow image or an upright RGB array (0–255).

    `model` is what `load_model` gave, or a name or file for it; none is the default model. What is left out is
    as measured best for the model: see `Recipe` for units and ranges, `Keep.parse` for `keep`.
    Raises `InputError` for a bad photo, `UsageError` for an option that makes no sense, and what `load_model`
    raises.
    """
    loaded = model if isinstance(model, WhiteBox) else _loaded(str(model or default_name()))
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
    return segment_batch([images.as_rgb(image)], loaded, recipe)[0]


_loaded = lru_cache(maxsize=1)(load_model)


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
    jobs: Sequence[Job], model: WhiteBox, recipe: Recipe, *, kind: Kind, batch_size: int, stdin: bytes = b""
) -> Iterator[Segmented | Failure]:
    """Segment and write one job after another, in order of each batch; a bad photo is a `Failure`, not the end.

    Raises `OutputError` when an output cannot be written.
    """
    for photos, failures in read_in_batches(jobs, batch_size, stdin):
        yield from failures
        for outcome in outlive(photos, lambda together: segment_batch(together, model, recipe)):
            if isinstance(outcome, Failure):
                yield outcome
                continue
            job, rgb, result = outcome
            png = encode(rgb, result.mask, result.soft, kind)
            deliver(job, png)
            yield Segmented(job, result, png)


def prepare(image: images.Photo, model: WhiteBox, size: int | None = None) -> Float[torch.Tensor, "1 3 h w"]:
    """Make a photo into what `model.unroll` takes: on the patch grid, normalised, on the model's device.

    `size` is the input's short side in px; none is the model's own. The aspect is kept to the nearest patch.
    """
    rgb = images.as_rgb(image)
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
    confidence = saliency.agreement * contrast(saliency.log_attention, cut)
    constant = not (soft.any() and np.ptp(photo, axis=(0, 1)).any())
    if constant:
        soft, confidence = np.zeros_like(soft), 0.0
    if constant or (recipe.heads == "auto" and confidence < NOTHING):
        mask = np.zeros(size, bool)
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
        confidence=confidence,
        weights=model.weights,
    )
