"""Bytes to an opened image: known by its content, of an allowlist, within the pixel limit, not yet decoded."""

import io
import re
import struct
from collections.abc import Callable
from threading import Lock

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

ALLOWED = (
    *(JpegImageFile, PngImageFile, WebPImageFile, GifImageFile, TiffImageFile),
    *(BmpImageFile, PpmImageFile, Jpeg2KImageFile, AvifImageFile),
)
"""The kinds of image that are read, and HEIF by its extra; no other of Pillow's readers is even loaded."""

MAX_PIXELS = 89_478_485  # 256 MiB as RGB, from where on Pillow warns
MAX_ASPECT = 32  # beyond this a photo's short side would be lost, or its grid grow without bound

_PRETENDERS = {
    rb"\Z": "empty",
    rb"version https://git-lfs": "a Git LFS pointer, not the photo it stands for; run: git lfs pull",
    rb"\s*<(?:!doctype html|html|head)": "an HTML page, not an image",
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_NOT_THIS = (SyntaxError, IndexError, TypeError, struct.error)
"""What Pillow's readers raise for what they cannot read, as its `open` knows them."""

_raising = Lock()


def open_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Open an image by its first bytes; only its header is read, and its size checked.

    Raises `InputError` for what is no image of the allowlist, has more than `max_pixels`, or is more than 32 times
    as long as broad; and whatever a reader raises for a broken header.
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


def refuse_thin(width: int, height: int, name: str) -> None:
    """Raise `InputError` for a photo (px) that no patch grid fits."""
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{name}: {width} × {height} px is too long and thin: crop it")


def _open(content: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Try the readers whose signature fits, as `Image.open` does, but for its own pixel limit and warnings."""
    broken: Exception | None = None
    for kind in ALLOWED:
        reader, accept = Image.OPEN[str(kind.format)]
        try:
            if accept is None or accept(content[:16]) is True:
                return reader(io.BytesIO(content), "")
        except Image.DecompressionBombError:  # a GIF's frame, a WebP's canvas: Pillow asks at once
            raise InputError(f"{name}: {_too_many(max_pixels)}") from None
        except _NOT_THIS as error:
            broken = error
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return _open_heif(content, name, max_pixels)
    if isinstance(broken, SyntaxError) and broken.__cause__ is None:
        raise broken  # in words; the others speak of buffers
    if broken is not None:
        raise InputError(f"{name}: cannot be read as an image: its header is cut or broken")
    raise InputError(f"{name}: not an image of a known format")


def _too_many(max_pixels: int) -> str:
    return f"more than {max_pixels:,} pixels; --max-pixels raises the limit"


def _open_heif(content: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Open HEIC by its extra, unless it declares (`ispe`) too large a picture to be cropped from."""
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
    """Raise Pillow's own limit, which some of its readers ask again while decoding, to what a caller allows.

    It is only ever raised, and only for a caller who asks for more than is usual.
    """
    if max_pixels > MAX_PIXELS:
        with _raising:
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
