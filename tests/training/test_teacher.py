"""The teacher: who agrees is sure, who does not is in doubt, and a photo counts by how sure it is."""

from dataclasses import dataclass

import numpy as np
import pytest

from cratecli.arrays import Soft
from cratecli.emergence.chooser import score
from cratecli.emergence.confidence import expected_iou, signs
from cratecli.emergence.features import View
from cratecli.errors import WeightsError
from cratecli.model.head_inputs import HeadInputs, MaskHeadConfig
from cratecli.tasks.ranker import confidence_weights, ranker
from cratecli.training.certainty import Taught
from cratecli.training.teacher import Voting, judge, teach_by_choice, teach_by_head
from tests.support.mask_heads import disc_photo

WEIGHTS = confidence_weights(None, frame=True)
CONFIG = MaskHeadConfig("0" * 64, layers=(0,), heads=2, token_width=2, sizes=(9,), size=9)


def voting() -> Voting:
    return Voting(ranker(frame=True), ranker(frame=False), WEIGHTS)


@dataclass
class Copying:
    """A head that draws the vote it reads, or a share of it."""

    share: float = 1.0
    config: MaskHeadConfig = CONFIG
    sha256: str = "0" * 64

    def draw(self, inputs: HeadInputs) -> Soft:
        return np.asarray(self.share * (inputs.vote[0] + 1) / 2, np.float32)


NONE = np.full(1, np.nan, np.float32)


def view(attended: np.ndarray) -> View:
    """Make a view of two heads that attend to the same patches, whose tokens are alike."""
    attention = np.where(attended, 10.0, 1.0).astype(np.float32)
    attention = np.stack([attention / attention.sum()] * 2)[None]
    tokens = np.where(attended[..., None], (1.0, 0.0), (0.0, 1.0)).astype(np.float32)[None]
    return View(attention, tokens, NONE, NONE)


def attended(place: tuple[slice, slice]) -> np.ndarray:
    grid = np.zeros((9, 12), bool)
    grid[place] = True
    return grid


def test_where_all_candidates_are_one_nothing_is_in_doubt() -> None:
    photo, seen = disc_photo(1), [view(attended((slice(2, 7), slice(4, 8))))]
    taught = teach_by_choice(voting(), photo, seen, judge(photo, seen))
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
    same, apart = (
        teach_by_choice(Voting(small, each, WEIGHTS), photo, seen, judged) for each in (small, large)
    )
    assert apart.consensus <= same.consensus == 1


def test_the_confidence_of_every_teacher_is_the_expected_iou_of_the_vote() -> None:
    photo, seen = disc_photo(1), [view(attended((slice(2, 7), slice(4, 8))))]
    judged = judge(photo, seen)
    expected = expected_iou(signs(judged, score(judged, ranker(frame=True))), WEIGHTS)
    for taught in (
        teach_by_choice(voting(), photo, seen, judged),
        teach_by_head(Copying(), voting(), photo, seen, judged),
    ):
        assert taught.confidence == expected


def test_a_head_that_draws_nothing_teaches_nothing() -> None:
    photo, seen = disc_photo(1), [view(attended((slice(2, 7), slice(4, 8))))]
    judged = judge(photo, seen)
    copied = teach_by_head(Copying(), voting(), photo, seen, judged)
    empty = teach_by_head(Copying(share=0.0), voting(), photo, seen, judged)
    assert copied.mask.any() and copied.consensus > 0 and copied.weight > 0
    assert not empty.mask.any() and empty.consensus == empty.weight == 0


def test_a_head_that_draws_no_numbers_teaches_nobody() -> None:
    photo, seen = disc_photo(1), [view(attended((slice(2, 7), slice(4, 8))))]
    with pytest.raises(WeightsError, match="the teacher: draws no numbers"):
        teach_by_head(Copying(share=np.nan), voting(), photo, seen, judge(photo, seen))


def test_a_photo_counts_by_all_that_makes_it_certain() -> None:
    mask = np.ones((2, 2), bool)
    assert Taught(mask, 0.5, 0.8, 0.5).weight == pytest.approx(0.04)
    assert Taught(~mask, 1.0, 1.0, 1.0).weight == 0
