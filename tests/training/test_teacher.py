"""The teacher: a centre prior that does not decide where heads agree, and doubt where it does."""

import numpy as np

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.tasks.ranker import ranker
from cratecli.training.certainty import Taught
from cratecli.training.teacher import CENTRE, centred, judge, teach_by_agreement, teach_by_choice
from tests.support.mask_heads import disc_photo

NONE = np.full(1, np.nan, np.float32)


def view(attended: np.ndarray) -> View:
    """Make a view of two heads that attend to the same patches, whose tokens are alike."""
    attention = np.where(attended, 10.0, 1.0).astype(np.float32)
    attention = np.stack([attention / attention.sum()] * 2)[None]
    tokens = np.where(attended[..., None], (1.0, 0.0), (0.0, 1.0)).astype(np.float32)[None]
    return View(attention, tokens, NONE, NONE)


def agreed(photo: RGB, seen: View) -> Taught:
    return teach_by_agreement(photo, [seen], judge(photo, [seen]))


def attended(place: tuple[slice, slice]) -> np.ndarray:
    grid = np.zeros((9, 12), bool)
    grid[place] = True
    return grid


def test_the_prior_is_a_parabola_about_the_middle() -> None:
    prior = centred(np.zeros((2, 4), np.float32))
    assert np.allclose(prior, [[-CENTRE * (0.25**2 + col**2) for col in (-0.375, -0.125, 0.125, 0.375)]] * 2)
    scores = centred(np.array([[1.0, 3.0]], np.float32)) + CENTRE * 0.25**2
    assert np.allclose(scores, [[-1, 1]])


def test_an_object_in_the_middle_is_sure_and_one_in_the_corner_is_not() -> None:
    photo = disc_photo(1)
    middle = agreed(photo, view(attended((slice(2, 7), slice(4, 8)))))
    corner = agreed(photo, view(attended((slice(0, 2), slice(0, 3)))))
    assert middle.consensus > 0.9 and middle.confidence > 0.5
    assert corner.consensus < 0.5
    assert middle.mask.shape == photo.shape[:2]


def test_where_all_candidates_are_one_nothing_is_in_doubt() -> None:
    photo, seen = disc_photo(1), [view(attended((slice(2, 7), slice(4, 8))))]
    taught = teach_by_choice(ranker(frame=True), ranker(frame=False), photo, seen, judge(photo, seen))
    assert taught.mask.shape == photo.shape[:2]
    assert taught.consensus == taught.kept == 1


def test_rankers_that_disagree_leave_doubt() -> None:
    photo, (one, other) = (
        disc_photo(1),
        (attended((slice(2, 7), slice(4, 8))), attended((slice(1, 8), slice(1, 11)))),
    )
    seen = [view(one), view(other)]
    small, large = {"area": -50.0}, {"area": 50.0}
    judged = judge(photo, seen)
    assert (
        teach_by_choice(small, large, photo, seen, judged).consensus
        <= teach_by_choice(small, small, photo, seen, judged).consensus
    )
    assert teach_by_choice(small, small, photo, seen, judged).consensus == 1
