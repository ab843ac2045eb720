"""Curves over layers: drawn where the numbers say, whatever the numbers and names are."""

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cratecli.io.plot import COLOUR, HEIGHT, LEAST_WIDTH, Curve, plot_layers

INK = np.array([int(COLOUR[place : place + 2], 16) for place in (1, 3, 5)])


def plot(values: object, layers: Sequence[int] | None = None, title: str = "model") -> np.ndarray:
    array = np.array(values, dtype=float)
    return plot_layers([Curve("rate", array)], layers or range(array.shape[1]), title)


def drawn(picture: np.ndarray) -> np.ndarray:
    """Find the pixels of the curve itself."""
    return np.asarray(np.abs(picture.astype(int) - INK).max(axis=2) < 12)


def heights(picture: np.ndarray, count: int) -> list[float]:
    """Give the curve's mean height in px, from the bottom, in each of `count` slices across."""
    rows, cols = np.nonzero(drawn(picture))
    edges = np.linspace(cols.min(), cols.max() + 1, count + 1)
    return [float(HEIGHT - rows[(low <= cols) & (cols < high)].mean()) for low, high in pairwise(edges)]


@pytest.mark.parametrize("width", [1, LEAST_WIDTH, 1000])
def test_the_size_is_what_was_asked_for(width: int) -> None:
    curves = [Curve("coding rate", np.ones((2, 3))), Curve("zeros", np.zeros((2, 3)))]
    picture = plot_layers(curves, [0, 1, 2], "model", width)
    assert picture.shape == (HEIGHT, max(width, LEAST_WIDTH), 3)
    assert picture.dtype == np.uint8
    assert (picture[[0, -1]] == 255).all()


def test_a_curve_goes_where_its_numbers_go() -> None:
    rising, falling = heights(plot([[1, 2, 3, 4, 5]]), 5), heights(plot([[5, 4, 3, 2, 1]]), 5)
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert rising[-1] - rising[0] > HEIGHT / 3


def test_layers_are_put_in_order() -> None:
    np.testing.assert_array_equal(plot([[5, 1, 3]], [2, 0, 1]), plot([[1, 3, 5]], [0, 1, 2]))
    assert (plot([[5, 1, 3]], [2, 0, 1]) != plot([[5, 1, 3]], [0, 1, 2])).any()


def test_photos_are_averaged_and_their_spread_is_shown() -> None:
    """The curve is the mean's; the paler band around it is there only where photos differ."""
    same = plot([[1, 2, 3]] * 4)
    np.testing.assert_array_equal(same, plot([[1, 2, 3]]))
    apart = plot([[0, 2, 2], [2, 2, 4]])
    low, middle, high = heights(apart, 3)
    assert high - middle == pytest.approx(middle - low, rel=0.1)  # means of 1, 2 and 3: a straight line
    assert middle - low > 20

    def paler(picture: np.ndarray) -> int:
        band = 255 - 0.2 * (255 - INK)
        return int((np.abs(picture - band).max(axis=2) < 3).sum())

    assert paler(apart) > 10 * paler(same) + 1000


def test_each_curve_has_its_own_axes() -> None:
    picture = plot_layers(
        [Curve("up", np.array([[1.0, 2, 3]])), Curve("down", np.array([[900.0, 800, 700]]))],
        [0, 1, 2],
        "model",
    )
    left, right = picture[:, : LEAST_WIDTH // 2], picture[:, LEAST_WIDTH // 2 :]
    assert heights(left, 3) == sorted(heights(left, 3))
    assert heights(right, 3) == sorted(heights(right, 3), reverse=True)


@pytest.mark.parametrize(
    "values", [[[3.0]], [[2, 2, 2]], [[0, 0, 0]], [[1, np.nan, 3]], [[np.nan] * 3], [[1e-300, 1e300, 0]]]
)
def test_odd_numbers_can_be_drawn(values: list[list[float]]) -> None:
    assert plot(values).shape == (HEIGHT, LEAST_WIDTH, 3)


def test_a_layer_that_is_not_known_is_left_out() -> None:
    assert drawn(plot([[1, np.nan, 3]])).sum() < drawn(plot([[1, 2, 3]])).sum()
    assert drawn(plot([[np.nan] * 3])).sum() == 0


@pytest.mark.parametrize("title", ["", "a $x^2 model", "x" * 500, "two\nlines", "modèle ×"])
def test_odd_titles_can_be_drawn(title: str) -> None:
    assert plot([[1, 2, 3]], title=title).shape == (HEIGHT, LEAST_WIDTH, 3)


@pytest.mark.parametrize("title", ["模型 🐈.pt", "a\x1b[31m.pt", "\udcff.pt"])
def test_titles_of_any_file_name_can_be_drawn(title: str) -> None:
    assert plot([[1, 2, 3]], title=title).shape == (HEIGHT, LEAST_WIDTH, 3)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no /dev/null")
def test_a_home_that_cannot_be_written_is_no_news() -> None:
    program = "import numpy; from cratecli.io.plot import *; plot_layers([Curve('', numpy.ones((1, 2)))], [0, 1], '')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | dict.fromkeys(["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"], "/dev/null"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_the_same_numbers_are_the_same_picture() -> None:
    np.testing.assert_array_equal(plot([[1, 2, 3]]), plot([[1, 2, 3]]))
