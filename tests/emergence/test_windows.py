"""Windows with their object off-centre, drawn by hand."""

import numpy as np

from cratecli.emergence.windows import off_centre
from cratecli.geometry import Box


def truth(box: Box, size: tuple[int, int] = (10, 20)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def test_the_window_lies_in_the_corner_farthest_from_the_object() -> None:
    """7 × 14 px in a corner: of an object to the lower right of the middle, the upper left keeps it whole."""
    assert off_centre(truth(Box(4, 9, 7, 13))) == Box(0, 0, 7, 14)
    assert off_centre(truth(Box(3, 7, 6, 11))) == Box(3, 6, 10, 20)


def test_an_object_that_would_be_lost_rules_a_corner_out() -> None:
    """At the lower right it is in its own corner's window only."""
    assert off_centre(truth(Box(8, 17, 10, 20))) == Box(3, 6, 10, 20)


def test_what_fills_the_photo_has_no_window() -> None:
    assert off_centre(truth(Box(0, 0, 10, 20))) is None
    assert off_centre(truth(Box(0, 0, 10, 1), (10, 1))) is None
    assert off_centre(np.zeros((10, 20), bool)) is None


def test_seventy_per_cent_of_the_object_suffice() -> None:
    """Of an object in all ten rows a window of seven sees 70 %; of one that is wider too, less."""
    assert off_centre(truth(Box(0, 2, 10, 4))) == Box(3, 0, 10, 14)
    assert off_centre(truth(Box(0, 5, 10, 15))) is None
