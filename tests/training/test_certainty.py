"""What a teacher is sure of: an object that nothing speaks against, and a window without one."""

from dataclasses import replace

import numpy as np
import pytest

from cratecli.geometry import Box
from cratecli.training.certainty import Taught, frame_contact, ground_window, is_sure

MASK = np.zeros((20, 20), bool)
MASK[5:12, 5:12] = True
GOOD = Taught(MASK, confidence=0.7, consensus=0.9, kept=0.8)


def test_an_object_that_nothing_speaks_against_is_sure() -> None:
    assert is_sure(GOOD) is True


@pytest.mark.parametrize(
    "fault",
    [
        {"confidence": 0.6},
        {"consensus": 0.8},
        {"kept": 0.5},
        {"mask": np.zeros_like(MASK)},
        {"mask": np.pad(np.ones((18, 18), bool), 1)},
        {"mask": np.arange(400).reshape(20, 20) < 60},
    ],
)
def test_one_doubt_is_enough(fault: dict[str, object]) -> None:
    assert is_sure(replace(GOOD, **fault)) is False  # type: ignore[arg-type]


def test_contact_with_the_frame_is_its_share_of_outermost_pixels() -> None:
    assert frame_contact(np.ones((5, 7), bool)) == 1
    assert frame_contact(np.pad(np.ones((3, 5), bool), 1)) == 0
    mask = np.zeros((5, 7), bool)
    mask[0] = True
    assert frame_contact(mask) == 7 / 20


def test_the_ground_is_the_largest_window_beside_the_object() -> None:
    mask = np.zeros((100, 100), bool)
    assert ground_window(mask) == Box(0, 0, 100, 100)
    mask[:, 70:] = True
    window = ground_window(mask)
    assert window is not None and window.xywh[2:] == (65, 65) and not mask[window.slices].any()


def test_a_photo_full_of_object_has_no_ground() -> None:
    assert ground_window(np.ones((30, 30), bool)) is None
    assert ground_window(np.eye(40, dtype=bool), most=0.0) is not None
