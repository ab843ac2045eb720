"""Pieces of masks on grids drawn by hand, a superpixel a pixel; and of discs that some heads see."""

import numpy as np
import pytest

from cratecli.emergence.chooser import describe, gather
from cratecli.emergence.features import View
from cratecli.emergence.masks import iou
from cratecli.emergence.pieces import Pieces, connected, find_pieces, pick, score
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import measure
from cratecli.tasks.ranker import piece_ranker
from tests.support.views import blob, painted, view

OTSU = Keep("otsu")
SIDE = 5
PIXELS = measure(np.zeros((SIDE, SIDE, 3), np.float32), np.arange(SIDE**2).reshape(SIDE, SIDE))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows], float).ravel()


TWO = drawn("##...", "##...", ".....", "....#", "...##")
UPPER = drawn("##...", "##...", ".....", ".....", ".....")
LOWER = drawn(".....", ".....", ".....", "....#", "...##")
TOUCHING = drawn("#....", ".#...", ".....", ".....", ".....")  # at a corner only: two pieces
NONE, ALL = np.zeros(SIDE**2), np.ones(SIDE**2)


def test_every_piece_is_given_once() -> None:
    found = connected(np.stack([TWO, UPPER, NONE, ALL]), PIXELS)
    np.testing.assert_array_equal(found, np.stack([UPPER, LOWER]))
    assert len(connected(TOUCHING[None], PIXELS)) == 2
    assert connected(np.stack([NONE, ALL]), PIXELS).shape == (0, SIDE**2)


def test_the_best_is_taken_and_what_repeats_it_is_not() -> None:
    larger = drawn("##...", "##...", "##...", ".....", ".....")  # IoU 2/3 with the upper piece
    part = drawn("#....", "#....", ".....", ".....", ".....")  # all of it in the upper piece
    masks = np.stack([part, larger, UPPER, TWO, LOWER])
    scores = np.array([0.2, 0.5, 0.9, 0.1, 0.3])
    assert pick(masks, scores, PIXELS.sizes, 10) == [2, 4]
    assert pick(masks, scores, PIXELS.sizes, 1) == [2]
    assert pick(masks, np.array([0.9, 0.1, 0.1, 0.1, 0.5]), PIXELS.sizes, 10) == [0, 4, 1]
    assert pick(masks, np.array([0.9, 0.8, 0.1, 0.1, 0.5]), PIXELS.sizes, 10) == [0, 1, 4]
    assert pick(np.stack([UPPER, UPPER]), np.ones(2), PIXELS.sizes, 10) == [0]
    assert pick(np.zeros((0, SIDE**2)), np.zeros(0), PIXELS.sizes, 10) == []


def test_a_score_is_the_sigmoid_of_weighed_cues() -> None:
    pieces = Pieces(PIXELS, np.stack([UPPER, LOWER]), {"area": np.array([0.0, 2.0])})
    np.testing.assert_allclose(score(pieces, {"area": 0.5, "bias": -1.0}), [1 / (1 + np.e), 0.5])
    np.testing.assert_allclose(score(pieces, {}), 0.5)
    assert len(score(Pieces(PIXELS, np.zeros((0, 25)), {}), piece_ranker())) == 0
    with pytest.raises(KeyError, match="weight of the photo"):
        score(pieces, {"weight of the photo": 1.0})


def test_discs_that_heads_see_together_are_found_one_by_one() -> None:
    discs = [blob(5, 5), blob(12, 18)]
    both = discs[0] | discs[1]
    rgb = painted(both)
    found = find_pieces([view(both, 0), view(both, 100)], rgb, OTSU)
    scores = score(found, piece_ranker())
    taken = pick(found.masks, scores, found.pixels.sizes, 10)
    pictures = [found.masks[place][found.pixels.labels] > 0.5 for place in taken]
    rows, cols = np.indices(pictures[0].shape)
    for disc in discs:
        truth = disc[rows * disc.shape[0] // len(rows), cols * disc.shape[1] // rows.shape[1]]
        assert max(iou(picture, truth) for picture in pictures[:3]) > 0.7


def test_cues_stand_as_they_are_and_among_the_photos_pieces() -> None:
    rgb = painted(blob(9, 12))
    found = find_pieces([view(blob(9, 12), 0)], rgb, OTSU)
    seen = gather([view(blob(9, 12), 0)], rgb, OTSU)
    for name, cue in describe(found.masks, seen).items():
        np.testing.assert_array_equal(found.cues[name], cue)
        assert abs(found.cues[f"{name}_here"].mean()) < 1e-9
    np.testing.assert_allclose(found.cues["area_squared"], found.cues["area"] ** 2)
    assert set(piece_ranker()) - {"bias"} == set(found.cues)


@pytest.mark.parametrize(("rows", "cols", "size"), [(1, 1, (1, 1)), (1, 4, (2, 9)), (3, 2, (40, 25))])
def test_constant_photos_have_finite_scores_or_no_piece(rows: int, cols: int, size: tuple[int, int]) -> None:
    one = View(
        np.full((1, 1, rows, cols), 0.1, np.float32),
        np.zeros((1, rows, cols, 4), np.float32),
        *np.zeros((2, 1)),
    )
    found = find_pieces([one], np.full((*size, 3), 128, np.uint8), OTSU)
    assert np.isfinite(score(found, piece_ranker())).all()
