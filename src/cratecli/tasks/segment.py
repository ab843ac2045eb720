"""Segment photos: the heads' attention becomes one mask an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence import heads as heads_
from cratecli.emergence import refine
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.masks import bounding_box, clean, contrast, enlarge, scale, threshold
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.io.formats.png import Kind, encode
from cratecli.io.formats.record import Annotated, annotate
from cratecli.model.unroll import WeightsId, WhiteBox
from cratecli.runs.batch import Desk, Outcomes, Photo, Question, work_through
from cratecli.runs.cache import FeatureCache
from cratecli.runs.jobs import Job
from cratecli.runs.provenance import Provenance
from cratecli.runs.views import as_model, flat, see
from cratecli.tasks.recipes import Recipe, Refine, choose_recipe


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One photo's mask, and why it is so.

    `mask` and `soft` (0–1, the scaled map before its threshold) have the photo's upright size, as has `box`.
    `heads` lists those that made the map, `head_scores` the label-free score of every head at each of `layers`.
    `confidence`, 0–1, is how far heads, layers and views agree, times how much more attention a patch inside the
    mask gets than one outside. Where `auto` has less than the model's `least_confidence`, the mask is empty: nothing is
    there.
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
    image: images.PhotoLike,
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
    loaded = as_model(model)
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


def segment_batch(
    photos: Sequence[RGB], model: WhiteBox, recipe: Recipe, cache: FeatureCache | None = None
) -> list[Segmentation]:
    """Segment upright RGB photos; those that share their input grids go through the model together."""
    layers = absolute_layers(recipe.layers, model.depth)
    seen = see(photos, model, layers, recipe.sizes, cache=cache)
    return [decide(photo, views, recipe, layers, model) for photo, views in zip(photos, seen, strict=True)]


@dataclass(frozen=True, eq=False)
class Segmented:
    """A job that was done: its result, also as annotation, and its picture, which stands at the job's target."""

    job: Job
    segmentation: Segmentation
    annotated: Annotated
    png: bytes


def segment_jobs(
    jobs: Sequence[Job], desk: Desk, recipe: Recipe, *, kind: Kind | None, made: Provenance | None = None
) -> Outcomes[Segmented]:
    """Segment photos, and write a picture of each if a kind is asked for; a bad photo is a `Failure`, not the end.

    Raises `OutputError` when an output cannot be written.
    """
    layers = absolute_layers(recipe.layers, desk.model.depth)

    def finish(photo: Photo, views: Sequence[View]) -> Segmented:
        found = decide(photo.rgb, views, recipe, layers, desk.model)
        objects = [] if found.empty else [annotate(found.mask, round(found.confidence, 4))]
        annotated = Annotated(photo.job.name, *found.size, objects)
        facts = {
            "heads": list(found.heads),
            "threshold": round(found.threshold, 6),
            "confidence": round(found.confidence, 4),
        }
        png = None
        if kind is not None:
            text = made.told(photo.job, photo.sha256, facts) if made else None
            png = encode(photo.rgb, found.mask, found.soft, kind, text)
        desk.hand_over(photo, png, annotated, **facts)
        return Segmented(photo.job, found, annotated, png or b"")

    return work_through(jobs, desk, Question(layers, recipe.sizes), finish)


def decide(
    photo: RGB, views: Sequence[View], recipe: Recipe, layers: tuple[int, ...], model: WhiteBox
) -> Segmentation:
    """Turn one photo's views, of `layers` counted from 0, into its mask."""
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
    constant = not soft.any() or flat(photo, heads_.common_grid(views))
    if constant:
        soft, confidence = np.zeros_like(soft), 0.0
    if constant or (recipe.heads == "auto" and confidence < model.least_confidence):
        mask = np.zeros(size, bool)
    elif recipe.refine == "grabcut":
        mask = refine.grabcut(photo, soft, cut)
    elif recipe.refine == "guided":
        cell = max(size) / max(heads_.common_grid(views))
        mask = refine.guided_filter(photo, soft, radius=max(1, round(cell))) >= cut
    else:
        mask = soft >= cut
    mask = clean(mask, smallest=recipe.min_area, largest=recipe.largest, fill_holes=recipe.fill_holes)
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
