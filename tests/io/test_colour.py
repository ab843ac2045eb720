"""Every mode and profile comes in by its right scale and colours, whichever way the camera was held."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io import images
from tests.support import broken

RAMP = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
"""Two rows, three columns, six values apart by 50."""


def colours() -> np.ndarray:
    return np.dstack([RAMP, 255 - RAMP, RAMP // 2])


def save(folder: Path, image: Image.Image, name: str = "photo.png", **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def grey(values: np.ndarray) -> np.ndarray:
    return np.dstack([values] * 3)


def rgb(image: Image.Image, kind: str = "png", **options: Any) -> Any:
    """Write an image, read it, and give its pixels, row by row."""
    return images.read_bytes(broken.encoded(image, kind, **options), "photo").tolist()


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "lossless.webp", "tif", "lzw.tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_come_out_upright(kind: str, orientation: int) -> None:
    """A dark corner stays where it belongs, however the camera was held."""
    upright = np.full((32, 48, 3), 220, np.uint8)
    upright[:16, :16] = 30
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # how a camera held so stores it
    image = Image.fromarray(upright)
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = images.read_bytes(broken.encoded(stored, kind, exif=exif), "photo")
    assert stored.size == ((48, 32) if orientation < 5 else (32, 48))
    assert got.shape == upright.shape
    np.testing.assert_array_equal(got.mean(axis=2) < 128, upright[..., 0] < 128)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200)),
        b"no EXIF at all",
        b"Exif\0\0" + bytes(60_000),
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_broken_exif_leaves_the_pixels(kind: str, exif: bytes) -> None:
    plain = images.read_bytes(broken.encoded(broken.photo(), kind), "photo")
    odd = broken.encoded(broken.photo(), kind, exif=exif)
    np.testing.assert_array_equal(images.read_bytes(odd, "photo"), plain)


def test_broken_exif_of_an_avif() -> None:
    """Its library reads on where the directory is nowhere, and refuses what is no EXIF at all."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    content = broken.encoded(broken.photo(), "avif", exif=exif)
    start = exif.tobytes()[6:14]
    nowhere, junk = (content.replace(start, odd) for odd in (b"MM\0*\xff\xff\xff\xff", b"\xff" * 8))
    np.testing.assert_array_equal(images.read_bytes(nowhere, "photo"), images.read_bytes(content, "photo"))
    with pytest.raises(InputError, match="Exif"):
        images.read_bytes(junk, "photo")


def test_a_photo_is_turned_even_where_other_tags_are_broken(tmp_path: Path) -> None:
    """Pillow's own turn writes the EXIF again, and gives up where it cannot."""
    entries = struct.pack("<HHHIHH", 2, 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x8769, 4, 1, 0xFFFFFFF0)
    path = save(tmp_path, Image.fromarray(colours()), exif=b"Exif\0\0II*\0\x08\0\0\0" + entries + bytes(4))
    np.testing.assert_array_equal(images.read(path), np.rot90(colours(), -1))


def test_grey(tmp_path: Path) -> None:
    np.testing.assert_array_equal(images.read(save(tmp_path, Image.fromarray(RAMP))), grey(RAMP))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_lies_over_white(tmp_path: Path, mode: str) -> None:
    alpha = np.array([[255, 255, 255], [0, 0, 128]], np.uint8)
    straight = [RAMP] if mode == "LA" else [RAMP, 255 - RAMP, RAMP // 2]
    got = images.read(save(tmp_path, Image.fromarray(np.dstack([*straight, alpha]), mode)))
    expected = grey(RAMP) if mode == "LA" else colours()
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1, :2], 255)
    share = alpha[1, 2] / 255
    np.testing.assert_allclose(got[1, 2], expected[1, 2] * share + 255 * (1 - share), atol=1)


@pytest.mark.parametrize(
    ("level", "edge", "ground"), [(255, 0, 0), (230, 0, 0), (200, 0, 255), (0, 0, 255), (255, 2, 255)]
)
def test_what_is_white_on_transparency_lies_on_black(level: int, edge: int, ground: int) -> None:
    """A logo, `edge` of whose 20 rows are dark; the corner shows the ground."""
    logo = np.zeros((24, 24, 4), np.uint8)
    logo[2:22, 2:22] = level, level, level, 255
    logo[2 : 2 + edge, 2:22, :3] = 20
    decoded = images.decode(broken.encoded(Image.fromarray(logo), "png"), "photo")
    assert decoded.rgb[0, 0].tolist() == [ground] * 3
    assert decoded.rgb[12, 12].tolist() == [level] * 3
    assert bool(decoded.notes) == (ground == 0)
    assert decoded.rgba is not None
    np.testing.assert_array_equal(decoded.rgba, logo)


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
    got = images.read(save(tmp_path, image, transparency=1))
    assert got.tolist() == [[[250, 0, 0], [255, 255, 255], [0, 0, 250]]]


def test_a_colour_that_stands_for_transparent(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[9, 9, 9], [7, 7, 7]]], np.uint8))
    assert images.read(save(tmp_path, image, transparency=(9, 9, 9))).tolist() == [[[255] * 3, [7] * 3]]


def test_one_bit(tmp_path: Path) -> None:
    bits = np.array([[True, False, True]])
    np.testing.assert_array_equal(images.read(save(tmp_path, Image.fromarray(bits))), grey(bits * 255))


def test_cmyk(tmp_path: Path) -> None:
    inks = np.zeros((1, 3, 4), np.uint8)
    inks[0, 0, 0] = inks[0, 1, 3] = 255  # cyan, black, paper
    got = images.read(save(tmp_path, Image.fromarray(inks, "CMYK"), "photo.tif"))
    assert got.tolist() == [[[0, 255, 255], [0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("name", ["photo.png", "photo.tif"])
def test_sixteen_bit_grey_is_scaled_by_its_full_range(tmp_path: Path, name: str) -> None:
    """Pillow's own conversion clips it to white."""
    dark = np.array([[0, 257, 65535, 100 * 257, 128]], np.uint16)
    got = images.read(save(tmp_path, Image.fromarray(dark), name))
    assert got[0, :, 0].tolist() == [0, 1, 255, 100, 0]
    np.testing.assert_array_equal(got, grey(got[..., 0]))


def test_sixteen_bit_grey_stays_dark_when_all_of_it_is_and_that_is_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(np.array([[0, 200, 250]], np.uint16)))
    assert images.read(path, range="full")[0, :, 0].tolist() == [0, 1, 1]
    assert images.read(path)[0, :, 0].tolist() == [0, 200, 250]


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    pixels = np.array([[[65535, 0, 32896], [0, 65535, 257]]], ">u2")
    path = tmp_path / "photo.png"
    path.write_bytes(broken.png((2, 1, 16, 2), b"\0" + pixels.tobytes()))
    assert images.read(path).tolist() == [[[255, 0, 128], [0, 255, 1]]]


def test_whole_numbers_beyond_sixteen_bit_use_their_own_range(tmp_path: Path) -> None:
    values = np.array([[-100_000, 0, 100_000]], np.int32)
    assert images.read(save(tmp_path, Image.fromarray(values), "a.tif"))[0, :, 0].tolist() == [0, 128, 255]
    values = np.array([[0, 100, 255]], np.int32)
    assert images.read(save(tmp_path, Image.fromarray(values), "b.tif"))[0, :, 0].tolist() == [0, 100, 255]
    values = np.array([[0, 257, 65535]], np.int32)
    assert images.read(save(tmp_path, Image.fromarray(values), "c.tif"))[0, :, 0].tolist() == [0, 1, 255]


def test_floats_with_nan(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5, 1.0, np.nan, np.inf, -np.inf]], np.float32)
    got = images.read(save(tmp_path, Image.fromarray(values), "a.tif"))
    assert got[0, :, 0].tolist() == [0, 128, 255, 0, 255, 0]
    values = np.array([[-2.0, 0.0, 2.0]], np.float32)
    assert images.read(save(tmp_path, Image.fromarray(values), "b.tif"))[0, :, 0].tolist() == [0, 128, 255]
    values = np.full((1, 2), np.nan, np.float32)
    assert images.read(save(tmp_path, Image.fromarray(values), "c.tif"))[0, :, 0].tolist() == [0, 0]


def test_lab_comes_out_in_its_colours(tmp_path: Path) -> None:
    # In memory L is 0-255 for 0-100, and a and b lie around 128: a strong red, and white.
    lab = Image.merge("LAB", [Image.new("L", (2, 1)) for _ in range(3)])
    lab.putpixel((0, 0), (136, 208, 195))
    lab.putpixel((1, 0), (255, 128, 128))
    red, white = images.read(save(tmp_path, lab, "photo.tif"))[0]
    assert red[0] > 230
    assert max(red[1:]) < 40
    assert min(white) > 250


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_grey_in_either_byte_order(order: str) -> None:
    dark = np.array([[0, 257, 65535, 100 * 257, 128, 129]], f"{order}u2")
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (6, 1), dark.tobytes())
    assert images.as_rgb(image)[0, :, 0].tolist() == [0, 1, 255, 100, 0, 1]
    assert rgb(image, "tif")[0][3] == [100, 100, 100]


def test_sixteen_bit_grey_with_alpha() -> None:
    pixels = np.array([[[65535, 65535], [100 * 257, 65535], [0, 0]]], ">u2")
    content = broken.png((3, 1, 16, 4), b"\0" + pixels.tobytes())
    assert images.read_bytes(content, "photo")[0, :, 0].tolist() == [255, 100, 255]


def test_sixteen_bit_colour_tiff() -> None:
    pixels = np.array([[65535, 0, 32896], [0, 65535, 257]], "<u2").tobytes()
    tags: dict[int, int | list[int]] = {256: 2, 257: 1, 258: [16, 16, 16], 259: 1, 262: 2, 273: [0], 277: 3}
    content = broken.tiff({**tags, 278: 1, 279: len(pixels)}, pixels)
    assert images.read_bytes(content, "photo").tolist() == [[[255, 0, 128], [0, 255, 1]]]


def test_sixteen_bit_grey_with_a_transparent_value_is_grey() -> None:
    content = broken.png((2, 1, 16, 0), b"\0" + np.array([257, 65535], ">u2").tobytes())
    content = broken.with_chunk(content, b"tRNS", struct.pack(">H", 65535))
    assert images.read_bytes(content, "photo")[0, :, 0].tolist() == [1, 255]


def test_a_palette_with_an_alpha_for_each_colour() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
    assert rgb(image, transparency=bytes([255, 0, 51])) == [[[250, 0, 0], [255, 255, 255], [204, 204, 254]]]


def test_a_palette_beside_alpha() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([250, 0, 0, 0, 250, 0])
    image = image.convert("PA")
    image.putalpha(Image.fromarray(np.array([[255, 0]], np.uint8)))
    assert image.mode == "PA"
    assert images.as_rgb(image).tolist() == [[[250, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha_lies_over_white(mode: str) -> None:
    image = Image.new(
        "LA" if mode == "La" else "RGBA", (1, 1), (100, 51) if mode == "La" else (100, 100, 100, 51)
    )
    got = images.as_rgb(image.convert(mode))
    np.testing.assert_allclose(got[0, 0], 100 * 0.2 + 255 * 0.8, atol=2)


@pytest.mark.parametrize("mode", ["RGBX", "YCbCr", "HSV"])
def test_other_colour_spaces(mode: str) -> None:
    image = Image.new("RGB", (2, 1), (200, 100, 50)).convert(mode)
    np.testing.assert_allclose(images.as_rgb(image)[0, 0], (200, 100, 50), atol=3)


def test_a_cmyk_jpeg() -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    np.testing.assert_allclose(rgb(image, "jpg")[0][0], (0, 255, 255), atol=3)


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, 1e30, -1e38])
def test_one_number_everywhere_is_one_grey(value: float) -> None:
    got = images.as_rgb(Image.fromarray(np.full((2, 3), value, np.float32)))
    assert len(np.unique(got)) == 1


def test_the_widest_floats_do_not_overflow() -> None:
    values = np.array([[-3.4e38, 0, 3.4e38]], np.float32)
    assert images.as_rgb(Image.fromarray(values))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "avif"])
def test_an_embedded_profile_is_followed_to_srgb(kind: str) -> None:
    """In a profile with red and blue in each other's place, blue is what looks red."""
    image = Image.new("RGB", (16, 16), (200, 30, 10))
    np.testing.assert_allclose(rgb(image, kind, icc_profile=broken.SRGB)[8][8], (200, 30, 10), atol=6)
    np.testing.assert_allclose(
        rgb(image, kind, icc_profile=broken.swapped_profile())[8][8], (10, 30, 200), atol=6
    )


def test_transparency_and_profile_together() -> None:
    image = Image.new("RGBA", (2, 1), (200, 30, 10, 255))
    image.putpixel((1, 0), (200, 30, 10, 0))
    got = np.array(rgb(image, icc_profile=broken.swapped_profile()))
    np.testing.assert_allclose(got[0], [(10, 30, 200), (255, 255, 255)], atol=1)


@pytest.mark.parametrize(
    "profile",
    [b"junk" * 50, b"\0", broken.SRGB[:200], broken.swapped_profile()[:300], bytes(100_000)],
    ids=["junk", "byte", "cut", "cut later", "zeros"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P"])
def test_a_profile_that_is_broken_or_of_another_colour_space_is_as_none(mode: str, profile: bytes) -> None:
    image = broken.photo().convert(mode)
    kind = "tif" if mode == "CMYK" else "png"
    assert rgb(image, kind, icc_profile=profile) == rgb(image, kind)
    if mode == "CMYK":
        assert rgb(image, kind, icc_profile=broken.swapped_profile()) == rgb(image, kind)
