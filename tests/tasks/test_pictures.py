"""What is drawn of a segmented photo: combinations that mean something, and the pixels they give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cratecli
from cratecli.emergence import matting
from cratecli.errors import UsageError
from cratecli.io.formats.picture import KINDS, Kind
from cratecli.tasks.options import PictureOptions
from cratecli.tasks.pictures import choose_ending, choose_picture, draw_picture
from cratecli.tasks.segment import Segmentation
from tests.support.photos import photo

RGB = photo(40, 60)
MASK = np.zeros((40, 60), bool)
MASK[10:20, 5:25] = True
SOFT = np.where(MASK, 0.9, 0.1).astype(np.float32)


def drawn(mask: np.ndarray = MASK, kind: Kind | None = None, **asked: Any) -> tuple[np.ndarray, Any]:
    shown = draw_picture(RGB, mask, SOFT, choose_picture(kind, asked), "photo")  # type: ignore[arg-type]
    return shown.pixels, shown.box


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_cropped_to_the_mask(kind: Kind) -> None:
    whole, none = drawn(kind=kind)
    part, box = drawn(kind=kind, crop=True)
    assert none is None
    assert box.xywh == (5, 10, 20, 10)
    np.testing.assert_array_equal(part, whole[10:20, 5:25])


def test_the_margin_is_a_share_of_the_longer_side_and_ends_at_the_photos_edge() -> None:
    pixels, box = drawn(crop=True, margin=0.4)
    assert box.xywh == (0, 2, 33, 26)  # 8 px on every side, 5 of them on the left
    assert pixels.shape == (26, 33)


def test_an_empty_mask_is_not_cropped() -> None:
    pixels, box = drawn(np.zeros_like(MASK), crop=True, margin=0.1)
    assert box is None
    assert pixels.shape == (40, 60)


def test_a_background_makes_a_cutout_opaque() -> None:
    pixels, _ = drawn(background="#0000ff")
    assert pixels.shape == (40, 60, 3)
    np.testing.assert_array_equal(pixels[MASK], RGB[MASK])
    assert (pixels[~MASK] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("kind", "asked", "reason"),
    [
        (
            "mask",
            {"background": "white"},
            "--background is of cut-outs, not of mask pictures: give --as cutout",
        ),
        ("overlay", {"background": "white"}, "--background is of cut-outs"),
        ("soft", {"matting": True}, "--matting is of cut-outs"),
        (None, {"margin": 0.1}, "--margin is room around what is cropped: give --crop too"),
        (None, {"crop": True, "margin": 1.5}, "margin is 1.5, not less than or equal to 1"),
        (None, {"crop": 1}, "crop is 1, not true or false"),
        (None, {"colour": "red"}, "colour"),
    ],
)
def test_what_means_nothing_is_refused(kind: Kind | None, asked: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        choose_picture(kind, asked)


def test_options_of_cutouts_mean_cutouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matting, "can_matte", lambda: True)
    asked: list[PictureOptions] = [{}, {"background": "red"}, {"matting": True}]
    kinds = [choose_picture(None, each).kind for each in asked]
    assert kinds == ["mask", "cutout", "cutout"]
    assert choose_picture(None, {"crop": True, "matting": False}).kind == "mask"


def test_without_pymatting_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matting, "can_matte", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'cratecli\[matting\]'"):
        choose_picture(None, {"matting": True})


@pytest.mark.parametrize(
    ("output", "asked", "kind", "ending"),
    [
        (None, None, "mask", "png"),
        ("a.webp", None, "mask", "webp"),
        ("a.JPEG", "jpg", "overlay", "jpg"),
        ("a.webp/", None, "mask", "png"),
        ("out/", "webp", "soft", "webp"),
        ("out.txt", None, "mask", "png"),
    ],
)
def test_endings(output: str | None, asked: Any, kind: str, ending: str) -> None:
    assert choose_ending(output, asked, kind) == ending


@pytest.mark.parametrize(
    ("output", "asked", "kind", "reason"),
    [
        ("a.png", "webp", "mask", "a.png does not end with .webp, as --ending says"),
        ("a.jpg", None, "mask", "JPEG alters mask pictures: let names end with .png or .webp"),
        (None, "jpg", "soft16", "JPEG alters soft16 pictures: let names end with .png$"),
        ("a.webp", None, "soft16", "WebP cannot hold soft16 pictures"),
        ("a.webp", None, "labels", "WebP cannot hold labels pictures"),
    ],
)
def test_formats_that_would_lose_a_mask(output: str | None, asked: Any, kind: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        choose_ending(output, asked, kind)


def test_jpeg_has_no_transparency() -> None:
    with pytest.raises(UsageError, match="JPEG has no transparency: give --background COLOUR"):
        choose_picture("cutout", {}, "a.jpg")
    assert choose_picture("cutout", {"background": "white"}, "a.jpg").ending == "jpg"


def segmentation(mask: np.ndarray) -> Segmentation:
    return Segmentation(mask, SOFT, (0,), (0,), np.zeros((1, 1)), np.ones((1, 1)), 0.5, 0.5, None)


def test_python_draws_what_the_command_writes(tmp_path: Path) -> None:
    result = segmentation(MASK)
    assert cratecli.draw(RGB, result).shape == (40, 60)
    assert cratecli.draw(RGB, result, "cutout", crop=True).shape == (10, 20, 4)
    assert cratecli.draw(RGB, result, background="white").shape == (40, 60, 3)
    with pytest.raises(ValueError, match="has no mask of"):
        cratecli.draw(RGB[:20], result)
