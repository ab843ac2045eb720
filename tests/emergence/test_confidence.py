"""Expected IoU: of votes that were made by hand, and of a disc that heads see."""

import numpy as np
import pytest

from cratecli.emergence import chooser
from cratecli.emergence.candidates import candidates
from cratecli.emergence.chooser import Judged
from cratecli.emergence.confidence import BIAS, expected_iou, signs, soft_iou
from cratecli.emergence.heads import finest_tokens, token_features
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import Superpixels
from cratecli.model.engine import WeightsId
from cratecli.tasks.ranker import confidence_weights, ranker
from cratecli.weights.checkpoint import load_model
from tests.support.views import COLS, ROWS, blob, view

SEEN = view(blob(9, 12), 0)
SIZES = np.array([2.0, 1.0, 1.0])
# Of three superpixels, the first of two pixels: a mask of the first, and one of the first two.
SOFT = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


def judged() -> Judged:
    labels = np.array([[0, 0, 1, 2]])
    nowhere = np.zeros(3)
    pixels = Superpixels(
        labels, SIZES, np.zeros((3, 3)), np.zeros((3, 2)), nowhere, np.zeros((3, 3)), nowhere
    )
    listed = candidates([SEEN], token_features(finest_tokens([SEEN])))
    measured = {"unsure": np.array([0.1, 0.3]), "cosine_across": np.array([-0.2, 0.6]), "area": np.ones(2)}
    return Judged(pixels, listed, SOFT, measured, {})


def test_signs_of_a_vote_three_to_one() -> None:
    scores = np.log([3.0, 1.0]) / chooser.SHARPNESS  # the vote is 1, 1/4, 0: the mask of the first superpixel
    found = signs(judged(), scores)
    assert found == {
        "decided": pytest.approx(2 / 2.25),
        "apart": pytest.approx(np.log(3) / 5),
        "unsure": pytest.approx(0.15),
        "cosine_across": pytest.approx(0.0),
    }


def test_a_candidate_that_is_out_does_not_count() -> None:
    found = signs(judged(), np.array([-np.inf, 1.0]))
    assert found["decided"] == 1 and found["apart"] == 0
    assert (found["unsure"], found["cosine_across"]) == (0.3, 0.6)


def test_soft_iou_is_iou_where_nothing_is_soft() -> None:
    one, other = np.array([1.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0])
    assert soft_iou(one, other, SIZES) == 1 / 4
    assert soft_iou(one, one, SIZES) == 1
    assert soft_iou(np.zeros(3), np.zeros(3), SIZES) == 0
    assert soft_iou(np.array([0.5, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), SIZES) == 0.5


def test_expected_iou_is_logistic() -> None:
    assert expected_iou({"decided": 0.5}, {"bias": 0.0, "decided": 0.0}) == 0.5
    assert expected_iou({"decided": 0.5}, {"bias": -1.0, "decided": 2 + 2 * np.log(3)}) == pytest.approx(0.75)
    assert expected_iou({"decided": 1.0, "more": 9.0}, {"decided": 800.0}) == 1
    with pytest.raises(KeyError, match="head"):
        expected_iou({"decided": 0.5}, {"head": 1.0})


@pytest.mark.parametrize("frame", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_the_tables_weigh_every_sign_and_of_other_models_none_of_tokens(frame: bool, known: bool) -> None:
    model = load_model(device="cpu").weights if known else WeightsId("another", "0" * 64)
    weights = confidence_weights(model, frame=frame)
    assert known or weights == confidence_weights(None, frame=frame)
    assert set(weights) == {BIAS, *signs(judged(), np.zeros(2))} - (set() if known else {"cosine_across"})
    one = {"decided": 0.9, "apart": 3.0, "unsure": 0.01, "cosine_across": 0.0}
    worse = {"decided": 0.5, "apart": 2.0, "unsure": 0.05, "cosine_across": 0.3}
    for name in weights.keys() - {BIAS}:
        assert expected_iou({**one, name: worse[name]}, weights) < expected_iou(one, weights)


def test_signs_of_a_photo_of_one_colour_are_finite() -> None:
    grey = np.full((8 * ROWS, 8 * COLS, 3), 128, np.uint8)
    found = chooser.judge([SEEN], grey, Keep("otsu"))
    assert np.isfinite(list(signs(found, chooser.score(found, ranker(frame=False))).values())).all()
