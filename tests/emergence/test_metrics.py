"""Numbers of the saliency field and of VOC, each computed by hand."""

import numpy as np
import pytest

from cratecli.emergence.metrics import (
    accuracy,
    box_iou,
    calibration_error,
    class_iou,
    f_curve,
    mean_absolute_error,
)
from cratecli.geometry import Box
from tests.support.masks import drawn

SOFT = np.array([[1.0, 0.5], [0.0, 0.0]], np.float32)
TRUTH = np.array([[True, False], [False, True]])


def test_f_of_every_level() -> None:
    """With β² = 0.3 and two true pixels, F = 1.3 · right / (0.6 + kept)."""
    curve = f_curve(SOFT, TRUTH)
    assert curve.shape == (256,)
    assert curve[0] == pytest.approx(1.3 * 2 / (0.6 + 4))  # all is kept
    assert curve[1:129] == pytest.approx(1.3 * 1 / (0.6 + 2))  # 0.5 is level 128
    assert curve[129:] == pytest.approx(1.3 * 1 / (0.6 + 1))


def test_f_is_what_precision_and_recall_make_of_it() -> None:
    random = np.random.default_rng(0)
    soft, truth = random.random((9, 7)).astype(np.float32), random.random((9, 7)) > 0.6
    curve = f_curve(soft, truth)
    for level in (0, 1, 77, 128, 254, 255):
        kept = np.round(soft * 255) >= level
        right = np.count_nonzero(kept & truth)
        precision, recall = right / max(kept.sum(), 1), right / truth.sum()
        expected = 1.3 * precision * recall / (0.3 * precision + recall) if right else 0
        assert curve[level] == pytest.approx(expected)


def test_f_of_a_map_that_is_wrong_everywhere_is_nothing() -> None:
    curve = f_curve((~TRUTH).astype(np.float32), TRUTH)
    assert curve[0] == pytest.approx(2.6 / 4.6)
    assert not curve[1:].any()


def test_f_needs_a_foreground() -> None:
    with pytest.raises(ValueError, match="without foreground"):
        f_curve(SOFT, np.zeros_like(TRUTH))


def test_errors_and_accuracy() -> None:
    assert mean_absolute_error(SOFT, TRUTH) == pytest.approx((0 + 0.5 + 0 + 1) / 4)
    assert accuracy(SOFT > 0.4, TRUTH) == 0.5


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Box(0, 0, 2, 4), Box(0, 0, 2, 4), 1.0),
        (Box(0, 0, 2, 4), Box(1, 2, 3, 6), 2 / 14),
        (Box(0, 0, 2, 2), Box(2, 0, 4, 2), 0.0),
        (Box(0, 0, 2, 2), Box(3, 3, 4, 4), 0.0),
        (None, Box(0, 0, 1, 1), 0.0),
        (None, None, 0.0),
    ],
)
def test_boxes(one: Box | None, other: Box | None, expected: float) -> None:
    assert box_iou(one, other) == box_iou(other, one) == pytest.approx(expected)


def test_classes_without_void() -> None:
    labels = np.array([[1, 1, 0, 255], [7, 0, 0, 255]], np.uint8)
    masks = np.stack([drawn("#..#\n...."), drawn("####\n####"), drawn("...#\n...#")])
    found = class_iou(masks, labels)
    assert found == pytest.approx(np.array([[1 / 2, 2 / 6, 0], [0, 1 / 6, 0]]))


def test_a_photo_of_ground_and_void_has_no_class() -> None:
    assert class_iou(np.ones((2, 1, 2), bool), np.array([[0, 255]], np.uint8)).shape == (0, 2)


def test_calibration_is_of_what_is_said_in_ten_bins() -> None:
    said, found = np.array([0.12, 0.18, 0.9, 1.0]), np.array([0.2, 0.3, 0.5, 1.0])
    assert calibration_error(said, found) == pytest.approx((0.2 + 0.4) / 4)
    assert calibration_error(said, found, bins=1) == pytest.approx((2.2 - 2.0) / 4)
    assert calibration_error(found, found) == 0
