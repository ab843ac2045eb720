"""Ground truth in the ways that data sets store it: what is read as an object, and what is refused."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io.truth import read_edited_mask, read_labels, read_mask, read_true_mask

MASK = np.zeros((20, 30), bool)
MASK[5:15, 4:20] = True
RED, BLACK, WHITE = (200, 30, 20), (0, 0, 0), (255, 255, 255)
HALF = np.arange(30) < 12  # columns
Picture = Callable[[], Image.Image]


def grey(inside: int, outside: int = 0, kind: type[np.generic] = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(MASK, inside, outside).astype(kind))


def coloured(inside: tuple[int, ...], outside: tuple[int, ...] = BLACK) -> Image.Image:
    return Image.fromarray(np.where(MASK[..., None], inside, outside).astype(np.uint8))


def indexed(palette: Mapping[int, tuple[int, int, int]], inside: int, outside: int = 0) -> Image.Image:
    """Give an indexed picture; indices that the palette does not name are of one dark green."""
    picture = grey(inside, outside)
    picture.putpalette([channel for index in range(256) for channel in palette.get(index, (0, 60, 0))])
    return picture


def classes() -> Image.Image:
    """Give two classes, one of them darker than 127, in VOC's first colours."""
    picture = Image.fromarray(np.where(MASK, np.where(HALF, 1, 2), 0).astype(np.uint8))
    picture.putpalette([0, 0, 0, 100, 0, 0, 0, 200, 0])
    return picture


def edged() -> Image.Image:
    """Give a mask with a soft edge, on both sides of it."""
    levels = np.where(MASK, 255, 0)
    levels[5:15, 4], levels[5:15, 3] = 170, 90
    return Image.fromarray(levels.astype(np.uint8))


READ: dict[str, Picture] = {
    "grey": lambda: grey(255),
    "1 bit": lambda: grey(255).convert("1"),
    "RGB": lambda: grey(255).convert("RGB"),
    "0 and 1": lambda: grey(1),
    "0 and 38": lambda: grey(38),
    "16 bits": lambda: grey(65535, kind=np.uint16),
    "16 bits, 0 and 1": lambda: grey(1, kind=np.uint16),
    "32 bits": lambda: grey(255, kind=np.int32),
    "floats": lambda: grey(1, kind=np.float32),
    "nearly black and nearly white": lambda: grey(250, 5),
    "soft edges": edged,
    "alpha over black": lambda: coloured((*WHITE, 255), (*BLACK, 0)),
    "alpha over white": lambda: coloured((*WHITE, 255), (*WHITE, 0)),
    "a cut-out": lambda: coloured((*RED, 255), (90, 90, 90, 0)),
    "a dark cut-out": lambda: coloured((*BLACK, 255), (*WHITE, 0)),
    "opaque alpha": lambda: coloured((*WHITE, 255), (*BLACK, 255)),
    "grey with alpha": lambda: Image.merge("LA", [Image.new("L", (30, 20), 255), grey(255)]),
    "an indexed cut-out": lambda: indexed({0: BLACK, 1: RED}, 1),
    "two classes": classes,
    "two classes as colours": lambda: classes().convert("RGB"),
    "two classes as colours, opaque": lambda: classes().convert("RGBA"),
    "a dark index": lambda: indexed({0: BLACK, 1: (30, 30, 30)}, 1),
    "a palette of black": lambda: indexed(dict.fromkeys(range(256), BLACK), 7),
    "white before black": lambda: indexed({0: WHITE, 1: BLACK}, 0, 1),
    "an index 0 that is not black": lambda: indexed({0: (0, 0, 90), 1: RED}, 1),
    "a colour on black": lambda: coloured(RED),
    "CMYK": lambda: grey(255).convert("RGB").convert("CMYK"),
}


@pytest.mark.parametrize("make", READ.values(), ids=READ)
def test_the_object_is_what_was_meant(tmp_path: Path, make: Picture) -> None:
    path = tmp_path / "mask.tif"
    make().save(path)
    read = read_true_mask(path)
    np.testing.assert_array_equal(read.mask, MASK)
    assert read.doubts == ()


def white_is_zero(values: np.ndarray, bits: int) -> bytes:
    """Write a TIFF of one uncompressed strip, whose 0 is white."""
    entries = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: 0, 273: 8, 277: 1}
    entries |= {278: values.shape[0], 279: values.nbytes}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    start = 8 + values.nbytes
    return (
        b"II*\0"
        + struct.pack("<I", start)
        + values.tobytes()
        + struct.pack("<H", len(entries))
        + tags
        + bytes(4)
    )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("read", [read_mask, lambda path: read_edited_mask(path.read_bytes(), "mask.tif")])
def test_a_tiff_whose_zero_is_white(
    tmp_path: Path, kind: type[np.unsignedinteger], read: Callable[[Path], np.ndarray]
) -> None:
    """Pillow turns the values of 8 bits around, and forgets to with 16."""
    (tmp_path / "mask.tif").write_bytes(
        white_is_zero(np.where(MASK, 0, np.iinfo(kind).max).astype(kind), np.iinfo(kind).bits)
    )
    np.testing.assert_array_equal(read(tmp_path / "mask.tif"), MASK)


def test_a_tiff_whose_zero_is_white_of_another_depth(tmp_path: Path) -> None:
    (tmp_path / "mask.tif").write_bytes(white_is_zero(MASK.astype(np.uint32), 32))
    with pytest.raises(
        InputError, match=r"a TIFF whose 0 is white, of a depth that is not read: make it a mask"
    ):
        read_mask(tmp_path / "mask.tif")


def test_transparency_of_an_index(tmp_path: Path) -> None:
    """As a cut-out is that was quantised: the ground is transparent, whatever its index."""
    indexed({4: BLACK, 9: RED}, 9, 4).save(tmp_path / "mask.png", transparency=4)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)
    indexed({0: BLACK, 9: RED}, 9).save(tmp_path / "mask.gif", transparency=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.gif"), MASK)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_jpeg_makes_of_black_and_white(tmp_path: Path, mode: str) -> None:
    grey(255).convert(mode).save(tmp_path / "mask.jpg", quality=60)
    read = read_true_mask(tmp_path / "mask.jpg")
    assert (read.mask != MASK).mean() < 0.01


def test_a_mask_is_upright_as_its_photo_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey(255).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), np.rot90(MASK, -1))


def labels(one: int, other: int) -> Image.Image:
    return Image.fromarray(np.where(MASK, np.where(HALF, one, other), 0).astype(np.uint8))


def void() -> Image.Image:
    """Give VOC's void as transparent, beside a background of index 0."""
    picture = labels(1, 255)
    picture.putpalette([0, 0, 0, 128, 0, 0] + [200] * 762)
    picture.info["transparency"] = 255
    return picture


AMBIGUOUS: dict[str, tuple[Picture, str]] = {
    "nothing": (lambda: grey(0), "shows no object: all of it is background"),
    "all transparent": (lambda: coloured((*WHITE, 0), (*BLACK, 0)), "shows no object"),
    "index 0": (lambda: indexed({0: RED}, 0), "shows no object"),
    "one dark grey": (
        lambda: grey(99, 99),
        "no pixel is in the upper half of its range, 0–255: make it a mask of",
    ),
    "transparency and black": (
        lambda: Image.merge("LA", [grey(255), Image.fromarray(np.tile(HALF, (20, 1))).convert("L")]),
        "has transparency, and a black background beside it",
    ),
    "a void that is transparent": (void, "has transparency, and a black background beside it"),
    "black elsewhere than at 0": (lambda: indexed({0: RED, 5: BLACK}, 0, 5), "index 5 is black, and not 0"),
    "colours without black": (
        lambda: coloured(RED, (0, 90, 0)),
        "is in colours, and none is a black background",
    ),
    "a photo": (
        lambda: Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)),
        "is in colours, and none is a black background",
    ),
    "labels": (
        lambda: labels(1, 2),
        r"its values are labels \(1, 2\), not a mask: make it a mask of 0 and 255",
    ),
    "labels and void": (lambda: labels(1, 255), r"its values are labels \(1\), not a mask"),
}


@pytest.mark.parametrize(("make", "reason"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_could_be_meant_in_two_ways(tmp_path: Path, make: Picture, reason: str) -> None:
    make().save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=rf"mask\.png: {reason}"):
        read_mask(tmp_path / "mask.png")


def test_what_may_be_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for every in (grey(255, 255), indexed({5: RED}, 5, 5), coloured((*WHITE, 255), (*RED, 128))):
        every.save(path)
        assert read_true_mask(path).doubts == ("all foreground",)
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1)))
    ramp.save(path)
    read = read_true_mask(path)
    assert (read.doubts, read.mask.mean()) == (("grey levels",), 0.5)


def test_labels_are_indices(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 255], [19, 0, 2]], np.uint8)
    indexed = Image.fromarray(labels)
    indexed.putpalette(list(range(255, -1, -1)) * 3)
    indexed.save(tmp_path / "indexed.png")
    Image.fromarray(labels).save(tmp_path / "grey.png")
    for name in ("indexed.png", "grey.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), labels)
    Image.fromarray(labels).convert("RGB").save(tmp_path / "colours.png")
    with pytest.raises(InputError, match="labels are indexed or grey, not RGB"):
        read_labels(tmp_path / "colours.png")
    content = (tmp_path / "indexed.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) - 25])
    with pytest.raises(InputError, match=r"cut\.png: cannot be read as an image"):
        read_labels(tmp_path / "cut.png")
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        read_labels(tmp_path / "gone.png")
