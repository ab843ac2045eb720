"""What is encoded is decoded again: each kind of picture, at the photo's own size."""

import io

import numpy as np
import pytest
from PIL import Image

from cratecli import arrays
from cratecli.io.formats import picture
from cratecli.io.formats.picture import KINDS, Kind
from cratecli.io.formats.png import DIMMED, decode_cutout, decode_mask, encode_cutout, overlay

RGB = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
MASK = np.zeros((7, 11), bool)
MASK[2:5, 3:9] = True
SOFT = np.linspace(0, 1, 77, dtype=np.float32).reshape(7, 11)


def encode(rgb: arrays.RGB, mask: arrays.Mask, soft: arrays.Soft, kind: Kind) -> bytes:
    return picture.encode(picture.draw(rgb, mask, soft, kind), "png", None, "photo")


def decoded(kind: Kind) -> Image.Image:
    content = encode(RGB, MASK, SOFT, kind)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.size == (11, 7)
    return image


def test_mask() -> None:
    image = decoded("mask")
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), np.where(MASK, 255, 0))


def test_soft() -> None:
    image = decoded("soft")
    assert image.mode == "L"
    levels = np.asarray(image)
    assert (levels[0, 0], levels[-1, -1]) == (0, 255)
    np.testing.assert_allclose(levels / 255, SOFT, atol=0.5 / 255 + 1e-6)


def test_soft_with_16_bits() -> None:
    image = decoded("soft16")
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(image), np.round(SOFT.astype(float) * 65535))


def test_cutout() -> None:
    image = decoded("cutout")
    assert image.mode == "RGBA"
    pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[..., 3], np.where(MASK, 255, 0))
    np.testing.assert_array_equal(pixels[MASK][:, :3], RGB[MASK])


def test_overlay() -> None:
    image = decoded("overlay")
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[3, 5], RGB[3, 5])  # inside: as it was
    assert pixels[2, 3].tolist() == [255, 255, 255]  # on the edge: the outline
    luminance = RGB[0, 0] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(pixels[0, 0], [luminance * DIMMED] * 3, atol=1)  # outside: dim and grey


def test_an_overlay_leaves_its_photo_alone() -> None:
    before = RGB.copy()
    overlay(RGB, MASK)
    np.testing.assert_array_equal(RGB, before)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_and_a_full_mask_can_be_shown(kind: Kind) -> None:
    for mask in (np.zeros_like(MASK), np.ones_like(MASK)):
        image = Image.open(io.BytesIO(encode(RGB, mask, SOFT, kind)))
        assert image.size == (11, 7)
    nothing = np.asarray(Image.open(io.BytesIO(encode(RGB, np.zeros_like(MASK), SOFT, "cutout"))))
    assert not nothing[..., 3].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_thin_photos(size: tuple[int, int]) -> None:
    mask = np.ones(size, bool)
    for kind in KINDS:
        content = encode(np.zeros((*size, 3), np.uint8), mask, mask.astype(np.float32), kind)
        assert Image.open(io.BytesIO(content)).size == size[::-1]


def test_the_same_picture_is_the_same_bytes() -> None:
    assert [encode(RGB, MASK, SOFT, kind) for kind in KINDS] == [
        encode(RGB, MASK, SOFT, kind) for kind in KINDS
    ]


def test_masks_are_the_same_again() -> None:
    for mask in (MASK, ~MASK, np.zeros_like(MASK), np.ones_like(MASK)):
        np.testing.assert_array_equal(decode_mask(encode(RGB, mask, SOFT, "mask")), mask)
        np.testing.assert_array_equal(decode_cutout(encode(RGB, mask, SOFT, "cutout")), mask)


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


GREY = saved(Image.new("L", (4, 3), 7))
UNREADABLE = {
    "empty": b"",
    "no picture": b"no picture at all",
    "cut short": encode(RGB, MASK, SOFT, "mask")[:-30],
    "another format": saved(Image.new("L", (4, 3)), "BMP"),
    "another mode": encode(RGB, MASK, SOFT, "overlay"),
    "levels between": GREY,
    "a size beyond all": GREY[:16] + (50_000).to_bytes(4) * 2 + GREY[24:],
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_mask(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"PNG|px|values"):
        decode_mask(content)


def test_what_is_no_cutout() -> None:
    with pytest.raises(ValueError, match="mode RGB"):
        decode_cutout(saved(Image.new("RGB", (4, 3))))


def test_a_cutout_keeps_the_colours_and_the_alpha_of_its_photo() -> None:
    own = np.zeros((*MASK.shape, 4), np.uint8)
    own[..., 0], own[..., 3] = 200, np.arange(MASK.size).reshape(MASK.shape)
    content = encode_cutout(RGB, MASK, rgba=own)
    got = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(got[MASK][:, :3], own[MASK][:, :3])
    assert not got[~MASK].any()  # nothing of the background stays in the file
    np.testing.assert_array_equal(got[..., 3], np.where(MASK, np.maximum(own[..., 3], 1), 0))
    np.testing.assert_array_equal(decode_cutout(content), MASK)


def test_masks_beyond_pillows_limit_for_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(RGB, MASK, SOFT, "mask")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(decode_mask(content), MASK)
