"""Refinement against literal definitions, and on photos whose edges are known."""

import cv2
import numpy as np
import pytest

from cratecli.emergence.masks import iou
from cratecli.emergence.refine import grabcut, guided_filter

RNG = np.random.default_rng(0)


def literal_guided_filter(guide: np.ndarray, soft: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Fit `a I + b` in each window by ridge regression, and average the fits of all windows over a pixel."""

    def windows(values: np.ndarray) -> list[list[np.ndarray]]:
        padded = np.pad(values, radius, mode="symmetric")
        size = 2 * radius + 1
        return [
            [padded[r : r + size, c : c + size] for c in range(values.shape[1])]
            for r in range(values.shape[0])
        ]

    slope, offset = np.zeros_like(soft), np.zeros_like(soft)
    for r, (guides, softs) in enumerate(zip(windows(guide), windows(soft), strict=True)):
        for c, (i, p) in enumerate(zip(guides, softs, strict=True)):
            slope[r, c] = ((i * p).mean() - i.mean() * p.mean()) / (i.var() + epsilon)
            offset[r, c] = p.mean() - slope[r, c] * i.mean()
    means = [np.array([[w.mean() for w in row] for row in windows(v)]) for v in (slope, offset)]
    return np.asarray(np.clip(means[0] * guide + means[1], 0, 1))


def two_regions(height: int, width: int, inside: np.ndarray) -> np.ndarray:
    """Draw two flat colours, with the grain of a photo."""
    flat = np.where(inside[..., None], (200, 90, 40), (40, 110, 160))
    return np.clip(flat + RNG.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def disc(height: int, width: int) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    radius = min(height, width) * 0.3
    return np.asarray((rows - height * 0.4) ** 2 + (cols - width * 0.55) ** 2 <= radius**2)


def rough(inside: np.ndarray, shift: int, blur: float) -> np.ndarray:
    """Blur a region and push it aside, as a map of patches does."""
    moved = np.roll(inside.astype(np.float32), shift, axis=1)
    return np.asarray(cv2.GaussianBlur(moved, (0, 0), blur), np.float32)


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-4), (2, 1e-2), (3, 1e-4)])
def test_guided_filter_is_its_definition(radius: int, epsilon: float) -> None:
    rgb = RNG.integers(0, 256, (9, 12, 3), np.uint8)
    soft = RNG.random((9, 12), np.float32)
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    expected = literal_guided_filter(guide, soft.astype(np.float64), radius, epsilon)
    np.testing.assert_allclose(guided_filter(rgb, soft, radius, epsilon), expected, atol=1e-3)


def test_guided_filter_moves_the_edge_to_the_photo() -> None:
    inside = np.zeros((60, 80), bool)
    inside[:, 40:] = True
    rgb = np.where(inside[..., None], 200, 60).astype(np.uint8).repeat(3, axis=2)
    soft = np.clip((np.arange(80, dtype=np.float32) - 34) / 20, 0, 1)[None].repeat(60, axis=0)
    assert iou(soft >= 0.5, inside) < 0.91
    assert iou(guided_filter(rgb, soft, radius=8) >= 0.5, inside) > 0.97


def test_guided_filter_leaves_a_flat_map_flat() -> None:
    rgb = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_allclose(
        guided_filter(rgb, np.full((20, 30), 0.25, np.float32), radius=4), 0.25, atol=1e-4
    )


def test_grabcut_finds_the_true_edge() -> None:
    inside = disc(120, 160)
    soft = rough(inside, shift=6, blur=6)
    assert iou(soft >= 0.5, inside) < 0.88
    assert iou(grabcut(two_regions(120, 160, inside), soft, 0.5), inside) > 0.99


def test_grabcut_draws_edges_at_the_photos_own_size() -> None:
    """It works on a small copy of large photos: the edge must still be the large photo's."""
    inside = disc(900, 1200)
    soft = rough(inside, shift=40, blur=40)
    assert iou(soft >= 0.5, inside) < 0.9
    mask = grabcut(two_regions(900, 1200, inside), soft, 0.5)
    assert mask.shape == (900, 1200)
    assert iou(mask, inside) > 0.99
    core = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))).astype(bool)
    rim = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~core
    wrong = np.count_nonzero((mask != inside) & rim) / np.count_nonzero(rim)
    assert wrong < 0.2  # a staircase of the copy's pixels is wrong far oftener


def test_grabcut_is_the_same_each_time() -> None:
    rgb = RNG.integers(0, 256, (60, 80, 3), np.uint8)
    soft = rough(disc(60, 80), shift=3, blur=4)
    first = grabcut(rgb, soft, 0.5)
    cv2.setRNGSeed(99)
    RNG.random(5)
    np.testing.assert_array_equal(grabcut(rgb, soft, 0.5), first)


def test_grabcut_leaves_its_inputs_alone() -> None:
    inside = disc(60, 80)
    rgb, soft = two_regions(60, 80, inside), rough(inside, shift=3, blur=4)
    before = rgb.copy(), soft.copy()
    grabcut(rgb, soft, 0.5)
    np.testing.assert_array_equal(rgb, before[0])
    np.testing.assert_array_equal(soft, before[1])


def test_grabcut_leaves_all_and_nothing_as_they_are() -> None:
    rgb = two_regions(40, 50, disc(40, 50))
    soft = rough(disc(40, 50), shift=2, blur=3)
    assert grabcut(rgb, soft, 0.0).all()
    assert not grabcut(rgb, soft, 2.0).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 700), (700, 2), (3, 3)])
def test_thin_photos_are_refined(size: tuple[int, int]) -> None:
    height, width = size
    rgb = RNG.integers(0, 256, (*size, 3), np.uint8)
    soft = np.linspace(0, 1, height * width, dtype=np.float32).reshape(size)
    mask = grabcut(rgb, soft, 0.5)
    assert mask.shape == size
    assert mask.dtype == bool
    filtered = guided_filter(rgb, soft, radius=8)
    assert filtered.shape == size
    assert np.isfinite(filtered).all()


def test_grabcut_has_no_place_of_its_own() -> None:
    """An object in a corner is cut as well as one in the middle."""
    inside = np.zeros((120, 160), bool)
    inside[:50, :60] = True
    soft = np.asarray(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 7), np.float32)
    assert iou(grabcut(two_regions(120, 160, inside), soft, 0.6), inside) > 0.99
