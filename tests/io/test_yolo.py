"""YOLO's polygons: what they hold is exact, holes are filled, pieces stay one object, and the loss is the IoU told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, label

from cratecli.io.formats.compare import agreement
from cratecli.io.formats.record import Annotated, annotate, classes
from cratecli.io.formats.yolo import data_yaml, decode, encode, outline
from tests.support.annotations import CHECK, MET, PHOTOS, blobs


def photo(mask: np.ndarray) -> Annotated:
    return Annotated("x.png", *mask.shape, [annotate(mask, 1.0)])  # type: ignore[call-arg]


def again(mask: np.ndarray) -> np.ndarray:
    """Encode a mask, and draw it again."""
    back = decode(encode(photo(mask), ["object"]), photo(mask), ["object"])
    return back.objects[0].mask


def disc(height: int, width: int, row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


WHOLE = {
    "a disc": disc(60, 81, 30, 40, 20),
    "a disc at the edge": disc(60, 81, 0, 80, 20),
    "all": np.ones((7, 9), bool),
    "a pixel": np.eye(1, 30, 7, dtype=bool).reshape(5, 6),
    "a line": np.eye(9, dtype=bool),
    "one row": np.ones((1, 40), bool),
    "one column": np.ones((40, 1), bool),
    "a fine outline": disc(1000, 3001, 500, 1500, 450.5),
}


@pytest.mark.parametrize("mask", WHOLE.values(), ids=WHOLE)
def test_a_piece_without_holes_is_the_same_again(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(again(mask), mask)


def test_holes_are_filled_and_the_loss_is_told() -> None:
    mask = disc(60, 80, 30, 40, 20) & ~disc(60, 80, 30, 40, 9)
    np.testing.assert_array_equal(again(mask), binary_fill_holes(mask))
    back = decode(encode(photo(mask), ["object"]), photo(mask), ["object"])
    assert agreement(photo(mask), back) == pytest.approx(mask.sum() / binary_fill_holes(mask).sum())


def test_pieces_are_one_object_joined_by_a_line() -> None:
    one, two, three = disc(60, 90, 20, 15, 10), disc(60, 90, 40, 50, 10), disc(60, 90, 20, 75, 9)
    mask = one | two | three
    back = again(mask)
    assert encode(photo(mask), ["object"]).count(b"\n") == 1
    assert (back & mask).sum() == mask.sum()
    assert label(back, np.ones((3, 3)))[1] == 1
    assert 0 < (back & ~mask).sum() < 60  # two lines, from piece to piece


@pytest.mark.parametrize("seed", range(5))
def test_nothing_of_a_mask_is_left_out(seed: int) -> None:
    mask = blobs(80, 120, seed)
    back = again(mask)
    assert (back & mask).sum() == mask.sum()


def test_lines_by_hand() -> None:
    two = Annotated("x", 4, 5, [annotate(CHECK, 1.0, "b"), annotate(np.eye(4, 5, dtype=bool), 1.0, "a")])
    lines = [line.split() for line in encode(two, ["a", "b"]).decode().splitlines()]
    assert [line[0] for line in lines] == ["1", "0"]
    for line in lines:
        shares = np.array(line[1:], float).reshape(-1, 2)
        assert len(shares) >= 3
        assert ((shares > 0) & (shares < 1)).all()
    assert encode(PHOTOS[1], ["object"]) == b""
    assert len(outline(np.ones((1, 1), bool))) == 3


def test_labels_and_order_are_kept() -> None:
    for each in (*PHOTOS, MET):
        names = classes([each])
        back = decode(encode(each, names), replace(each, objects=()), names)
        assert [one.label for one in back.objects] == [one.label for one in each.objects]
        assert 0 < agreement(each, back) <= 1


def test_the_description_of_the_data_set() -> None:
    lines = data_yaml(["part 2", 'a "b": ö']).decode().splitlines()
    assert lines[:3] == ["train: images", "val: images", "names:"]
    names = [line.split(": ", 1) for line in lines[3:]]
    assert [(number.strip(), json.loads(name)) for number, name in names] == [
        ("0", "part 2"),
        ("1", 'a "b": ö'),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "5",
        "0 0.1 0.2",
        "0 0 0 1 1 0",
        "0 0 0 1 1 2 0",
        "1 0 0 1 1 0 1",
        "-1 0 0 1 1 0 1",
        "0 a b c d e f",
    ],
)
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(f"{line}\n".encode(), photo(CHECK), ["object"])


@pytest.mark.parametrize("number", ["nan", "inf", "-0.1", "1e300"])
def test_points_outside_the_photo(number: str) -> None:
    with pytest.raises(ValueError, match="not a polygon"):
        decode(f"0 0 0 1 1 0 {number}\n".encode(), photo(CHECK), ["object"])
