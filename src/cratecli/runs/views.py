"""One forward pass, many questions: photos become views, and views are kept for the next question."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View, absolute_layers, observe
from cratecli.emergence.tiles import observe_in_tiles
from cratecli.errors import InputError
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.io import images
from cratecli.model.device import out_of_memory
from cratecli.model.unroll import WhiteBox
from cratecli.runs.cache import FeatureCache, fingerprint
from cratecli.weights.checkpoint import cached_model

FLAT = 8  # levels of 255, in every channel: photos that show something span a hundred


def as_model(model: WhiteBox | str | Path | None) -> WhiteBox:
    """Take a model as Python callers have it: loaded, or a name or file of one; none is the default model."""
    return model if isinstance(model, WhiteBox) else cached_model(model or None)


def see(
    photos: Sequence[RGB],
    model: WhiteBox,
    layers: Sequence[int],
    sizes: Sequence[int],
    *,
    cache: FeatureCache | None = None,
    trace: bool = False,
    square: bool = False,
    note: Callable[[str], None] = lambda _text: None,
) -> list[list[View]]:
    """Show upright RGB photos to the model at several input short sides (px), the second, fourth, … mirrored.

    Gives each photo's views, in the order of `sizes`. Photos that share a grid go through the model together; what
    `cache` has is not computed again. With `trace`, views know coding rate and zero fraction; with `square`, photos are
    squeezed into squares. One photo that memory does not hold is shown in overlapping tiles, which is noted; several
    raise what torch raises, to be tried apart.
    Raises `InputError` where attention is not finite or even a tile is too large, `OutputError` when the cache
    cannot be written.
    """
    wanted = absolute_layers(layers, model.depth)
    names = [fingerprint(photo) if cache else "" for photo in photos]
    views: list[list[View]] = [[] for _ in photos]
    fitted: tuple[Grid, list[int]] | None = None
    for number, side in enumerate(sizes):
        mirrored = number % 2 == 1
        found: dict[int, View] = {}
        together: dict[Grid, list[int]] = {}
        for index, photo in enumerate(photos):
            size = Size(side, side) if square else Size(*photo.shape[:2])
            grid = fit_grid(size, side, model.patch_size)
            if cache and (kept := _recall(cache, names[index], wanted, grid, mirrored, trace=trace)):
                found[index] = kept
            else:
                together.setdefault(grid, []).append(index)
        for grid, members in together.items():
            if fitted != (grid, members):  # mirrored it is the same batch again
                fitted, batch = (
                    (grid, members),
                    model_inputs([photos[index] for index in members], grid, model),
                )
            seen = _observe(model, batch, wanted, mirrored=mirrored, trace=trace, note=note)
            for index, view in zip(members, seen, strict=True):
                found[index] = view
                if cache:
                    for place, layer in enumerate(wanted):
                        cache.store(names[index], layer, mirrored, view.only(place))
        for index, view in found.items():
            views[index].append(view)
    return views


def _observe(
    model: WhiteBox,
    batch: torch.Tensor,
    layers: Sequence[int],
    *,
    mirrored: bool,
    trace: bool,
    note: Callable[[str], None],
) -> list[View]:
    """Observe photos of one grid together; a single one in tiles where memory does not hold it whole."""
    try:
        return observe(model, batch, layers, mirrored=mirrored, trace=trace)
    except FloatingPointError as error:
        raise InputError(str(error)) from None
    except Exception as error:
        if len(batch) > 1 or not out_of_memory(error):
            raise
    height, width = batch.shape[-2:]  # what the error held on to is free again here
    note(f"out of memory at {height} × {width} px: seen in overlapping tiles")
    try:
        return [observe_in_tiles(model, batch, layers, mirrored=mirrored, trace=trace)]
    except FloatingPointError as error:
        raise InputError(str(error)) from None
    except MemoryError:
        raise InputError("needs more memory than there is, even in tiles: choose a smaller size") from None


def _recall(
    cache: FeatureCache, photo: str, layers: Sequence[int], grid: Grid, mirrored: bool, *, trace: bool
) -> View | None:
    """Put a photo's layers together again; nothing unless every one is there."""
    kept = []
    for layer in layers:
        view = cache.load(photo, layer, grid, mirrored, trace=trace)
        if view is None:
            return None
        kept.append(view)
    return View.stack(kept)


def prepare(image: images.Photo, model: WhiteBox, size: int | None = None) -> Float[torch.Tensor, "1 3 h w"]:
    """Make a photo into what `model.unroll` takes: on the patch grid, normalised, on the model's device.

    `size` is the input's short side in px; none is the model's own. The aspect is kept to the nearest patch.
    """
    rgb = images.as_rgb(image)
    grid = fit_grid(Size(*rgb.shape[:2]), size or model.image_size, model.patch_size)
    return model_inputs([rgb], grid, model)


def model_inputs(photos: Sequence[RGB], grid: Grid, model: WhiteBox) -> torch.Tensor:
    """Fit photos to one grid, as a batch on the model's device and in its number format."""
    fitted = np.stack([images.fit(photo, grid, model.patch_size, model.mean, model.std) for photo in photos])
    parameter = next(model.parameters())
    return torch.from_numpy(fitted).to(parameter.device, parameter.dtype)


def flat(photo: RGB, grid: Grid) -> bool:
    """Tell whether a photo is of one colour but for grain: no patch's mean is more than `FLAT` from another's.

    So is one of texture finer than a patch, or one so dark or pale that all of it lies within `FLAT`.
    """
    means = cv2.resize(photo, (grid.cols, grid.rows), interpolation=cv2.INTER_AREA)
    return bool((np.ptp(means, axis=(0, 1)) <= FLAT).all())
