"""What formats hold of a photo, and how far what came back agrees, against plain arrays."""

import numpy as np
import pytest

from cratecli.io.formats.compare import agreement, apart, by_class, classes_apart, iou, united, whole
from cratecli.io.formats.record import Annotated, annotate
from tests.support.annotations import CHECK, MET, PHOTOS, specks

NOTHING = Annotated("met.png", 20, 30, [])


def test_iou_by_runs_is_that_of_the_pixels() -> None:
    for seed in range(10):
        one, other = specks(9, 13, 0.5, seed), specks(9, 13, 0.5, seed + 100)
        expected = (one & other).sum() / (one | other).sum()
        assert iou(annotate(one, 1.0), annotate(other, 0.5)) == pytest.approx(expected, abs=1e-12)
    assert iou(annotate(CHECK, 1.0), annotate(~CHECK, 1.0)) == 0
    assert iou(annotate(CHECK, 1.0), annotate(CHECK, 1.0, "other")) == 0
    assert iou(annotate(CHECK, 1.0), annotate(CHECK.T, 1.0)) == 0
    assert iou(annotate(CHECK, 1.0), None) == 0


def test_one_mask_for_all() -> None:
    (only,) = united(MET).objects
    np.testing.assert_array_equal(only.mask, MET.mask)
    assert only.label == "object"
    assert not united(NOTHING).objects


def test_one_mask_a_class() -> None:
    first, second = by_class(MET).objects
    assert (first.label, second.label) == ("part 0", "part 1")
    np.testing.assert_array_equal(first.mask, MET.objects[0].mask | MET.objects[2].mask)
    np.testing.assert_array_equal(second.mask, MET.objects[1].mask)


def test_where_objects_meet_the_earlier_keeps_the_pixel() -> None:
    one, two, three = (each.mask for each in MET.objects)
    expected = [one, two & ~one, three & ~one & ~two]
    for found, mask in zip(apart(MET).objects, expected, strict=True):
        np.testing.assert_array_equal(found.mask, mask)
    assert [each.label for each in classes_apart(MET).objects] == ["part 0", "part 1"]
    hidden = Annotated("x", 4, 5, [annotate(CHECK, 1.0), annotate(CHECK, 0.5)])
    assert apart(hidden).objects == [annotate(CHECK, 1.0)]


def test_agreement() -> None:
    assert [agreement(photo, whole(photo)) for photo in (*PHOTOS, MET)] == [1] * 7
    assert agreement(NOTHING, NOTHING) == 1
    assert agreement(MET, NOTHING) == agreement(NOTHING, MET) == 0
    one, two, three = MET.objects
    lost = Annotated("met.png", 20, 30, [one, three])
    added = Annotated("met.png", 20, 30, [one, two, three, annotate(one.mask, 1.0, "new")])
    assert agreement(MET, lost) == pytest.approx(2 / 3)
    assert agreement(MET, added) == pytest.approx(3 / 4)
    assert agreement(MET, Annotated("met.png", 20, 30, [one, two, two])) < 1
