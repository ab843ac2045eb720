"""Pictures are encoded as their names end, and give their provenance back."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io.formats import ENDINGS, Ending, ending_of, picture
from tests.support.photos import photo

RGB = photo(24, 32)
MASK = np.zeros((24, 32), bool)
MASK[6:18, 8:20] = True
TEXT = '{"command": "segment", "input": "caf\\u00e9.jpg"}'


def encoded(pixels: np.ndarray, ending: Ending, text: str | None = TEXT) -> bytes:
    return picture.encode(pixels, ending, text, "photo.jpg")


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_picture_holds_its_provenance(ending: Ending) -> None:
    content = encoded(RGB, ending)
    assert opened(content).format == {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}[ending]
    assert picture.embedded_text(content) == TEXT
    assert picture.embedded_text(encoded(RGB, ending, None)) is None
    assert encoded(RGB, ending) == content


@pytest.mark.parametrize("ending", ["webp", "jpg"])
def test_colours_are_near_and_size_is_the_same(ending: Ending) -> None:
    shown = np.asarray(opened(encoded(RGB, ending)).convert("RGB")).astype(int)
    assert shown.shape == RGB.shape
    assert np.abs(shown - RGB).mean() < 8


def test_a_mask_in_webp_is_exact() -> None:
    shown = np.asarray(opened(encoded(picture.draw(RGB, MASK, MASK.astype(np.float32), "mask"), "webp")))
    np.testing.assert_array_equal(shown, np.repeat(np.where(MASK, 255, 0)[..., None], 3, axis=-1))


def test_the_alpha_of_a_webp_is_exact() -> None:
    alpha = np.linspace(0, 1, MASK.size).reshape(MASK.shape).astype(np.float32)
    shown = np.asarray(opened(encoded(picture.draw(RGB, MASK, alpha, "cutout", alpha=alpha), "webp")))
    np.testing.assert_array_equal(shown[..., 3], np.round(alpha * 255))


def test_a_cutout_lies_on_its_ground() -> None:
    alpha = np.where(MASK, 0.5, 0).astype(np.float32)
    shown = picture.lay_over(picture.draw(RGB, MASK, alpha, "cutout", alpha=alpha), np.full_like(RGB, 200))
    assert (shown[~MASK] == 200).all()
    np.testing.assert_allclose(shown[MASK], (RGB[MASK].astype(float) * 128 + 200 * 127) / 255, atol=0.51)


@pytest.mark.parametrize(("ending", "long"), [("webp", 16_384), ("jpg", 65_501)])
def test_what_a_format_cannot_hold_fails_the_photo(ending: Ending, long: int) -> None:
    with pytest.raises(InputError, match=r"^photo.jpg: .* px a side .*: write PNG$"):
        encoded(np.zeros((1, long), np.uint8), ending)
    assert opened(encoded(np.zeros((1, long), np.uint8), "png")).width == long
    with pytest.raises(InputError, match=r"^photo.jpg: .* characters of text: write PNG$"):
        encoded(RGB, ending, "x" * 60_001)


def damaged(ending: Ending) -> list[bytes]:
    content = encoded(RGB, ending)
    flipped = [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in range(3, 200, 7)]
    return [content[:at] for at in range(3, 200, 11)] + flipped


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_pictures_are_a_value_error_or_say_something_else(ending: Ending) -> None:
    for content in damaged(ending):
        try:
            text = picture.embedded_text(content)
        except ValueError:
            continue
        assert text is None or isinstance(text, str)


def test_a_comment_of_another_program_is_none_of_ours() -> None:
    for ending, comment in product(("JPEG", "WEBP"), (b"ASCII\0\0\0{}", b"", b"\xff\xfe")):
        exif, stream = Image.Exif(), io.BytesIO()
        exif.get_ifd(0x8769)[0x9286] = comment
        Image.new("RGB", (4, 3)).save(stream, ending, exif=exif)
        assert picture.embedded_text(stream.getvalue()) is None


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a.JPEG", "jpg"), ("b/c.webp", "webp"), ("png", None), ("a.png.txt", None), ("a.png", "png")],
)
def test_endings_of_names(name: str, ending: Ending | None) -> None:
    assert ending_of(name) == ending
