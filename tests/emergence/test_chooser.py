"""The chooser, on a disc that some heads see, in a photo where it has a colour."""

import numpy as np
import pytest

from cratecli.emergence import chooser
from cratecli.emergence.features import View
from cratecli.emergence.masks import iou
from cratecli.emergence.rules import Keep
from cratecli.tasks.ranker import ranker
from tests.support.views import HEADS, SIZE, blob, painted, view

OTSU = Keep("otsu")


def chosen(truth: np.ndarray, *, frame: bool = True) -> np.ndarray:
    judged = chooser.judge([view(truth, 0), view(truth, 100)], painted(truth), OTSU)
    votes = chooser.votes(chooser.score(judged, ranker(frame=frame)))
    return np.asarray(chooser.soft_mask(judged, votes, SIZE) >= chooser.CUT)


@pytest.mark.parametrize("frame", [True, False])
@pytest.mark.parametrize("place", [(4, 4), (9, 12), (13, 19)])
def test_the_disc_is_chosen_wherever_it_lies(place: tuple[int, int], frame: bool) -> None:
    truth = blob(*place)
    large = painted(truth)[..., 0] > 130
    assert iou(chosen(truth, frame=frame), large) > 0.8


def test_nothing_and_everything_do_not_win() -> None:
    truth = blob(9, 12)
    judged = chooser.judge([view(truth, 0)], painted(truth), OTSU)
    judged.soft[0], judged.soft[1] = 0, 1
    scores = chooser.score(judged, {"area": 1.0})
    assert np.isneginf(scores[:2]).all()
    assert np.isfinite(scores[2:]).all()
    assert chooser.votes(scores)[:2].tolist() == [0, 0]
    judged.soft[:] = 1
    assert np.isfinite(chooser.score(judged, {"area": 1.0})).all()


def test_cues_are_standard_and_a_constant_one_does_not_count() -> None:
    np.testing.assert_allclose(chooser.standard(np.array([1.0, 2, 3])), np.array([-1, 0, 1]) / np.sqrt(2 / 3))
    np.testing.assert_array_equal(chooser.standard(np.full(4, 0.1)), 0)


def test_votes_grow_with_scores() -> None:
    np.testing.assert_allclose(chooser.votes(np.log([1.0, 3.0]) / 2.5), [0.25, 0.75])


def test_an_unknown_cue_is_a_key_error() -> None:
    judged = chooser.judge([view(blob(9, 12), 0)], painted(blob(9, 12)), OTSU)
    with pytest.raises(KeyError, match="weight of the photo"):
        chooser.score(judged, {"weight of the photo": 1.0})


@pytest.mark.parametrize(("rows", "cols", "size"), [(1, 1, (1, 1)), (1, 4, (2, 9)), (3, 2, (40, 25))])
def test_tiny_and_constant_photos_give_finite_numbers(rows: int, cols: int, size: tuple[int, int]) -> None:
    one = View(
        np.full((1, 1, rows, cols), 0.1, np.float32),
        np.zeros((1, rows, cols, 4), np.float32),
        *np.zeros((2, 1)),
    )
    judged = chooser.judge([one], np.full((*size, 3), 128, np.uint8), OTSU)
    assert len(judged.soft) == 2
    scores = chooser.score(judged, ranker(frame=True))
    for each in (*judged.cues.values(), scores, chooser.votes(scores)):
        assert np.isfinite(each).all()


def test_the_table_weighs_every_cue_but_those_of_the_frame_without_it() -> None:
    judged = chooser.judge([view(blob(9, 12), 0)], painted(blob(9, 12)), OTSU)
    placed = {"frame", "covered", "frame_raw", "covered_raw"}
    assert set(ranker(frame=True)) == set(judged.cues)
    assert set(ranker(frame=False)) == set(judged.cues) - placed
    assert len(judged.soft) == 2 * HEADS + 1
