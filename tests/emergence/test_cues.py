"""Cues of masks on grids drawn by hand; a superpixel is a pixel."""

import numpy as np
import pytest

from cratecli.emergence import cues
from cratecli.emergence.crf import kernels
from cratecli.emergence.superpixels import Superpixels, measure

SIDE = 4
CORNER = np.zeros((SIDE, SIDE))
CORNER[:2, :2] = 1
MIDDLE = np.zeros((SIDE, SIDE))
MIDDLE[1:3, 1:3] = 1
NONE, ALL = np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE))
MASKS = np.stack([each.ravel() for each in (CORNER, MIDDLE, NONE, ALL)])


def painted(lightness: np.ndarray) -> Superpixels:
    lab = np.zeros((*lightness.shape, 3), np.float32)
    lab[..., 0] = lightness
    return measure(lab, np.arange(lightness.size).reshape(lightness.shape))


PIXELS = painted(10 * CORNER)


def test_shape() -> None:
    found = cues.shape(MASKS, PIXELS)
    np.testing.assert_allclose(found.spread[:2], np.sqrt(0.5) / 2)
    np.testing.assert_allclose(found.frame, [2, 0, 0, 4])
    np.testing.assert_allclose(found.covered, [4 / 16, 0, 0, 1])


def test_contour() -> None:
    found = cues.contour(MASKS, PIXELS)
    np.testing.assert_allclose(found["contour"], [2, 4, 0, 0])
    np.testing.assert_allclose(found["step"], [10, 0, 0, 0])
    np.testing.assert_allclose(found["inner_step"], [0, 2 / 4 * 10, 0, 4 / 24 * 10])


def test_colours_tell_a_mask_of_its_own_colour() -> None:
    pixels = painted(80 * MIDDLE)
    found = cues.colours(MASKS[:2], pixels, kernels(pixels).colour)
    for name in ("colour_ring", "colour_outside", "colour_rim"):
        assert found[name][1] > max(0.99, found[name][0] + 0.05), name
    whole = cues.colours(MASKS, pixels, kernels(pixels).colour)
    assert all(np.isfinite(each).all() for each in whole.values())


def test_contrast_of_attention() -> None:
    attention = MASKS[0] * 3.0
    found = cues.contrast(MASKS, attention, PIXELS)
    difference = 3 / attention.std()
    np.testing.assert_allclose(found["attention_outside"][[0, 2, 3]], [difference, 0, 0], atol=1e-9)
    np.testing.assert_allclose(found["attention_ring"][0], difference)
    flat = cues.contrast(MASKS, np.ones(16), PIXELS)
    np.testing.assert_allclose(flat["attention_outside"], 0)


def test_cosines_of_two_kinds_of_tokens() -> None:
    tokens = np.stack([MASKS[0], 1 - MASKS[0]], axis=1)
    found = cues.cosines(MASKS[:2], tokens @ tokens.T, PIXELS)
    assert [found[f"cosine_{name}"][0] for name in ("across", "inside", "outside")] == pytest.approx(
        [0, 1, 1]
    )
    assert found["cosine_inside"][1] == pytest.approx(1 / 16 + 9 / 16)


def test_rate_gain_is_its_equation() -> None:
    random = np.random.default_rng(0)
    tokens, sizes = random.normal(size=(16, 3)), random.integers(1, 9, 16).astype(float)
    repeated = np.repeat(tokens, sizes.astype(int), axis=0)
    inside = np.repeat(MASKS[1], sizes.astype(int)).astype(bool)

    def rate(z: np.ndarray) -> float:
        return float(np.linalg.slogdet(np.eye(3) + 3 / (len(z) * 0.01) * z.T @ z)[1]) / 2

    share = inside.mean()
    gain = rate(repeated) - share * rate(repeated[inside]) - (1 - share) * rate(repeated[~inside])
    assert cues.rate_gain(MASKS[1:2], tokens, sizes)[0] == pytest.approx(gain / rate(repeated))


def test_the_partition_into_two_subspaces_gains_most() -> None:
    tokens = np.stack([MASKS[0], 1 - MASKS[0]], axis=1)
    gain = cues.rate_gain(MASKS, tokens, PIXELS.sizes)
    assert gain.argmax() == 0
    np.testing.assert_allclose(gain[2:], 0, atol=1e-12)


def test_principal_components_keep_dot_products() -> None:
    tokens = np.random.default_rng(0).normal(size=(6, 4))
    few = cues.principal(tokens)
    assert few.shape == (6, 4)
    np.testing.assert_allclose(few @ few.T, tokens @ tokens.T, atol=1e-9)
    assert cues.principal(tokens, 2).shape == (6, 2)


def test_overlaps_and_likeness() -> None:
    expected = np.eye(4)
    expected[2, 2] = 0  # nothing is like nothing
    expected[0, 1] = expected[1, 0] = 1 / 7
    expected[3, :2] = expected[:2, 3] = 1 / 4
    np.testing.assert_allclose(cues.overlaps(MASKS, MASKS, PIXELS.sizes), expected)
    found = cues.alike(MASKS, MASKS[[1, 1, 2, 3]], PIXELS.sizes)
    np.testing.assert_allclose(found["kept"], [1 / 7, 1, 0, 1])
    np.testing.assert_allclose(found["alike"][0], (1 / 7 + 1 / 4) / 3)
    np.testing.assert_allclose(found["near"], found["alike"])  # there are fewer than 20
    np.testing.assert_allclose(found["alike_raw"][0], (1 / 7 + 1 / 4) / 3)
    alone = cues.alike(MASKS[:1], MASKS[:1], PIXELS.sizes)
    assert {name: float(each[0]) for name, each in alone.items()} == {
        "near": 0, "alike": 0, "alike_raw": 0, "kept": 1
    }  # fmt: skip


def test_what_many_masks_show_is_repeated() -> None:
    found = cues.repeated(MASKS[[0, 0, 1]], PIXELS.sizes)
    once = 1 / 7  # of corner and middle one pixel of seven is shared
    np.testing.assert_allclose(found["alike"], [(1 + once) / 2, (1 + once) / 2, once])
    np.testing.assert_allclose(found["near"], found["alike"])
    alone = cues.repeated(MASKS[:1], PIXELS.sizes)
    assert not alone["near"].any() and not alone["alike"].any()
