"""Open images from bytes without decoding them: allowed formats, recognised by content, within the pixel limit."""

import io
import re
import struct
from collections.abc import Callable, Container
from pathlib import Path
from threading import Lock
from typing import TypeVar

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cratecli.errors import InputError
from cratecli.files import open_file
from cratecli.io.png_chunks import without_metadata

Result = TypeVar("Result")

ALLOWED = (
    *(JpegImageFile, PngImageFile, WebPImageFile, GifImageFile, TiffImageFile),
    *(BmpImageFile, PpmImageFile, Jpeg2KImageFile, AvifImageFile),
)
"""Pillow's readers of the allowed formats, besides HEIF, which is an extra; no other reader is loaded."""

MAX_PIXELS = 89_478_485  # 256 MiB as RGB; above it Pillow warns
MAX_ASPECT = (
    32  # of long to short side; beyond it the short side would vanish, or the grid grow without bound
)

_PRETENDERS = {
    rb"\Z": "empty",
    rb"version https://git-lfs": "a Git LFS pointer, not the photo it stands for; run: git lfs pull",
    rb"\s*<(?:!doctype html|html|head)": "an HTML page, not an image",
}
_CONTAINERS = {
    rb"(?s).{257}ustar": ("a tar archive", ".tar"),
    rb"\x1f\x8b": ("compressed by gzip, as .tar.gz are", ".tar.gz"),
    rb"PAR1": ("a Parquet table", ".parquet"),
    rb"ARROW1": ("an Arrow table", ".arrow"),
    rb"PK\x03\x04": ("a zip archive", None),
}
"""Files of several photos by their first bytes, and how their names end; a zip is not read."""
_BEGINNING = 262  # bytes of a file by which these are known
_ENDINGS = {"JPEG": ".jpg", "JPEG2000": ".jp2"}
"""The extensions of formats that are not called like them."""
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_NOT_THIS = (SyntaxError, IndexError, TypeError, struct.error)
"""Exceptions of Pillow's readers for files they cannot read, as in its `Image.open`."""

_raising = Lock()


class UnknownLayoutError(InputError):
    """A TIFF whose numbers, or channels, Pillow does not know."""


def open_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Open an image by its first bytes; only the header is read, and the size checked.

    Raises `InputError` for an image that is not of an allowed format, has more than `max_pixels`, or is longer than 32
    times its width; and whatever a reader raises for a broken header.
    """
    for pattern, what in _PRETENDERS.items():
        if re.match(pattern, content[:64], re.I):
            raise InputError(f"{name}: {what}")
    _let_pillow_allow(max_pixels)
    image = _open(content, name, max_pixels)
    if image.width * image.height > max_pixels:
        raise InputError(f"{name}: {image.width} × {image.height} px, {_too_many(max_pixels)}")
    refuse_thin(image.width, image.height, name)
    return image


def without_bad_metadata(content: bytes, name: str, read: Callable[[bytes], Result]) -> Result:
    """Read an image, and if that fails, its pixels without the metadata that may be why.

    Raises what `read` raises, and `InputError` for metadata that is a bomb.
    """
    try:
        return read(content)
    except Exception as error:  # a reader raises anything
        if (bare := without_metadata(content, name)) == content:
            raise
        try:
            return read(bare)
        except Exception:
            raise error from None


def refuse_thin(width: int, height: int, name: str) -> None:
    """Raise `InputError` for a photo (px) whose long side exceeds 32 times its short side."""
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{name}: {width} × {height} px is too long and thin: crop it")


def _open(content: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Try the readers whose signature matches, as `Image.open` does, without its pixel limit and warnings."""
    broken: Exception | None = None
    for kind in ALLOWED:
        reader, accept = Image.OPEN[str(kind.format)]
        try:
            if accept is None or accept(content[:16]) is True:
                return reader(io.BytesIO(content), "")
        except (
            Image.DecompressionBombError
        ):  # a GIF's frame, a WebP's canvas: Pillow checks its limit on opening
            raise InputError(f"{name}: {_too_many(max_pixels)}") from None
        except _NOT_THIS as error:
            broken = error
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return _open_heif(content, name, max_pixels)
    if str(broken) in ("unknown pixel mode", "unknown data organization"):
        raise UnknownLayoutError(f"{name}: a TIFF of a layout that is not read")
    if isinstance(broken, SyntaxError) and broken.__cause__ is None:
        raise broken  # a readable message; other exceptions name buffers
    if broken is not None:
        raise InputError(f"{name}: cannot be read as an image: its header is cut or broken")
    raise InputError(f"{name}: {_container(content) or 'not an image of a known format'}")


def _container(content: bytes) -> str | None:
    """Say which file of several photos goes by the name of one."""
    for pattern, (what, ending) in _CONTAINERS.items():
        if re.match(pattern, content[:_BEGINNING]):
            return f"{what}, not a photo: {_remedy(ending)}"
    return None


def told_apart(path: Path, endings: Container[str]) -> str | None:
    """Say what a file is, by its first bytes, whose name ends with one of `endings` though it is something else.

    Nothing is said of what is as it is called, is not known, or cannot be read.
    """
    try:
        with open_file(path) as stream:
            start = stream.read(_BEGINNING)
    except (OSError, ValueError):
        return None
    for pattern, (what, ending) in _CONTAINERS.items():
        if re.match(pattern, start):
            return None if ending in endings else f"{what}: {_remedy(ending)}"
    return f"a photo: let its name end with {ending}" if (ending := ending_of(start)) else None


def _remedy(ending: str | None) -> str:
    return f"let its name end with {ending}" if ending else "unpack it"


def ending_of(content: bytes) -> str:
    """Give the usual extension of a photo by its first bytes, with the dot; nothing for no allowed format."""
    for kind in ALLOWED:
        accept = Image.OPEN[str(kind.format)][1]
        if accept is not None and accept(content[:16]) is True:
            return _ENDINGS.get(str(kind.format), f".{str(kind.format).lower()}")
    return ""


def _too_many(max_pixels: int) -> str:
    return f"more than {max_pixels:,} pixels; --max-pixels raises the limit"


def _open_heif(content: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Open HEIC with its extra. Raises `InputError` if a declared size (`ispe`) exceeds `max_pixels`."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise InputError(f"{name}: HEIC needs an extra; run: pip install 'cratecli[heic]'") from None
    for declared in re.findall(rb"ispe\0{4}(.{8})", content, re.S):
        width, height = struct.unpack(">II", declared)
        if width * height > max_pixels:
            raise InputError(f"{name}: {width} × {height} px, {_too_many(max_pixels)}")
    reader: Callable[[io.BytesIO], ImageFile.ImageFile] = HeifImageFile
    return reader(io.BytesIO(content))


def _let_pillow_allow(max_pixels: int) -> None:
    """Raise Pillow's own limit, which some readers check again while decoding, to `max_pixels`.

    The limit is never lowered, and raised only for more than `MAX_PIXELS`.
    """
    if max_pixels > MAX_PIXELS:
        with _raising:
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
