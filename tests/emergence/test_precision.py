"""Average precision by hand, and on photos drawn again: as if they were there that often."""

from typing import Any

import numpy as np
import pytest

from cratecli.emergence.precision import AP50, AP75, Kind, average_precision
from cratecli.geometry import Box
from cratecli.io.formats.record import annotate

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (20, 30)
HALF = 51 / 101  # the share of COCO's recalls, 0 to 1 by 0.01, that one object of two reaches


def mask(*boxes: Box) -> np.ndarray:
    whole = np.zeros(SIZE, bool)
    for box in boxes:
        whole[box.top : box.bottom, box.left : box.right] = True
    return whole


def true(whole: np.ndarray, *, crowd: bool = False) -> dict[str, Any]:
    made = annotate(whole, 1.0)
    return {
        "segmentation": made.rle,
        "bbox": [float(each) for each in made.box],
        "area": float(made.area),
        "iscrowd": int(crowd),
    }


def found(whole: np.ndarray, score: float = 1.0) -> dict[str, Any]:
    return {"segmentation": annotate(whole, 1.0).rle, "score": score}


def judge(
    truth: list[list[dict[str, Any]]],
    ours: list[list[dict[str, Any]]],
    kind: Kind = "segm",
    counts: np.ndarray | None = None,
) -> Any:
    drawn = np.zeros((0, len(truth)), np.int64) if counts is None else counts
    return average_precision(truth, ours, [SIZE] * len(truth), kind, drawn)


A, B, ELSEWHERE = Box(2, 2, 12, 12), Box(5, 15, 15, 25), Box(15, 25, 20, 30)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_what_is_found_whole(kind: Kind) -> None:
    whole = judge([[true(mask(A))], [true(mask(B))]], [[found(mask(A))], [found(mask(B))]], kind).whole
    assert whole == pytest.approx(np.ones(10))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_one_of_two_found(kind: Kind) -> None:
    precision = judge([[true(mask(A))], [true(mask(B))]], [[found(mask(A))], []], kind)
    assert precision.whole == pytest.approx(np.full(10, HALF))
    assert precision.recall == pytest.approx(np.full(10, 1 / 2))


def test_scores_decide_what_comes_first() -> None:
    """A find that is wrong counts only where it comes before the right one; of equal scores the first photo's does."""
    truth = [[true(mask(A))], [true(mask(B))]]
    equal = judge(truth, [[found(mask(A))], [found(mask(ELSEWHERE))]]).whole
    assert equal == pytest.approx(np.full(10, HALF))
    wrong_first = judge(truth, [[found(mask(A), 0.5)], [found(mask(ELSEWHERE), 0.6)]]).whole
    assert wrong_first == pytest.approx(np.full(10, HALF / 2))


def test_the_threshold_of_iou() -> None:
    """An IoU of 0.72 passes five thresholds of ten, 0.5 to 0.95; the box of what was found is the true one."""
    part = mask(A) & ~mask(Box(2, 2, 9, 6))  # 72 of 100 px
    truth, ours = [[true(mask(A))]], [[found(part)]]
    whole = judge(truth, ours, "segm").whole
    assert whole == pytest.approx([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert (whole[AP50], whole[AP75]) == pytest.approx((1, 0))
    assert judge(truth, ours, "bbox").whole == pytest.approx(np.ones(10))


def test_crowds_count_neither_way() -> None:
    truth = [[true(mask(A)), true(mask(B), crowd=True)]]
    ours = [[found(mask(Box(5, 15, 10, 20)), 0.9), found(mask(A), 0.8)]]
    assert judge(truth, ours).whole == pytest.approx(np.ones(10))


def test_nothing_found_anywhere_and_nothing_there() -> None:
    precision = judge([[true(mask(A))], []], [[], []], counts=np.array([[1, 1], [2, 0]]))
    assert not precision.whole.any()
    assert precision.drawn.shape == (2, 10)
    with pytest.raises(ValueError, match="no photo has an object"):
        judge([[], [true(mask(A), crowd=True)]], [[found(mask(A))], []])


def test_a_sample_without_objects_has_no_precision() -> None:
    drawn = judge([[true(mask(A))], []], [[found(mask(A))], []], counts=np.array([[0, 2], [2, 0]])).drawn
    assert np.isnan(drawn[0]).all()
    assert drawn[1] == pytest.approx(np.ones(10))


def scattered(random: np.random.Generator) -> np.ndarray:
    top, left = (int(random.integers(0, 10)) for _ in range(2))
    return mask(Box(top, left, top + int(random.integers(3, 10)), left + int(random.integers(3, 18))))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("equal", [True, False])
def test_photos_drawn_again_are_judged_as_if_they_were_there_that_often(kind: Kind, equal: bool) -> None:
    """pycocotools itself, given copies of photos, is the oracle."""
    random = np.random.default_rng(0)
    truth, ours = [], []
    for photo in range(12):
        objects = [scattered(random) for _ in range(int(random.integers(0, 4)))]
        near = [np.roll(each, 1, axis=1) for each in objects if random.random() < 0.7]
        tries = near + [scattered(random) for _ in range(2)]
        truth.append([true(each, crowd=photo == 3) for each in objects])
        ours.append([found(each, 1.0 if equal else float(random.random())) for each in tries if photo != 5])
    counts = random.multinomial(12, np.full(12, 1 / 12), size=6)
    precision = judge(truth, ours, kind, np.concatenate([np.ones((1, 12), np.int64), counts]))
    assert 0.05 < precision.whole.mean() < 0.95
    assert precision.drawn[0] == pytest.approx(precision.whole)
    for count, drawn in zip(counts, precision.drawn[1:], strict=True):
        order = np.repeat(np.arange(12), count)
        copies = judge([truth[i] for i in order], [ours[i] for i in order], kind).whole
        assert drawn == pytest.approx(copies)
