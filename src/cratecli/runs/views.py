"""One forward pass, many questions: photos become views, and views are kept for the next question. Imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cratecli.arrays import RGB
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.observe_graph import observe_graph
from cratecli.emergence.tiles import observe_in_tiles
from cratecli.errors import InputError, UsageError
from cratecli.geometry import Clicks, Grid, PatchClicks, Size, fit_grid
from cratecli.io import images
from cratecli.io.ranges import Range
from cratecli.model.engine import Model, out_of_memory
from cratecli.model.graph import GraphModel
from cratecli.runs.cache import MemoryCache, ViewCache, fingerprint
from cratecli.weights.loading import cached_model

FLAT = 8  # levels of 255, in every channel: photos that show something span a hundred


@dataclass(frozen=True)
class Question:
    """What the model is asked of every photo: layers, from 0; input short sides, px; whether to trace it.

    The second, fourth, … size is seen mirrored. `square`, a photo is squeezed into a square, as the papers' evaluations
    do. With `trace`, views know coding rate and zero fraction. A photo whose grid at the first size has more than
    `most_patches` is refused before the model is asked. With `clicks`, views hold the attention of the patches there.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    trace: bool = False
    most_patches: int | None = None
    square: bool = False
    clicks: Clicks | None = None

    def clicked(self, size: Size, grid: Grid) -> PatchClicks | None:
        """Give the patches that were clicked on. Raises `UsageError` for a pixel that the photo does not have."""
        if self.clicks is None:
            return None
        if (outside := self.clicks.outside(size)) is not None:
            raise UsageError(
                f"{outside[0]},{outside[1]} is outside the photo: "
                f"upright it is {size.width} × {size.height} px, counted from 0"
            )
        return self.clicks.patches(size, grid)

    def grids(self, size: Size, patch_size: int) -> tuple[Grid, ...]:
        """Give the grids a photo is shown on. Raises `InputError` for one that is too large."""
        grids = tuple(
            fit_grid(Size(side, side) if self.square else size, side, patch_size) for side in self.sizes
        )
        if self.most_patches is not None and grids[0].patches > self.most_patches:
            counts = f"{grids[0].patches:,} patches are more than MaskCut can hold ({self.most_patches:,})"
            raise InputError(f"{counts}: choose a smaller size")
        return grids


@dataclass(frozen=True, eq=False)
class Look:
    """One photo before one model: what the model saw of it is kept in memory, for every further question.

    `segment`, `objects`, `heads`, `layers` and `parts` take it instead of a photo. A question about layers and sizes
    that an earlier one asked about needs no forward pass. `rgb` is the upright photo, 0–255, read by `range`.
    """

    rgb: RGB
    model: Model
    cache: ViewCache = field(default_factory=MemoryCache, repr=False)
    range: str = "auto"


def look(
    image: "images.PhotoLike | Look",
    model: Model | str | Path | None = None,
    range: str | None = None,
) -> Look:
    """Open a photo for several questions: a path, a Pillow image or an upright RGB array (0–255).

    `model` is what `load_model` gave, or a name or file for it; none is the default model. `range` says which of the
    photo's numbers are black and white: `auto`, `full`, `LOW:HIGH` or `percentile:A:B`. The forward pass runs when
    the first question is asked. Raises `InputError` for a bad photo, `UsageError` for a `Look` at another model or by
    another range, and what `load_model` raises.
    """
    if isinstance(image, Look):
        if model is not None and as_model(model) is not image.model:
            raise UsageError("the photo was opened for another model: leave the model out, or look again")
        if range is not None and range != image.range:
            raise UsageError(
                f"the photo was opened with range {image.range!r}: leave the range out, or look again"
            )
        return image
    ready = as_model(model)
    chosen = range or "auto"
    try:
        Range.parse(chosen)
    except ValueError as error:
        raise UsageError(f"range {error}") from None
    return Look(images.as_rgb(image, range=chosen), ready, range=chosen)


def as_model(model: Model | str | Path | None) -> Model:
    """Take a model as Python callers have it: loaded, or a name or file of one; none is the default model."""
    return model if isinstance(model, Model) else cached_model(model or None)


def describe(model: Model, *how: str) -> str:
    """Say in one line which model runs, how, and where."""
    place = model.place
    name = model.weights.name if model.weights else "a model without a name"
    return ", ".join([name, *how, f"{place.engine} {place.device} {place.dtype}"])


def views_of(
    photos: Sequence[RGB],
    model: Model,
    question: Question,
    *,
    cache: ViewCache | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> list[list[View]]:
    """Show upright RGB photos to the model, and give each one's views in the order of the question's sizes.

    Photos that share a grid go through the model together; what `cache` has is not computed again. One photo that
    memory does not hold is shown in overlapping tiles, which is noted; several raise what torch raises, to be tried
    apart. Of a question with clicks the cache learns, but it is asked in any case, and never in tiles.
    Raises `InputError` where attention is not finite, a grid is refused or even a tile is too large, `OutputError` when
    the cache cannot be written, and `UsageError` for clicks outside a photo, or asked of a pooling head.
    """
    layers = absolute_layers(question.layers, model.depth)
    if question.clicks and model.pooling and model.depth - 1 in layers:
        raise UsageError(
            f"layer {model.depth - 1} is a pooling head, which asks for the whole photo, not for a patch: "
            f"choose another layer, such as {model.depth - 2}"
        )
    sizes = [Size(*photo.shape[:2]) for photo in photos]
    grids = [question.grids(size, model.patch_size) for size in sizes]
    names = [fingerprint(photo) if cache else "" for photo in photos]
    views: list[list[View]] = [[] for _ in photos]
    fitted: tuple[Grid, list[int]] | None = None
    for number in range(len(question.sizes)):
        mirrored = number % 2 == 1
        seen: dict[int, View] = {}
        together: dict[tuple[Grid, PatchClicks | None], list[int]] = {}
        for index, name in enumerate(names):
            grid = grids[index][number]
            clicks = question.clicked(sizes[index], grid)
            known = cache if clicks is None else None
            if known and (kept := _recall(known, name, layers, grid, mirrored, trace=question.trace)):
                seen[index] = kept
            else:
                together.setdefault((grid, clicks), []).append(index)
        for (grid, clicks), members in together.items():
            if fitted != (grid, members):  # mirrored it is the same batch again
                fitted, batch = (grid, members), model_inputs([photos[i] for i in members], grid, model)
            shown = _observe(
                model, batch, layers, mirrored=mirrored, trace=question.trace, clicks=clicks, note=note
            )
            for index, view in zip(members, shown, strict=True):
                seen[index] = view
                if cache:
                    for place, layer in enumerate(layers):
                        cache.store(names[index], layer, mirrored, view.only(place))
        for index, view in seen.items():
            views[index].append(view)
    return views


def observe(model: Model, batch: Any, layers: Sequence[int], **how: Any) -> list[View]:
    """Observe a batch of `model_inputs` by the engine that the model is of; see `emergence.observe`."""
    if isinstance(model, GraphModel):
        return observe_graph(model, batch, layers, **how)
    from cratecli.emergence import observe as unrolled
    from cratecli.runs.tensors import white_box

    return unrolled.observe(white_box(model), batch, layers, **how)


def _observe(
    model: Model,
    batch: Any,
    layers: Sequence[int],
    *,
    mirrored: bool,
    trace: bool,
    clicks: PatchClicks | None,
    note: Callable[[str], None],
) -> list[View]:
    """Observe photos of one grid together; a single one in tiles where memory does not hold it whole."""
    try:
        return observe(model, batch, layers, mirrored=mirrored, trace=trace, clicks=clicks)
    except FloatingPointError as error:
        raise InputError(str(error)) from None
    except Exception as error:
        if len(batch) > 1 or not out_of_memory(error):
            raise
    if clicks is not None:
        raise InputError(
            "needs more memory than there is, and a click is not asked in tiles: choose a smaller size"
        )
    height, width = batch.shape[-2:]  # what the error held on to is free again here
    note(f"out of memory at {height} × {width} px: seen in overlapping tiles")
    try:
        return [observe_in_tiles(observe, model, batch, layers, mirrored=mirrored, trace=trace)]
    except FloatingPointError as error:
        raise InputError(str(error)) from None
    except MemoryError:
        raise InputError("needs more memory than there is, even in tiles: choose a smaller size") from None


def _recall(
    cache: ViewCache, photo: str, layers: Sequence[int], grid: Grid, mirrored: bool, *, trace: bool
) -> View | None:
    """Put a photo's layers together again; nothing unless every one is there."""
    kept = []
    for layer in layers:
        view = cache.load(photo, layer, grid, mirrored, trace=trace)
        if view is None:
            return None
        kept.append(view)
    return View.stack(kept)


def model_inputs(photos: Sequence[RGB], grid: Grid, model: Model) -> Any:
    """Fit photos to one grid, as a batch that the model's engine takes; see `tensors.model_inputs` for torch's."""
    fitted = np.stack([images.fit(photo, grid, model.patch_size, model.mean, model.std) for photo in photos])
    if isinstance(model, GraphModel):
        return fitted
    from cratecli.runs import tensors

    return tensors.as_inputs(fitted, model)


def flat(photo: RGB, grid: Grid) -> bool:
    """Tell whether a photo is of one colour but for grain: no patch's mean is more than `FLAT` from another's.

    So is one of texture finer than a patch, or one so dark or pale that all of it lies within `FLAT`.
    """
    means = cv2.resize(photo, (grid.cols, grid.rows), interpolation=cv2.INTER_AREA)
    return bool((np.ptp(means, axis=(0, 1)) <= FLAT).all())
