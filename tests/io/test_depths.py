"""Numbers of more than 8 bits come in by what their file declares, else by the fewest bits that hold them."""

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io import images
from tests.support import broken
from tests.support.levels import COLOURS, LEVELS, of, read, tiff

tifffile = pytest.importorskip("tifffile")


def png(values: np.ndarray, bits: int | None = None) -> bytes:
    """Write a PNG of 16 bits, of any number of channels; `bits` are declared significant (sBIT)."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    content = broken.png((values.shape[1], values.shape[0], 16, kind), rows)
    return content if bits is None else broken.with_chunk(content, b"sBIT", bytes([bits] * channels))


def packed(values: np.ndarray, photometric: int) -> bytes:
    """Write a TIFF of 12 bits a number, two in three bytes."""
    first, second = values.reshape(-1, 2).astype(int).T
    parts = (
        np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    )
    height, width = values.shape
    tags: dict[int, int | list[int]] = {256: width, 257: height, 258: 12, 259: 1, 262: photometric}
    return broken.tiff(tags | {273: [0], 277: 1, 278: height, 279: len(parts)}, parts)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("levels", [LEVELS, COLOURS], ids=["grey", "colours"])
def test_the_fewest_bits_that_hold_all_numbers(bits: int, levels: np.ndarray) -> None:
    values = of(levels, 2**bits - 1).astype(np.uint16)
    for content in (png(values), tiff(values), tiff(values.astype(">u2"), byteorder=">")):
        note = read(content, levels)
        expected = f"its largest number is {values.max()}: read as of 0 to {2**bits - 1}"
        assert note == "" if bits == 16 else note.startswith(expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_shares_the_bits_of_colours(channels: int) -> None:
    colours = LEVELS[..., None] if channels == 2 else COLOURS
    alpha = np.full_like(LEVELS, 255)
    alpha[0, 0] = 0
    expected = np.where(
        alpha[..., None] == 0, 255, np.repeat(colours, 3, axis=2) if channels == 2 else colours
    )
    read(png(of(np.dstack([colours, alpha]), 4095)), expected)
    read(png(of(np.dstack([colours, alpha]), 65535)), expected)


@pytest.mark.parametrize("bits", [10, 12, 14, 16, 0])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_multiplied_by_alpha_are_those_that_were_not(bits: int, order: Any) -> None:
    """At `bits` 0 they are floats."""
    alpha = np.full((*LEVELS.shape, 1), 1.0)
    alpha[0, :2, 0] = 0, 0.5
    largest, kind = (2**bits - 1, f"{order}u2") if bits else (1, f"{order}f4")
    shown = []
    for extra, factor in [("unassalpha", np.ones(1)), ("assocalpha", alpha)]:
        values = np.dstack([COLOURS / 255 * factor, alpha]) * largest
        values = np.round(values) if bits else values
        options = {"photometric": "rgb", "extrasamples": [extra], "byteorder": order}
        shown.append(images.decode(tiff(values.astype(kind), **options), "photo"))
    eight = np.round(np.dstack([COLOURS, alpha * 255])).astype(np.uint8)
    expected = images.decode(tiff(eight, photometric="rgb", extrasamples=["unassalpha"]), "photo")
    for each in shown:
        assert each.rgba is not None and expected.rgba is not None
        np.testing.assert_allclose(each.rgb.astype(int), expected.rgb, atol=1)
        np.testing.assert_allclose(each.rgba[..., 3].astype(int), expected.rgba[..., 3], atol=1)
    assert shown[0].notes == shown[1].notes


@pytest.mark.parametrize("bits", [12, 16])
def test_a_print_of_16_bits_is_that_of_8(bits: int) -> None:
    inks = np.dstack([COLOURS, LEVELS // 4])
    expected = images.decode(tiff(inks.astype(np.uint8), photometric="separated"), "photo").rgb
    for order in ("<", ">"):
        content = tiff(of(inks, 2**bits - 1).astype(f"{order}u2"), photometric="separated", byteorder=order)
        assert read(content, expected).startswith("its largest number is" if bits == 12 else "")
        assert read(content, expected, range=f"0:{2**bits - 1}") == ""


def test_16_bits_that_hold_8() -> None:
    assert "read as of 0 to 255" in read(png(LEVELS))
    assert "read as of 0 to 255" in read(tiff(COLOURS.astype(np.uint16)), COLOURS)


def test_declared_bits_need_no_note_and_leave_dark_photos_dark() -> None:
    dark = LEVELS // 3
    assert read(png(of(dark, 4095), bits=12), dark) == ""
    assert read(packed(of(dark, 4095), photometric=1), dark) == ""
    largest = [(341, 3, 1, 4095, True)]  # SMaxSampleValue
    assert read(tiff(of(dark, 4095).astype(np.uint16), extratags=largest), dark) == ""
    assert read(tiff(of(dark, 1000).astype(np.float32), extratags=[(341, 11, 1, 1000.0, True)]), dark) == ""


def test_what_is_declared_wrongly_does_not_count() -> None:
    values = of(LEVELS, 65535)
    assert read(png(values, bits=12)) == ""  # scaled to 16 bits, as the standard has it
    for lie in (255, 0, 65535):
        assert read(tiff(values.astype(np.uint16), extratags=[(341, 3, 1, lie, True)])) == ""
    for odd in (b"", b"\0", b"\xff", bytes(9)):
        read(broken.with_chunk(png(values), b"sBIT", odd))


def test_white_is_zero() -> None:
    inverted = {"photometric": "miniswhite"}
    for levels, largest, kind in [(LEVELS, 65535, "u2"), (LEVELS, 255, "u1"), (LEVELS, 1, "f4")]:
        values = of(levels, 65535) / 65535 if kind == "f4" else of(levels, largest)
        full = 1 if kind == "f4" else largest
        read(tiff((full - values).astype(kind), **inverted))
        read(tiff((full - values).astype(f">{kind}"), byteorder=">", **inverted))
    assert read(packed(4095 - of(LEVELS, 4095), photometric=0)) == ""
    read(tiff((4095 - of(LEVELS, 4095)).astype(np.uint16), **inverted), range="0:4095")


def test_integers_with_a_sign() -> None:
    assert "0 to 1023" in read(tiff(of(LEVELS, 1000).astype(np.int32)), LEVELS * 1000 // 1023)
    spread = np.round((LEVELS / 231) * 255)
    assert "-500 to 1500, are read as of -500 to 1500" in read(
        tiff((LEVELS / 231 * 2000 - 500).astype(np.int16)), spread
    )
    assert read(tiff((LEVELS - 128).astype(np.int8))) == ""
    read(tiff((LEVELS / 231 * 4e9).astype(np.uint32)), spread)


def test_floats() -> None:
    assert read(tiff((LEVELS / 255).astype(np.float32))) == ""
    assert "read as of 0 to 255" in read(tiff(LEVELS.astype(np.float32)))
    spread = np.round((LEVELS / 231) * 255)
    for top in (1.02, 3.0, 0.1):
        note = read(tiff((LEVELS / 231 * top).astype(np.float32)), spread)
        assert f"0 to {top:g}, are read as of 0 to {top:g}" in note


@pytest.mark.parametrize("largest", [300, 1100, 7_000, 17_000, 32_000])
def test_a_dim_photo_is_read_as_its_bright_twin(largest: int) -> None:
    """It uses less than half of any depth."""
    bright = np.round(LEVELS / 231 * 255)
    note = read(png(np.round(LEVELS / 231 * largest)), bright)
    assert f"0 to {largest}, are read as of 0 to {largest}" in note


def test_numbers_far_from_zero_are_spread() -> None:
    note = read(tiff(np.round(300 + LEVELS / 231 * 100).astype(np.int32)), np.round(LEVELS / 231 * 255))
    assert "read as of 300 to 400" in note


def test_the_range_is_a_photos_own_alone() -> None:
    """Read after a brighter one, or before, a photo is the same."""
    dim, bright = png(of(LEVELS, 1023)), png(of(LEVELS, 65535))
    for content in (dim, bright, dim):
        read(content)


def test_a_range_that_is_asked_for() -> None:
    values = png(of(LEVELS, 4095))
    assert "99 % of its numbers lie in" in read(values, LEVELS // 16, range="full")
    assert read(values, LEVELS // 2, range="0:8190") == ""
    assert read(values, np.clip(LEVELS * 2, 0, 255), range="0:2047.5") == ""
    read(values, np.round((LEVELS / 231) * 255), range="percentile:0:100")
    read(tiff(of(LEVELS, 1).astype(np.uint8) * 0 + LEVELS.astype(np.uint8)), LEVELS, range="full")


def test_eight_bits_are_stretched_only_where_it_is_asked_for() -> None:
    dark = (LEVELS // 10).astype(np.uint8)
    content = broken.encoded(Image.fromarray(dark), "png")
    assert read(content, dark) == read(content, dark, range="full") == ""
    read(content, np.round(dark / 23 * 255), range="0:23")
    read(content, np.round(dark / 23 * 255), range="percentile:0:100")
    held = np.repeat(dark[..., None], 3, axis=2)
    assert images.as_rgb(held, range="0:23").max() == 255
    assert images.as_rgb(Image.fromarray(dark), range="0:23").max() == 255
    assert images.as_rgb(held) is held


def test_little_of_a_range_is_noted() -> None:
    """One bright number does not hide that all others lie close together."""
    values = np.full((60, 60), 400) + np.arange(60) * 3
    values[0, 0] = 65535
    assert read(png(values), np.where(values == 65535, 255, 2)).startswith("99 % of its numbers lie in 400")
    assert "99 %" not in read(png(np.full((60, 60), 777)), np.full((60, 60), 194))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_photos_come_out_upright(orientation: int) -> None:
    turned = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = [
        np.asarray(channel if turned is None else channel.transpose(Image.Transpose(turned)))
        for channel in (Image.fromarray(of(COLOURS[..., i], 65535).astype(np.int32)) for i in range(3))
    ]
    values = np.dstack(stored)
    tag = [(274, 3, 1, orientation, True)]
    read(tiff(values.astype(np.uint16), photometric="rgb", extratags=tag), COLOURS)
    read(tiff((values / 65535).astype(np.float32), photometric="rgb", extratags=tag), COLOURS)


# By tifffile, the extra


LAYOUTS = {
    "floats of colours": tiff((COLOURS / 255).astype(np.float32), photometric="rgb"),
    "half floats": tiff((LEVELS / 255).astype(np.float16)),
    "doubles": tiff(LEVELS / 255),
    "deflated": tiff((COLOURS / 255).astype(np.float32), photometric="rgb", compression="zlib"),
    "planes": tiff(
        np.moveaxis(of(COLOURS, 65535), -1, 0).astype(np.uint16), photometric="rgb", planarconfig="separate"
    ),
    "64 bits": tiff(of(LEVELS, 65535).astype(np.uint64)),
    "tiles": tiff(np.pad(COLOURS / 255, ((0, 13), (0, 12), (0, 0))), photometric="rgb", tile=(16, 16)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_that_pillow_does_not_read(name: str) -> None:
    if name == "tiles":
        read(LAYOUTS[name], np.pad(COLOURS, ((0, 13), (0, 12), (0, 0))))
    else:
        read(
            LAYOUTS[name], LEVELS if "colours" not in name and name not in ("deflated", "planes") else COLOURS
        )


@pytest.mark.parametrize("name", LAYOUTS)
def test_they_are_held_to_the_same_limits(name: str) -> None:
    with pytest.raises(InputError, match="more than 11 pixels; --max-pixels raises the limit"):
        images.decode(LAYOUTS[name], "photo", max_pixels=11)
    for percent in (50, 90):
        content = LAYOUTS[name]
        with pytest.raises(InputError, match=r"^photo: [^\n]*$"):
            images.decode(content[: len(content) * percent // 100], "photo")


def test_many_channels_are_their_first() -> None:
    values = np.stack([of(LEVELS, 65535)] + [of(LEVELS[::-1], 65535)] * 4).astype(np.uint16)
    note = read(tiff(values, photometric="minisblack", planarconfig="separate"))
    assert note == "has 5 channels; the first is used"
    note = read(tiff(values[:3], photometric="minisblack"))
    assert note == "holds several pictures; the first is used"


def test_a_strip_that_is_a_bomb_is_refused() -> None:
    content = bytearray(tiff(np.zeros((3, 4, 3), np.float32), photometric="rgb", compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        at, tag = page.dataoffsets[0], page.tags["StripByteCounts"].valueoffset
        place = page.tags["StripOffsets"].valueoffset
    assert at
    bomb = zlib.compress(bytes(50_000_000))
    struct.pack_into("<I", content, place, len(content))
    struct.pack_into("<I", content, tag, len(bomb))
    with pytest.raises(InputError, match="inflates to more than its size"):
        images.decode(bytes(content) + bomb, "photo")


def test_without_the_extra_it_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiff(of(LEVELS, 65535).astype(np.uint16))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    hint = r"^photo: a TIFF of this layout needs an extra; run: pip install 'cratecli\[science\]'$"
    for content in LAYOUTS.values():
        with pytest.raises(InputError, match=hint):
            images.decode(content, "photo")
    assert read(plain) == ""


def test_colours_that_are_neither_grey_nor_rgb_are_refused() -> None:
    values = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(InputError, match="a TIFF of CIELAB is not read"):
        images.decode(tiff(values, photometric="cielab"), "photo")
    with pytest.raises(InputError, match="neither whole nor floats"):
        images.decode(tiff(np.zeros((4, 4), np.complex64)), "photo")
