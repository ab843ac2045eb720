"""Superpixels of pictures drawn by hand."""

import numpy as np
import pytest

from cratecli.emergence.superpixels import ROUNDS, SIDE, divide, lab_image, measure, pooling, slic
from cratecli.geometry import Grid

SQUARES = np.repeat(np.repeat(np.array([[0, 1], [2, 3]]), 2, axis=0), 2, axis=1)  # 4 × 4 px, four superpixels


def test_no_superpixel_crosses_a_strong_edge() -> None:
    lab = np.zeros((32, 40, 3), np.float32)
    lab[:, 13:, 0] = 100
    labels = slic(lab, cells=20)
    assert not set(labels[:, :13].flat) & set(labels[:, 13:].flat)


def test_one_colour_is_a_regular_grid() -> None:
    labels = slic(np.zeros((20, 40, 3), np.float32), cells=8)
    expected = np.arange(20)[:, None] // 10 * 4 + np.arange(40) // 10
    np.testing.assert_array_equal(labels, expected)


def test_assignment_is_its_equation() -> None:
    lab = np.random.default_rng(0).uniform(0, 60, (9, 12, 3)).astype(np.float32)
    step, rows, cols = 3.0, 3, 4
    place = np.stack(np.mgrid[:9, :12], axis=-1)
    own = place // 3
    labels = own[..., 0] * cols + own[..., 1]
    for _ in range(ROUNDS):
        means = {
            each: (lab[labels == each].mean(axis=0), place[labels == each].mean(axis=0))
            for each in np.unique(labels).tolist()
        }
        moved = labels.copy()
        for y, x in np.ndindex(9, 12):
            near = {
                min(max(own[y, x, 0] + down, 0), rows - 1) * cols
                + min(max(own[y, x, 1] + right, 0), cols - 1)
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
            }
            away = {
                each: ((lab[y, x] - means[each][0]) ** 2).sum()
                + (12 / step) ** 2 * ((place[y, x] - means[each][1]) ** 2).sum()
                for each in near & means.keys()
            }
            moved[y, x] = min(away, key=lambda each: away[each])
        labels = moved
    expected = np.unique(labels, return_inverse=True)[1].reshape(9, 12)
    np.testing.assert_array_equal(slic(lab, cells=12), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 1), (2, 2)])
def test_tiny_pictures_are_divided(size: tuple[int, int]) -> None:
    pixels = divide(np.full((*size, 3), 90, np.uint8))
    assert max(pixels.labels.shape) == SIDE
    assert pixels.sizes.sum() == pixels.labels.size == pixels.total
    for each in (pixels.lab, pixels.middles, pixels.spreads, pixels.borders):
        assert np.isfinite(each).all()


def test_a_picture_of_any_size_is_divided_small() -> None:
    assert lab_image(np.zeros((30, 300, 3), np.uint8)).shape == (13, SIDE, 3)
    white = lab_image(np.full((5, 5, 3), 255, np.uint8))
    np.testing.assert_allclose(white[0, 0], (100, 0, 0), atol=0.1)


def test_what_is_measured_of_superpixels() -> None:
    lab = np.stack([SQUARES * 10.0, np.zeros((4, 4)), np.ones((4, 4))], axis=-1).astype(np.float32)
    pixels = measure(lab, SQUARES)
    np.testing.assert_array_equal(pixels.sizes, [4, 4, 4, 4])
    np.testing.assert_allclose(pixels.lab[:, 0], [0, 10, 20, 30])
    np.testing.assert_allclose(pixels.middles, [[1, 1], [1, 3], [3, 1], [3, 3]])
    np.testing.assert_allclose(pixels.spreads, 0.5)  # ¼ along each axis
    np.testing.assert_array_equal(pixels.borders, [[0, 2, 2, 0], [2, 0, 0, 2], [2, 0, 0, 2], [0, 2, 2, 0]])
    np.testing.assert_array_equal(pixels.frame, [4, 4, 4, 4])


def test_pooling_averages_over_superpixels() -> None:
    values = np.random.default_rng(0).random((4, 4))
    expected = [values[each == SQUARES].mean() for each in range(4)]
    np.testing.assert_allclose(pooling(SQUARES, Grid(4, 4)) @ values.ravel(), expected)


@pytest.mark.parametrize("grid", [Grid(1, 1), Grid(2, 3), Grid(40, 50)])
def test_pooling_keeps_a_constant_and_is_sparse(grid: Grid) -> None:
    pool = pooling(SQUARES, grid)
    np.testing.assert_allclose(pool @ np.ones(grid.patches), 1)
    assert pool.nnz <= 4 * SQUARES.size
