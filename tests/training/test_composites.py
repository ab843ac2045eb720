"""Composites: what is pasted is what the mask says, wherever it is; the same number gives the same bytes."""

from dataclasses import replace

import numpy as np
import pytest

from cratecli.geometry import Size
from cratecli.training.composites import PASTING, Cutout, compose, cut_out

FRAME = Size(48, 64)
RED = Cutout(np.full((10, 20, 3), (255, 0, 0), np.uint8), np.ones((10, 20), bool))
BLUE = np.full((30, 40, 3), (0, 0, 255), np.uint8)
PLAIN = replace(PASTING, shifted=0.0, blur=(0.0, 0.0), noise=(0.0, 0.0))


def test_an_object_is_cut_out_with_the_box_around_it() -> None:
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:7] = True
    photo = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    thing = cut_out(photo, mask, longest=100)
    assert thing.mask.all() and np.array_equal(thing.rgb, photo[2:5, 3:7])


def test_a_large_object_is_scaled_down_with_its_mask() -> None:
    mask = np.zeros((100, 100), bool)
    mask[:50, :80] = mask[:80, :50] = True  # an L
    thing = cut_out(np.zeros((100, 100, 3), np.uint8), mask, longest=16)
    assert thing.rgb.shape == (16, 16, 3)
    assert not thing.mask[10:, 10:].any() and thing.mask[:10].all()


def test_nothing_cannot_be_cut_out() -> None:
    with pytest.raises(ValueError, match="empty"):
        cut_out(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool), longest=4)


def test_the_mask_is_where_the_pixels_of_the_object_are() -> None:
    for number in range(20):
        made = compose([RED], [BLUE], FRAME, seed=3, number=number, count=1, how=PLAIN)
        reddish = made.rgb[..., 0] > made.rgb[..., 2]
        assert made.rgb.shape == (*FRAME, 3) and made.masks.shape == (1, *FRAME)
        assert np.array_equal(reddish, made.mask)


def test_sizes_and_places_are_those_of_the_rule() -> None:
    inside = replace(PLAIN, cut=0.0)
    for number in range(40):
        mask = compose([RED], [BLUE], FRAME, seed=0, number=number, count=1, how=inside).mask
        rows, cols = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert 0.25 <= max(rows / FRAME.height, cols / FRAME.width) <= 0.96
        assert 2 / 1.35 <= cols / rows <= 2 * 1.35  # of an object twice as wide as high, and rounding


def test_as_many_as_may_be_are_cut_by_the_frame_and_none_where_none_may() -> None:
    def touching(cut: float) -> int:
        how, count = replace(PLAIN, cut=cut, size=(0.3, 0.5)), 0
        for number in range(60):
            mask = compose([RED], [BLUE], FRAME, seed=1, number=number, count=1, how=how).mask
            rows, cols = mask.any(axis=1).sum(), mask.any(axis=0).sum()
            count += not 1.4 < cols / rows < 2.7
        return count

    assert touching(0.0) == 0 and touching(1.0) > 5


def test_one_number_gives_the_same_bytes_and_another_number_others() -> None:
    one, again, other = (
        compose([RED, RED], [BLUE, BLUE], FRAME, seed=7, number=number) for number in (5, 5, 6)
    )
    assert one.rgb.tobytes() == again.rgb.tobytes() and one.masks.tobytes() == again.masks.tobytes()
    assert one.rgb.tobytes() != other.rgb.tobytes()


def test_of_two_objects_the_later_one_covers_the_earlier_and_none_overlap() -> None:
    green = Cutout(np.full((10, 10, 3), (0, 255, 0), np.uint8), np.ones((10, 10), bool))
    seen = 0
    for number in range(30):
        made = compose([RED, green], [BLUE], FRAME, seed=2, number=number, count=2, how=PLAIN)
        assert (made.masks.sum(axis=0) <= 1).all() and made.masks.any(axis=(1, 2)).all()
        assert np.array_equal(made.mask, made.masks.any(axis=0))
        seen += len(made.masks) == 2
    assert seen > 15


def test_no_object_is_a_ground_alone() -> None:
    made = compose([RED], [BLUE], FRAME, seed=0, number=0, count=0, how=PLAIN)
    assert made.masks.shape == (0, *FRAME) and not made.mask.any()
    assert (made.rgb == BLUE[0, 0]).all()


def test_a_shifted_object_takes_on_colour_of_its_ground() -> None:
    shifted = replace(PLAIN, shifted=1.0, shift=(0.5, 0.5))
    made = compose([RED], [BLUE], FRAME, seed=0, number=1, count=1, how=shifted)
    middle = np.median(made.rgb[made.mask], axis=0)
    assert np.allclose(middle, (127.5, 0, 127.5), atol=2)
