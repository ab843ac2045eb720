"""Tiles: what two views of one image say, put together."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from cratecli.emergence.features import View
from cratecli.emergence.heads import agree
from cratecli.emergence.observe import observe
from cratecli.emergence.tiles import join, observe_in_tiles
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.unroll import LayerState
from cratecli.runs.tensors import model_inputs
from cratecli.weights.checkpoint import load_model


def whole(rows: int, cols: int, layers: int = 2, heads: int = 3, width: int = 4) -> View:
    """Give one view of a whole image: smooth attention that sums to one, tokens that tell their place."""
    y, x = np.mgrid[:rows, :cols] / max(rows, cols)
    attention = np.stack(
        [[np.exp(np.sin(3 * y + h) - x * (layer + 1)) for h in range(heads)] for layer in range(layers)]
    )
    attention /= attention.sum(axis=(2, 3), keepdims=True)
    tokens = np.stack([y, x, y * x, x - y], axis=-1)[None].repeat(layers, 0)[..., :width]
    rates = np.arange(layers, dtype=np.float32)
    return View(attention.astype(np.float32), tokens.astype(np.float32), rates, rates / 10)


def cut(view: View, axis: int, start: int, length: int) -> View:
    """Cut a tile out, as its own softmax would have it: what it attends to sums to one again."""
    part = slice(start, start + length)
    attention = view.attention[:, :, part] if axis == 0 else view.attention[:, :, :, part]
    tokens = view.tokens[:, part] if axis == 0 else view.tokens[:, :, part]
    return View(
        attention / attention.sum(axis=(2, 3), keepdims=True), tokens, view.coding_rate, view.zero_fraction
    )


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("length", [4, 5, 6, 7, 16, 33])
def test_what_was_one_is_one_again(axis: int, length: int) -> None:
    grid = Grid(length, 3) if axis == 0 else Grid(3, length)
    view, tile = whole(*grid), -(-length * 5 // 8)
    joined = join(cut(view, axis, 0, tile), cut(view, axis, length - tile, tile), grid, axis)
    assert joined.grid == grid
    np.testing.assert_allclose(joined.attention, view.attention, rtol=1e-4)
    np.testing.assert_allclose(joined.tokens, view.tokens, atol=1e-6)
    np.testing.assert_allclose(joined.coding_rate, view.coding_rate)
    np.testing.assert_allclose(joined.zero_fraction, view.zero_fraction)
    assert joined.attention.dtype == joined.tokens.dtype == np.float32


def test_tiles_that_disagree_are_joined_without_a_step() -> None:
    one, other = cut(whole(16, 4), 0, 0, 10), cut(whole(16, 4), 0, 6, 10)
    other = View(other.attention, other.tokens + 1, other.coding_rate, other.zero_fraction)
    joined = join(one, other, Grid(16, 4), 0)
    steps = np.diff(joined.tokens - whole(16, 4).tokens, axis=1)[..., 0]
    np.testing.assert_allclose(steps[:, :5], 0, atol=1e-6)
    np.testing.assert_allclose(steps[:, 10:], 0, atol=1e-6)
    assert steps.max() <= 0.25 + 1e-6


def test_attention_that_is_nowhere_stays_finite() -> None:
    nothing = View(np.zeros((1, 1, 5, 2), np.float32), np.zeros((1, 5, 2, 3), np.float32), *np.zeros((2, 1)))
    assert np.isfinite(join(nothing, nothing, Grid(8, 2), 0).attention).all()


class Small(Crate):
    """A CRATE with memory for so many patches."""

    def __init__(self, patches: int) -> None:
        super().__init__(CrateConfig(patch_size=4, width=12, heads=3, depth=2, image_size=16, classes=0))
        self.fold()
        self.patches, self.shown = patches, list[tuple[int, int]]()

    def unroll(self, images: Tensor, kept: Tensor | None = None) -> Iterator[LayerState]:
        if images.shape[2] * images.shape[3] > self.patches * 16:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        self.shown.append((images.shape[2] // 4, images.shape[3] // 4))
        return super().unroll(images, kept)


@pytest.mark.parametrize("grid", [Grid(12, 12), Grid(9, 14), Grid(5, 4), Grid(40, 3)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_tiles_are_cut_until_they_fit(grid: Grid, mirrored: bool) -> None:
    model = Small(20)
    image = torch.randn(1, 3, grid.rows * 4, grid.cols * 4)
    view = observe_in_tiles(observe, model, image, [1, 0], mirrored=mirrored, trace=True)
    assert view.grid == grid
    assert max(rows * cols for rows, cols in model.shown) <= 20
    for part in (view.attention, view.tokens, view.coding_rate, view.zero_fraction):
        assert np.isfinite(part).all()
    assert (view.attention.sum(axis=(2, 3)) <= 1 + 1e-5).all()


def test_a_tile_of_the_models_own_size_is_not_cut() -> None:
    with pytest.raises(MemoryError, match="own size"):
        observe_in_tiles(observe, Small(3), torch.randn(1, 3, 48, 48), [0])


def test_other_errors_are_not_cut_smaller() -> None:
    model = Small(100)
    image = torch.full((1, 3, 48, 48), torch.nan)
    with pytest.raises(FloatingPointError):
        observe_in_tiles(observe, model, image, [0])


def test_tiles_see_much_the_same_as_the_whole() -> None:
    """The built-in model, on a disc and a bar before a rough ground."""
    model = load_model(device="cpu")
    random = np.random.default_rng(0)
    rows, cols = np.mgrid[:240, :320]
    disc = (rows - 110) ** 2 + (cols - 150) ** 2 < 70**2
    photo = np.where(disc[..., None], (225, 160, 60), (60, 90, 70)) + random.normal(0, 12, (240, 320, 3))
    photo = np.clip(photo, 0, 255).astype(np.uint8)
    grid = fit_grid(Size(240, 320), 192, model.patch_size)
    image = model_inputs([photo], grid, model)
    layers = range(model.depth)
    (one,), tiled = observe(model, image, layers), observe_in_tiles(observe, model, image, layers)
    first, second = (agree([view]).log_attention.ravel() for view in (one, tiled))
    assert np.corrcoef(first, second)[0, 1] > 0.8
    cosine = (one.unit_tokens() * tiled.unit_tokens()).sum(axis=-1) / model.depth
    assert cosine.mean() > 0.8
