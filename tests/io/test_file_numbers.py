"""A range is in the numbers of the file, whatever a reader makes of them; declarations and layouts that mislead."""

import io
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from tests.support import broken
from tests.support.levels import COLOURS, LEVELS, of, read, tiff

pytest.importorskip("tifffile")

Order = Literal["<", ">"]
ORDERS: tuple[Order, ...] = ("<", ">")


def few_bits(values: np.ndarray, bits: int) -> bytes:
    """Write a grey PNG of 1, 2 or 4 bits."""
    places = np.array([[int(digit) for digit in f"{value:0{bits}b}"] for value in values.ravel()])
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in places.reshape(len(values), -1))
    return broken.png((values.shape[1], values.shape[0], bits, 0), rows)


def jpeg_2000(values: np.ndarray, bits: int) -> bytes:
    """Write a JPEG 2000 of so many bits: one of 16, whose header is changed, as are the numbers that it would shift."""
    stream = io.BytesIO()
    shifted = (values + 2**15 - 2 ** (bits - 1)).astype(np.uint16)
    Image.fromarray(shifted).save(stream, "jpeg2000", num_resolutions=1)
    content = bytearray(stream.getvalue())
    content[content.index(b"\xff\x4f\xff\x51") + 42] = content[content.index(b"ihdr") + 14] = bits - 1
    return bytes(content)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_than_8_bits(bits: int) -> None:
    values = of(LEVELS, 2**bits - 1).astype(int)
    expected = np.round(values * (255 / (2**bits - 1)))
    for range in ("auto", f"0:{2**bits - 1}"):
        read(few_bits(values, bits), expected, range=range)
    read(few_bits(values, bits), expected // 2, range=f"0:{2 * (2**bits - 1)}")


def test_what_jpeg_2000_scales() -> None:
    content = jpeg_2000(of(LEVELS, 4095), 12)
    assert read(content) == read(content, range="0:4095") == ""
    read(content, LEVELS // 2, range="0:8190")
    assert read(jpeg_2000(of(LEVELS, 65535), 16), range="0:65535") == ""


def test_a_range_of_all_that_doubles_hold() -> None:
    values = (LEVELS / 255 * 2 - 1) * 1e308
    assert read(tiff(values), range="-1e308:1e308") == ""
    read(tiff(values), np.round(LEVELS / 231 * 255))


@pytest.mark.parametrize("order", ORDERS)
def test_numbers_with_a_sign(order: str) -> None:
    white_is_zero = tiff(
        (127 - LEVELS).astype(f"{order}i1"), photometric="miniswhite", byteorder=order
    )  # from −128 to 127, and −128 is white
    assert read(white_is_zero) == ""
    for kind, levels in [("i2", LEVELS), ("i4", LEVELS), ("i2", COLOURS)]:
        half = 2 ** (8 * int(kind[1]) - 1) - 1
        photometric = "rgb" if levels.ndim == 3 else "minisblack"
        values = of(levels, half).astype(order + kind)
        note = read(tiff(values, byteorder=order, photometric=photometric), levels)
        assert f"read as of 0 to {half}" in note


@pytest.mark.parametrize("order", ORDERS)
def test_a_range_where_white_is_zero(order: str) -> None:
    for largest, kind in [(255, "u1"), (4095, "u2"), (65535, "u2")]:
        values = (largest - of(LEVELS, largest)).astype(order + kind)
        content = tiff(values, photometric="miniswhite", byteorder=order)
        assert read(content, range=f"0:{largest}") == ""
        read(content, np.clip(2 * LEVELS - 255, 0, 255), range=f"0:{largest / 2}")


@pytest.mark.parametrize("largest", [np.inf, 3e38, 3.4028234663852886e38, 1e9])
def test_floats_that_are_declared_to_have_no_end(largest: float) -> None:
    assert read(tiff((LEVELS / 255).astype(np.float32), extratags=[(341, 11, 1, largest, True)])) == ""


def test_a_palette_of_8_bits() -> None:
    """The palettes of TIFF have 16; some writers fill the low 8."""
    for factor in (1, 257):
        table = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 200)]) * factor
        expected = np.dstack([LEVELS, 255 - LEVELS, np.full_like(LEVELS, 200)])
        for big in ORDERS:
            options = {"photometric": "palette", "colormap": table.astype(np.uint16), "byteorder": big}
            read(tiff(LEVELS.astype(np.uint8), bigtiff=big == ">", **options), expected)


SMALL: dict[str, Any] = {"photometric": "minisblack"}
BIG = {
    "grey": (LEVELS, LEVELS.astype(np.uint8), SMALL),
    "white is zero": (LEVELS, (255 - LEVELS).astype(np.uint8), {"photometric": "miniswhite"}),
    "deflated": (LEVELS, LEVELS.astype(np.uint8), SMALL | {"compression": "zlib"}),
    "bits": (255 * (LEVELS > 100), LEVELS > 100, SMALL),
    "no bits": (255 * (LEVELS > 100), LEVELS <= 100, {"photometric": "miniswhite"}),
    "16 bits": (LEVELS, of(LEVELS, 65535).astype(np.uint16), SMALL),
    "colours": (COLOURS, COLOURS.astype(np.uint8), {"photometric": "rgb"}),
    "16 bits of colours": (COLOURS, of(COLOURS, 65535).astype(np.uint16), {"photometric": "rgb"}),
}


@pytest.mark.parametrize("name", BIG)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("big", [False, True])
def test_tiffs_of_either_order_and_size(name: str, order: Order, *, big: bool) -> None:
    levels, values, options = BIG[name]
    content = tiff(values.astype(values.dtype.newbyteorder(order)), byteorder=order, bigtiff=big, **options)
    assert read(content, levels) == ""


def test_grey_with_alpha_of_16_bits() -> None:
    """By tifffile: Pillow reads it of 8 bits alone."""
    alpha = np.full_like(LEVELS, 255)
    alpha[0, 1] = 0
    expected = np.where(alpha == 0, 255, LEVELS)
    for extra in ("unassalpha", "assocalpha"):
        values = np.dstack([LEVELS * (alpha > 0 if extra == "assocalpha" else 1), alpha])
        content = tiff(of(values, 65535).astype(np.uint16), photometric="minisblack", extrasamples=[extra])
        assert read(content, expected) == ""
