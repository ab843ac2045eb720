"""The random field, against its equations written out."""

import numpy as np
import pytest

from cratecli.emergence import crf
from cratecli.emergence.superpixels import Superpixels, measure

RANDOM = np.random.default_rng(0)


def strip(*lightness: float) -> Superpixels:
    """Paint superpixels of 2 × 2 px side by side, of given lightness."""
    lab = np.zeros((2, 2 * len(lightness), 3), np.float32)
    lab[..., 0] = np.repeat(lightness, 2)
    return measure(lab, np.tile(np.repeat(np.arange(len(lightness)), 2), (2, 1)))


def test_the_kernel_of_two() -> None:
    kernel = crf.gaussian(strip(0, 6), colour=3.0, place=0.5)
    distance = 2 / np.hypot(2, 4)
    expected = np.exp(-36 / 18 - distance**2 / 0.5) * 4
    np.testing.assert_allclose(kernel, [[0, expected], [expected, 0]], rtol=1e-6)


def test_neighbours_shares_sum_to_one_and_one_alone_has_none() -> None:
    np.testing.assert_allclose(crf.kernels(strip(0, 1, 50, 3)).near.sum(axis=1), 1)
    np.testing.assert_array_equal(crf.kernels(strip(5)).near, [[0]])


def test_density_is_the_weighted_mean_of_the_kernel() -> None:
    kernel = np.array([[0, 2.0, 4], [2, 0, 6], [4, 6, 0]])
    found = crf.density(np.array([[0, 1.0, 1]]), kernel, np.array([5.0, 1, 3]))
    np.testing.assert_allclose(found, [[6 / 4, 6 / 4, 6 / 4]])


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(crf.sigmoid(np.array([[-1e9, 0, 1e9]])), [[0, 0.5, 1]])


def test_inference_is_its_equation() -> None:
    pixels = strip(*RANDOM.uniform(0, 100, 5))
    maps, cuts = RANDOM.random((3, 5)), RANDOM.random(3)
    kernels = crf.kernels(pixels)
    found = crf.dense_crf(maps, cuts, kernels, pixels.sizes)
    for each, cut, mask in zip(maps, cuts, found, strict=True):
        unary = 2.5 * (each - cut) / each.std()
        p = 1 / (1 + np.exp(-unary))
        for _ in range(3):
            inside = kernels.colour @ p / (pixels.sizes @ p)
            outside = kernels.colour @ (1 - p) / (pixels.sizes @ (1 - p))
            colour = 1.5 * np.log((inside + 1e-4) / (outside + 1e-4))
            p = 1 / (1 + np.exp(-(unary + colour + 3 * (2 * kernels.near @ p - 1))))
        np.testing.assert_allclose(mask, p, atol=1e-9)


def test_a_doubtful_superpixel_goes_with_its_colour() -> None:
    pixels = strip(80, 80, 80, 20, 20, 20)
    maps = np.array([[0.9, 0.9, 0.45, 0.45, 0.1, 0.1]])
    mask = crf.dense_crf(maps, np.array([0.5]), crf.kernels(pixels), pixels.sizes)[0] > 0.5
    np.testing.assert_array_equal(mask, [True, True, True, False, False, False])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_maps_stay_finite(value: float) -> None:
    pixels = strip(10, 20)
    masks = crf.dense_crf(np.full((2, 2), value), np.array([0.5, value]), crf.kernels(pixels), pixels.sizes)
    assert np.isfinite(masks).all()
