"""Thresholds against slow oracles, and clean-up on masks drawn by hand."""

import numpy as np
import pytest

from cratecli.emergence.masks import (
    bounding_box,
    clean,
    components,
    contrast,
    enlarge,
    iou,
    scale,
    spread,
    threshold,
)
from cratecli.emergence.rules import Keep
from cratecli.geometry import Box, Size
from tests.support.masks import drawn


def maps() -> list[np.ndarray]:
    """Give logarithms of attention: smooth, peaked, noisy and two-valued ones."""
    random = np.random.default_rng(0)
    rows, cols = np.mgrid[0:9, 0:13]
    blob = np.exp(-((rows - 3.37) ** 2 + (cols - 8.21) ** 2 / 1.7) / 8)  # no two values alike
    return [
        np.log(values / values.sum()).astype(np.float32)
        for values in (
            blob + 0.05,
            random.random((9, 13)) ** 4 + 1e-3,
            random.random((9, 13)) + 1,
            np.where(blob > 0.3, 5.0, 1.0) + random.random((9, 13)) / 10,
        )
    ]


def kept(log_attention: np.ndarray, rule: str) -> np.ndarray:
    return np.asarray(scale(log_attention) >= threshold(log_attention, Keep.parse(rule)))


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9, 1.0])
def test_mass_keeps_the_fewest_patches_that_hold_the_share(share: float) -> None:
    for log_attention in maps():
        attention = np.exp(log_attention.astype(np.float64))
        mask = kept(log_attention, f"mass:{share}")
        held, total = attention[mask].sum(), attention.sum()
        assert held >= share * total * (1 - 1e-6)
        assert held - attention[mask].min() < share * total
        assert attention[mask].min() >= attention[~mask].max(initial=0)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.6, 1.0])
def test_top_keeps_a_share_of_the_patches(share: float) -> None:
    for log_attention in maps():
        mask = kept(log_attention, f"top:{share}")
        assert mask.sum() == max(1, round(share * mask.size))
        assert log_attention[mask].min() >= log_attention[~mask].max(initial=-np.inf)


def otsu(levels: np.ndarray) -> int:
    """Maximise the variance between the classes `≤ t` and `> t`, by trying each t."""

    def between(t: int) -> float:
        low, high = levels[levels <= t], levels[levels > t]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0

    return max(range(256), key=between)


def test_otsu_is_the_cut_that_parts_best() -> None:
    for log_attention in maps():
        levels = np.round(scale(log_attention) * 255).astype(int)
        np.testing.assert_array_equal(kept(log_attention, "otsu"), levels > otsu(levels.reshape(-1)))
    two = maps()[3]
    np.testing.assert_array_equal(kept(two, "otsu"), two > two.mean())


def test_mean_and_value_cut_the_scaled_map() -> None:
    for log_attention in maps():
        scaled = (log_attention - log_attention.min()) / (log_attention.max() - log_attention.min())
        np.testing.assert_array_equal(kept(log_attention, "mean"), scaled >= scaled.mean())
        np.testing.assert_array_equal(kept(log_attention, "0.3"), scaled >= np.float32(0.3))


@pytest.mark.parametrize("rule", ["mass:0.6", "top:0.6", "otsu", "mean", "0.5"])
def test_a_constant_map_has_a_cut_and_no_nan(rule: str) -> None:
    constant = np.full((4, 5), -3.0, np.float32)
    assert not scale(constant).any()
    cut = threshold(constant, Keep.parse(rule))
    assert np.isfinite(cut)


@pytest.mark.parametrize("rule", ["mass:0.6", "top:0.6", "otsu", "mean", "0.5"])
def test_a_cut_does_not_depend_on_the_unit(rule: str) -> None:
    """Attention is known up to a factor: its logarithm up to a constant."""
    for log_attention in maps():
        np.testing.assert_array_equal(kept(log_attention, rule), kept(log_attention + np.float32(4), rule))


def test_scale_spans_zero_to_one() -> None:
    scaled = scale(np.array([[-4.0, 0.0, 4.0]]))
    assert scaled.tolist() == [[0.0, 0.5, 1.0]]
    assert scaled.dtype == np.float32


def test_enlarge_keeps_rows_rows_and_the_range() -> None:
    ramp = np.repeat(np.arange(4, dtype=np.float32)[:, None], 3, axis=1)
    large = enlarge(ramp, Size(40, 60))
    assert large.shape == (40, 60)
    assert (large[0] == 0).all()
    assert (large[-1] == 3).all()
    np.testing.assert_allclose(large[5:35, 0], (np.arange(5, 35) + 0.5) / 10 - 0.5, atol=1e-5)
    np.testing.assert_array_equal(large, large[:, :1].repeat(60, axis=1))


HOLED = drawn(
    """
    #####....
    #...#..#.
    #.#.#..#.
    #...#....
    #####...#
    """
)


def test_largest_keeps_one_piece() -> None:
    only = clean(HOLED, largest=True)
    np.testing.assert_array_equal(
        only,
        drawn(
            """
            #####....
            #...#....
            #...#....
            #...#....
            #####....
            """
        ),
    )


def test_holes_are_filled() -> None:
    np.testing.assert_array_equal(
        clean(HOLED, fill_holes=True),
        drawn(
            """
            #####....
            #####..#.
            #####..#.
            #####....
            #####...#
            """
        ),
    )
    bay = drawn("###\n#..\n###")
    np.testing.assert_array_equal(clean(bay, fill_holes=True), bay)


def test_small_pieces_are_dropped() -> None:
    """Of 45 pixels: pieces of 16, 2, 1 and 1."""
    np.testing.assert_array_equal(
        clean(HOLED, smallest=1.5 / 45),
        drawn(
            """
            #####....
            #...#..#.
            #...#..#.
            #...#....
            #####....
            """
        ),
    )
    assert clean(HOLED, smallest=2 / 45).sum() == 18
    assert clean(HOLED, smallest=2.1 / 45).sum() == 16
    assert clean(HOLED, smallest=17 / 45).sum() == 0
    np.testing.assert_array_equal(clean(HOLED), HOLED)


def test_pieces_touch_at_corners() -> None:
    diagonal = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(clean(diagonal, largest=True), diagonal)
    np.testing.assert_array_equal(clean(diagonal, smallest=0.25), diagonal)


def test_cleaning_nothing_gives_nothing() -> None:
    nothing = np.zeros((3, 4), bool)
    assert not clean(nothing, smallest=0.1, largest=True, fill_holes=True).any()


def test_cleaning_twice_is_cleaning_once() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        mask = random.random((20, 30)) > 0.6
        once = clean(mask, smallest=0.02, largest=True, fill_holes=True)
        np.testing.assert_array_equal(clean(once, smallest=0.02, largest=True, fill_holes=True), once)


def test_components_come_largest_first() -> None:
    sizes = [int(piece.sum()) for piece in components(HOLED)]
    assert sizes == [16, 2, 1, 1]
    together = np.sum(list(components(HOLED)), axis=0)
    np.testing.assert_array_equal(together, HOLED)
    assert len(list(components(np.eye(3, dtype=bool), connectivity=4))) == 3


def test_bounding_box() -> None:
    assert bounding_box(drawn("....\n.##.\n..#.")) == Box(top=1, left=1, bottom=3, right=3)
    assert bounding_box(np.ones((2, 5), bool)) == Box(0, 0, 2, 5)
    assert bounding_box(np.zeros((2, 5), bool)) is None
    coco = drawn("..##.\n.###.\n.#.#.\n.###.")
    box = bounding_box(coco)
    assert box is not None
    assert box.xywh == (1, 0, 3, 4)


def test_iou() -> None:
    one, other = drawn("##.."), drawn(".##.")
    assert iou(one, other) == pytest.approx(1 / 3)
    assert iou(one, one) == 1.0
    assert iou(one, ~one) == 0.0
    assert iou(np.zeros(3, bool), np.zeros(3, bool)) == 1.0


def test_contrast_is_the_attention_that_the_outside_does_without() -> None:
    grid_map = np.log(np.array([[4.0, 4.0, 1.0], [1.0, 1.0, 1.0]], np.float32))
    assert contrast(grid_map, 0.5) == pytest.approx(1 - 1 / 4)
    assert contrast(np.zeros((2, 3), np.float32), 0.5) == 0
    assert contrast(grid_map, 0.0) == 0  # all of it


def test_every_pixel_has_what_its_patch_has() -> None:
    """Of 7 px by 3 patches the middles of pixels 0–1, 2–4 and 5–6 lie in patch 0, 1 and 2."""
    row = np.array([[True, False, True]])
    assert spread(row, Size(1, 7)).tolist() == [[True, True, False, False, False, True, True]]
    assert spread(row, Size(2, 3)).tolist() == [[True, False, True]] * 2
    grid = np.random.default_rng(0).random((5, 4)) > 0.5
    np.testing.assert_array_equal(spread(grid, Size(40, 32)), np.kron(grid, np.ones((8, 8))) > 0)
    assert spread(np.ones((60, 60), bool), Size(1, 1)).all()
