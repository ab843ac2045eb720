"""A click is answered by what the attention there means, and by the smallest of what it may mean."""

import numpy as np
import pytest

from cratecli.emergence.clicks import Answer, answer, held, pieces, superpixels_at, with_clicks
from cratecli.emergence.features import View, together
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import divide
from cratecli.geometry import Clicks, Grid, PatchClicks, Size

CHAIN = np.abs(np.subtract.outer(np.arange(5), np.arange(5))) == 1
"""Five superpixels in a row."""


def test_pixels_lie_in_patches_and_each_is_named_once() -> None:
    clicks = Clicks(((0, 0), (9, 4), (1, 1)), ((5, 1),))
    assert clicks.patches(Size(5, 10), Grid(2, 4)) == PatchClicks(((0, 0), (1, 3)), ((0, 2),))
    near = Clicks(((0, 0),), ((1, 0), (9, 4)))  # where a patch holds both, it is meant
    assert near.patches(Size(5, 10), Grid(2, 4)) == PatchClicks(((0, 0),), ((1, 3),))


@pytest.mark.parametrize(
    ("on", "off", "outside"),
    [((9, 4), (0, 0), None), ((10, 4), (0, 0), (10, 4)), ((9, 4), (3, 5), (3, 5)), ((4, 9), (0, 0), (4, 9))],
)
def test_a_pixel_outside_is_found(
    on: tuple[int, int], off: tuple[int, int], outside: tuple[int, int] | None
) -> None:
    assert Clicks((on,), (off,)).outside(Size(5, 10)) == outside


def test_one_click_alone_is_its_attention_as_it_is() -> None:
    attention = np.array([[0.1, 0.5, 0.3]])
    np.testing.assert_array_equal(together([attention], []), attention)


def test_clicks_are_averaged_and_those_off_divide() -> None:
    one, other, off = np.array([0.2, 0.4, 0.2]), np.array([0.4, 0.0, 0.4]), np.array([0.1, 0.1, 0.4])
    np.testing.assert_allclose(together([one, other], []), [0.3, 0.2, 0.3])
    divided = np.array([3.0, 2.0, 0.75])
    np.testing.assert_allclose(together([one, other], [off]), 0.8 * divided / divided.sum(), rtol=1e-6)


def test_pieces_hold_the_click_and_nothing_beyond_a_gap() -> None:
    masks = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    found = pieces(masks, CHAIN, np.array([1]), np.array([], int))
    np.testing.assert_array_equal(found, [[1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    apart = pieces(masks, CHAIN, np.array([0, 4]), np.array([2]))
    np.testing.assert_array_equal(apart, [[1, 1, 0, 1, 1], [1, 0, 0, 1, 1], [1, 1, 0, 1, 1]])


def test_of_a_mask_those_pieces_stay_that_were_clicked_on() -> None:
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]], bool)
    np.testing.assert_array_equal(held(mask, Clicks(((0, 0),))), [[1, 1, 0, 0], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(
        held(mask, Clicks(((3, 1), (0, 2), (1, 1)))), [[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    )
    assert not held(mask, Clicks(((2, 0),))).any()


def test_a_click_is_right_whatever_the_mask_says() -> None:
    mask = np.array([[0, 1, 1], [0, 0, 0]], bool)
    changed = with_clicks(mask, Clicks(((0, 1),), ((2, 0),)))
    np.testing.assert_array_equal(changed, [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(mask, [[0, 1, 1], [0, 0, 0]])


SQUARES = np.full((64, 96, 3), 90, np.uint8)
SQUARES[16:40, 8:32], SQUARES[16:40, 64:88] = (220, 40, 30), (40, 60, 220)
"""Two squares, far apart, on grey."""


def seen(*squares: int) -> View:
    """See squares in one head's attention, and in the tokens."""
    attention, tokens = np.full((1, 2, 8, 12), 0.002), np.zeros((1, 8, 12, 6))
    tokens[..., 2] = 1
    for square in squares:
        attention[0, :, 2:5, (1, 8)[square] : (4, 11)[square]] = 0.03
    for square, left in enumerate((1, 8)):
        tokens[0, 2:5, left : left + 3] = np.eye(6)[square]
    nothing = np.zeros(1)
    return View(attention, tokens, nothing, nothing)


def asked(clicks: Clicks, *views: View) -> Answer:
    return answer(views, SQUARES, clicks, Keep("otsu"))


def test_the_piece_that_was_clicked_on_is_the_answer() -> None:
    for at, mine, other in (((20, 28), (28, 20), (28, 76)), ((76, 28), (28, 76), (28, 20))):
        soft = asked(Clicks((at,)), seen(0, 1)).soft_mask(Size(64, 96))
        assert soft[mine] > 0.9
        assert soft[other] < 0.1
        assert soft[4, 48] < 0.1


def test_of_a_click_on_both_both_are_the_answer() -> None:
    soft = asked(Clicks(((20, 28), (76, 28))), seen(0, 1)).soft_mask(Size(64, 96))
    assert min(soft[28, 20], soft[28, 76]) > 0.9


def test_what_is_clicked_off_is_out_and_its_masks_have_no_vote() -> None:
    found = asked(Clicks(((20, 28),), ((76, 28),)), seen(0, 1), seen(0))
    pixels = divide(SQUARES)
    (off,) = superpixels_at(((76, 28),), pixels, Size(64, 96))
    assert found.vote[off] == 0
    assert found.shares.sum() == pytest.approx(1)
    assert 0 < found.confidence <= 1


def test_small_pieces_weigh_more() -> None:
    found = asked(Clicks(((20, 28),)), seen(0), seen(0, 1))
    areas = found.pieces @ found.pixels.sizes
    voting = found.shares > 0
    np.testing.assert_allclose(
        found.shares[voting] * areas[voting] ** 1.5, (found.shares * areas**1.5).max(), rtol=1e-9
    )
