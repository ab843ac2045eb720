"""Photos of every kind come in upright and rightly scaled; what is no photo is one line."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cratecli.errors import InputError
from cratecli.geometry import Grid
from cratecli.io import images

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


def png(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """Write a PNG by hand: width, height, bit depth and colour type; rows with their filter bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_come_out_upright(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(colours())
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # how a camera held so stores it
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, stored, exif=exif)
    assert stored.size == ((3, 2) if orientation < 5 else (2, 3))
    np.testing.assert_array_equal(images.read(path), colours())


def test_broken_exif_leaves_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, Image.fromarray(colours()), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(images.read(path), colours())

    def broken(_image: Image.Image) -> Image.Image:
        raise struct.error("no such tag")

    monkeypatch.setattr(ImageOps, "exif_transpose", broken)
    np.testing.assert_array_equal(images.read(path), colours())


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


def test_sixteen_bit_grey_stays_dark_when_all_of_it_is(tmp_path: Path) -> None:
    dim = np.array([[0, 200, 250]], np.uint16)
    assert images.read(save(tmp_path, Image.fromarray(dim)))[0, :, 0].tolist() == [0, 1, 1]


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    pixels = np.array([[[65535, 0, 32896], [0, 65535, 257]]], ">u2")
    path = tmp_path / "photo.png"
    path.write_bytes(png((2, 1, 16, 2), b"\0" + pixels.tobytes()))
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


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    path = save(tmp_path, frames[0], "photo.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert images.read(path)[1, 1].tolist() == [255, 0, 0]


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    for name in ("photo.jpg", "photo", "photo.txt", "PHOTO.TIFF"):
        path = save(tmp_path, Image.fromarray(colours()), name, format="PNG")
        np.testing.assert_array_equal(images.read(path), colours())


def test_bytes_are_read_like_a_file(tmp_path: Path) -> None:
    content = save(tmp_path, Image.fromarray(colours())).read_bytes()
    np.testing.assert_array_equal(images.read_bytes(content, "stdin"), colours())
    with pytest.raises(InputError, match=r"^stdin: empty$"):
        images.read_bytes(b"", "stdin")
    with pytest.raises(InputError, match=r"^stdin: cannot be read as an image"):
        images.read_bytes(content[:-30], "stdin")


def half(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"hello, this is no photo\n",
        b"<!doctype html><html><body>404</body></html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
        b"II*\x00\x08\x00\x00\x00",
        bytes(range(256)),
    ],
)
def test_what_is_no_photo_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        images.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.tif", "a.bmp", "a.jp2", "a.ppm"])
def test_half_a_photo_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    whole = save(tmp_path, Image.fromarray(noise), name)
    assert images.read(whole).shape == (40, 60, 3)
    whole.write_bytes(half(whole))
    with pytest.raises(InputError, match=name) as caught:
        images.read(whole)
    assert "\n" not in str(caught.value)


def test_a_photo_in_a_format_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    for kind in ("EPS", "ICO", "TGA", "PCX"):
        path = save(tmp_path, Image.fromarray(colours()).resize((16, 16)), "photo.png", format=kind)
        with pytest.raises(InputError, match="not an image of a known format"):
            images.read(path)


def test_what_is_no_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jpg: no such file"):
        images.read(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(InputError, match=r"folder\.jpg: a folder, not a file"):
        images.read(tmp_path / "folder.jpg")
    with pytest.raises(InputError, match="File name too long"):
        images.read(tmp_path / ("a" * 300))


@pytest.mark.parametrize("side", [10_000, 50_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    """Pillow warns from 89 megapixels and refuses from 179; both are refused here, before decoding."""
    with pytest.raises(InputError, match="more than 89,478,485 pixels"):
        images.read_bytes(png((side, side, 8, 2), b""), "bomb")


@pytest.mark.parametrize("size", [(1, 33), (33, 1), (20_000, 10)])
def test_long_and_thin_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path, Image.new("RGB", size))
    with pytest.raises(InputError, match=rf"{size[0]} × {size[1]} px is too long and thin"):
        images.read(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 32), (13, 13)])
def test_small_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    assert images.read(save(tmp_path, Image.new("RGB", size))).shape == (*size[::-1], 3)


def test_fit_keeps_rows_rows() -> None:
    """An image whose red is its row's index and green its column's, on a grid that is not square."""
    rows, cols = np.mgrid[0:48, 0:32].astype(np.uint8)
    photo = np.dstack([rows * 5, cols * 7, np.full_like(rows, 60)])
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    fitted = images.fit(photo, Grid(12, 8), 2, mean, std)
    assert fitted.shape == (3, 24, 16)
    assert fitted.dtype == np.float32
    back = fitted * np.reshape(std, (3, 1, 1)) + np.reshape(mean, (3, 1, 1))
    inside = slice(2, -2)  # the rim sees no further pixels
    expected_rows = (np.arange(24) * 2 + 0.5) * 5 / 255
    expected_cols = (np.arange(16) * 2 + 0.5) * 7 / 255
    np.testing.assert_allclose(
        back[0, inside], np.broadcast_to(expected_rows[inside, None], (20, 16)), atol=0.01
    )
    np.testing.assert_allclose(
        back[1, :, inside], np.broadcast_to(expected_cols[None, inside], (24, 12)), atol=0.01
    )
    np.testing.assert_allclose(back[2], 60 / 255, atol=1e-6)


def test_fit_at_the_native_size_is_exact() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    fitted = images.fit(photo, Grid(2, 3), 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(np.round(fitted * 255).astype(np.uint8), photo.transpose(2, 0, 1))


def test_reading_closes_the_file(tmp_path: Path) -> None:
    """Warnings are errors here: an unclosed file would be one."""
    path = save(tmp_path, Image.fromarray(colours()))
    for _ in range(3):
        images.read(path)


def test_lab_comes_out_in_its_colours(tmp_path: Path) -> None:
    # In memory L is 0-255 for 0-100, and a and b lie around 128: a strong red, and white.
    lab = Image.merge("LAB", [Image.new("L", (2, 1)) for _ in range(3)])
    lab.putpixel((0, 0), (136, 208, 195))
    lab.putpixel((1, 0), (255, 128, 128))
    red, white = images.read(save(tmp_path, lab, "photo.tif"))[0]
    assert red[0] > 230
    assert max(red[1:]) < 40
    assert min(white) > 250
