"""Take the numbers of more than 8 bits out of images that Pillow has opened, with what their files declare of them."""

import math
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFile, ImagePalette, TiffImagePlugin
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from cratecli.io.numbers import EIGHT_BITS, Ends, Numbers, straight, whole_range
from cratecli.io.png_chunks import significant_bits
from cratecli.io.portable import portable_numbers
from cratecli.io.ranges import Range

_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_JPEG2000 = re.compile(rb"\xff\x4f\xff\x51.{38}(.)", re.S)  # the depth of its first channel
_PIXI = re.compile(rb"pixi\0{4}[\1-\4](.)", re.S)  # the same of AVIF and HEIC
_LARGEST, _SMALLEST = (341, 281), (340, 280)  # TIFF's SMax-, Max-, SMin- and MinSampleValue


def loaded(
    image: ImageFile.ImageFile,
    content: bytes,
    again: Callable[[], ImageFile.ImageFile],
    *,
    inverted: bool = False,
) -> Numbers | None:
    """Decode an image whole, and give its numbers where they are of more than 8 bits, or have a sign.

    Pillow keeps the high bytes of 16-bit colours, so their low ones are decoded from the image opened `again`.
    `content` is its file's; `inverted`, small numbers are white.
    """
    if (portable := portable_numbers(image, content)) is not None:
        return portable
    rawmode = rawmode_of(image)
    premultiplied = rawmode.startswith("RGBa;16")
    if premultiplied:  # Pillow would divide the high bytes alone
        rawmode = rawmode.replace("a", "A")
        _lay_out(image, rawmode)
    _light_palette(image)
    image.load()
    if rawmode.startswith(("RGB;16", "RGBA;16", "RGBX;16", "LA;16", "CMYK;16")):
        colours, alpha = _both_bytes(image, rawmode, again)
        if premultiplied and alpha is not None:
            colours = straight(colours, alpha)
    elif image.mode in ("I", "F") or image.mode.startswith("I;16"):
        colours, alpha = np.asarray(image), None
    elif rawmode == "L" and _signed(image):
        colours, alpha = np.asarray(image).view(np.int8), None
    elif inverted and image.mode in ("1", "L"):
        return Numbers(np.asarray(image.convert("L")), None, EIGHT_BITS, EIGHT_BITS, inverted=True)
    else:
        return None
    bits, colours = _bits(image, colours)
    full = None if bits is None else whole_range(bits, signed=_signed(image))
    declared = full if bits in (8, 12) else _declared(image, content, full)
    return Numbers(
        colours, _keyed(image, colours) if alpha is None else alpha, full, declared, inverted=inverted
    )


def in_numbers_of(image: ImageFile.ImageFile, content: bytes, rawmode: str, chosen: Range) -> Range:
    """Give a range that is in the numbers of the file, `content`, in those that Pillow scales them to.

    These are the fewer than 8 bits of greys, and those of JPEG 2000, AVIF and HEIC.
    """
    if chosen.rule != "fixed" or isinstance(image, PpmImageFile):
        return chosen
    shift, bits, to = 0, 8, 8
    if few := re.match(r"(?:L;|1)([124]?)", rawmode):
        bits = int(few[1] or 1) if rawmode.startswith("1") or few[1] else 8
    elif image.format == "JPEG2000" and (size := _JPEG2000.search(content)):
        bits, to = (size[1][0] & 127) + 1, 16 if image.mode.startswith("I") else 8
        shift = 1 << (bits - 1) if size[1][0] & 128 else 0
    elif image.format in ("AVIF", "HEIF") and (depth := _PIXI.search(content)):
        bits, to = depth[1][0], 16 if image.mode.startswith("I") else 8
    factor = (2**to - 1) / (2**bits - 1)
    return replace(chosen, low=(chosen.low + shift) * factor, high=(chosen.high + shift) * factor)


def held(image: Image.Image) -> Numbers | None:
    """Give the numbers of an image in memory where they are of more than 8 bits."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    full = {"I": whole_range(32, signed=True), "F": None}.get(image.mode, whole_range(16))
    return Numbers(np.asarray(image), full=full)


def rawmode_of(image: ImageFile.ImageFile) -> str:
    """Name the layout of the file's pixels, as Pillow's decoder is told it."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _light_palette(image: ImageFile.ImageFile) -> None:
    """Read a TIFF's palette as of 8 bits where all of it is, which its 16 would make black."""
    if isinstance(image, TiffImageFile) and image.mode in ("P", "PA"):
        table = image.tag_v2.get(TiffImagePlugin.COLORMAP, ())
        if table and max(table) <= EIGHT_BITS[1]:
            image.palette = ImagePalette.raw("RGB;L", bytes(table))


def _lay_out(image: ImageFile.ImageFile, rawmode: str) -> None:
    """Tell Pillow's decoder another layout of the file's pixels."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _both_bytes(
    image: ImageFile.ImageFile, rawmode: str, again: Callable[[], ImageFile.ImageFile]
) -> tuple[np.ndarray, np.ndarray | None]:
    other = "RGBA" if rawmode.startswith("LA") else rawmode[:-1] + _OTHER[rawmode[-1]]
    with again() as second:
        _lay_out(second, other)
        low = np.asarray(second).astype(np.uint16)
    if rawmode.startswith("LA"):  # both bytes of grey, then of alpha, in four channels of one byte
        return low[..., 0] << 8 | low[..., 1], low[..., 2] << 8 | low[..., 3]
    both = np.asarray(image).astype(np.uint16) << 8 | low
    if rawmode.startswith("CMYK"):
        return both, None
    return both[..., :3], both[..., 3] if both.shape[2] == 4 else None


def _bits(image: ImageFile.ImageFile, colours: np.ndarray) -> tuple[int | None, np.ndarray]:
    """Count the bits of a number, none for floats; 32 bits without a sign come from Pillow with one."""
    if image.mode == "F":
        return None, colours
    if isinstance(image, TiffImageFile):
        bits = int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0])
        wide = bits == 32 and not _signed(image)
        return bits, colours.view(np.uint32) if wide else colours
    return 16, colours  # PNG, PGM of 16 bits, and JPEG 2000, which Pillow scales to them


def _signed(image: ImageFile.ImageFile) -> bool:
    return isinstance(image, TiffImageFile) and image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 2


def _declared(image: ImageFile.ImageFile, content: bytes, full: Ends | None) -> Ends | None:
    """Find what the file says of its numbers, unless it says no more than the number format does."""
    if isinstance(image, PngImageFile):
        top = 2.0 ** (significant_bits(content) or 16) - 1  # numbers beyond it were scaled to 16 bits
        return (0.0, top) if 1 < top < 65535 else None
    if not isinstance(image, TiffImageFile):
        return None
    low, high = _tagged(image, _SMALLEST) or 0.0, _tagged(image, _LARGEST)
    return None if high is None or (full and high >= full[1]) or high <= low else (low, high)


def _tagged(image: TiffImageFile, tags: tuple[int, ...]) -> float | None:
    for tag in tags:
        try:
            value = image.tag_v2[tag]
            number = float(value[0] if isinstance(value, tuple) else value)
            return number if math.isfinite(number) else None
        except (KeyError, TypeError, ValueError, IndexError, struct.error):
            continue
    return None


def _keyed(image: ImageFile.ImageFile, colours: np.ndarray) -> np.ndarray | None:
    """Give the alpha of a photo in which one number, or colour, stands for transparent."""
    key = image.info.get("transparency")
    if key is None or isinstance(key, bytes):
        return None
    same = colours == np.asarray(key)
    hidden = same.all(axis=2) if colours.ndim == 3 else same
    return np.where(hidden, 0, 65535).astype(np.uint16)
