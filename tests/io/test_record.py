"""The middle record: masks are the same again, measures are right, and nothing hostile reaches memory or C."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cratecli.emergence.masks import bounding_box
from cratecli.io.formats.record import (
    MOST_PIXELS,
    Annotated,
    annotate,
    check_size,
    classes,
    decode_rle,
    restore,
)
from tests.support.annotations import CHECK, MET, blobs

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_the_check_vector() -> None:
    found = annotate(CHECK, 0.5)
    assert found.rle == {"size": [4, 5], "counts": "55103"}
    assert (found.area, found.box, found.score, found.label) == (10, (1, 0, 3, 4), 0.5, "object")
    np.testing.assert_array_equal(found.mask, CHECK)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 11), (64, 3)])
def test_a_mask_is_the_same_again(shape: tuple[int, int]) -> None:
    masks = np.random.default_rng(0).random((40, *shape)) < np.linspace(0, 1, 40)[:, None, None]
    for mask in masks:
        found = annotate(mask, 1.0)
        np.testing.assert_array_equal(found.mask, mask)
        np.testing.assert_array_equal(coco_mask.decode(found.rle), mask)
        box = bounding_box(mask)
        assert (found.area, found.box) == (mask.sum(), (0, 0, 0, 0) if box is None else box.xywh)
        assert restore(found.rle, 1.0) == found


def test_a_large_mask_is_the_same_again() -> None:
    """Its runs take several characters, and their differences have either sign."""
    mask = np.kron(blobs(60, 80), np.ones((20, 20), bool))
    np.testing.assert_array_equal(annotate(mask, 1.0).mask, mask)


def test_what_is_counted_is_plain_numbers() -> None:
    """NumPy's own would not go into JSON."""
    found = annotate(CHECK, 0.5)
    assert {type(value) for value in (*found.box, *found.rle["size"], found.area)} == {int}
    assert isinstance(found.rle["counts"], str)


def test_runs_of_no_length_change_nothing() -> None:
    """0 1 2 0 1, on two rows and two columns: such as other writers may leave."""
    found = restore({"size": [2, 2], "counts": "012OO"}, 1.0)
    assert found.mask.astype(int).tolist() == [[1, 0], [0, 0]]
    np.testing.assert_array_equal(found.mask, decode_rle(found.rle))
    assert found.area == found.mask.sum()
    box = bounding_box(found.mask)
    assert box is not None
    assert found.box == box.xywh


HOSTILE = {
    "nothing": "",
    "a character beyond": "p",
    "a character below": "/",
    "no text of ASCII": "ä5",
    "a number without end": "o" * 100_000,
    "a long number": "o" * 100_000 + "0",
    "a negative run": "5" + "O" + "5103",
    "a difference below zero": "55103" + "`",
    "too few pixels": "55",
    "too many pixels": "551035",
    "far too many": "oooooo1",
}


@pytest.mark.parametrize("counts", HOSTILE.values(), ids=HOSTILE)
def test_hostile_counts_are_refused_in_little_memory(counts: str) -> None:
    rle = {"size": [4, 5], "counts": counts}
    tracemalloc.start()
    for read in (decode_rle, lambda each: restore(each, 1.0)):
        with pytest.raises(ValueError, match="RLE"):
            read(rle)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


@pytest.mark.parametrize("counts", [None, 5, [5, 5, 1, 5, 4], b"55103"])
def test_counts_that_are_no_text(counts: object) -> None:
    with pytest.raises(ValueError, match="not COCO's text"):
        decode_rle({"size": [4, 5], "counts": counts})


SIZES: list[tuple[Any, Any]] = [
    (0, 5),
    (-4, -5),
    (4.0, 5),
    (True, True),
    ("4", 5),
    (MOST_PIXELS, 2),
    (10**30, 1),
]


@pytest.mark.parametrize("size", SIZES)
def test_sizes_that_are_none_are_refused_before_anything_is_made(size: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="px"):
        check_size(*size)
    with pytest.raises(ValueError, match="px"):
        decode_rle({"size": list(size), "counts": "55103"})


def test_random_counts_decode_or_are_refused() -> None:
    random = np.random.default_rng(0)
    decoded = 0
    for _ in range(3000):
        counts = "".join(map(chr, random.integers(47, 113, random.integers(0, 7))))
        try:
            mask = decode_rle({"size": [3, 4], "counts": counts})
        except ValueError:
            continue
        decoded += 1
        assert mask.shape == (3, 4)
        np.testing.assert_array_equal(coco_mask.decode({"size": [3, 4], "counts": counts}), mask)
    assert decoded


def test_classes_are_in_the_order_of_their_numbers_whatever_the_photos() -> None:
    labels = ["part 10", "part 2", "ear", "part 02", "9", "part"]
    photos = [Annotated(name, 4, 5, [annotate(CHECK, 1.0, name)]) for name in labels]
    assert classes(photos) == ["ear", "part", "part 02", "part 2", "part 10", "9"]
    assert classes(photos[::-1]) == classes(photos)
    assert classes([]) == ["object"]


def test_the_mask_of_a_photo_is_that_of_all_its_objects() -> None:
    np.testing.assert_array_equal(MET.mask, np.any([each.mask for each in MET.objects], axis=0))
    assert not Annotated("none", 4, 5, []).mask.any()
