"""TIFFs of layouts that Pillow does not read, by tifffile, which is an extra: floats of RGB, planes, many channels."""

import io
import logging
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from cratecli.errors import InputError
from cratecli.io.numbers import Numbers, straight, whole_range

if TYPE_CHECKING:
    import tifffile

_DEFLATE = (8, 32946)
_TURNS: dict[int, Any] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""How the pixels of each orientation tag are turned upright."""


def read_tiff(content: bytes, name: str, max_pixels: int, most_bytes: int, *, inverted: bool) -> Numbers:
    """Read the first page of a TIFF, upright: grey, RGB, or the first of its channels.

    Raises `InputError` without the extra, for more than `max_pixels` or `most_bytes`, and for what is not grey, RGB or
    indexed; and whatever tifffile raises for a broken file.
    """
    try:
        import tifffile
    except ImportError:
        hint = "run: pip install 'cratecli[science]'"
        raise InputError(f"{name}: a TIFF of this layout needs an extra; {hint}") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is said in one line, ours
    with tifffile.TiffFile(io.BytesIO(content), _multifile=False) as file:
        page = file.pages.first
        if not isinstance(page, tifffile.TiffPage):
            raise InputError(f"{name}: holds no picture")
        size = f"{page.imagewidth} × {page.imagelength} px, {page.samplesperpixel} channels"
        if page.imagewidth * page.imagelength > max_pixels or page.nbytes > most_bytes:
            raise InputError(
                f"{name}: {size}, more than {max_pixels:,} pixels; --max-pixels raises the limit"
            )
        if page.dtype is None or page.dtype.kind not in "uifb":
            raise InputError(f"{name}: its numbers are neither whole nor floats")
        _refuse_bomb(content, page, name)
        pixels, notes = _channels(page, name)
        pixels = _TURNS.get(_tag(page, 274, 1), np.asarray)(pixels)
        kind = page.dtype.kind
        bits = 16 if page.colormap is not None else page.bitspersample
        full = None if kind == "f" else whole_range(bits, signed=kind == "i")
        declared = full if bits <= 14 else None
        colours, alpha = _apart(pixels, page)
        if kind == "b":
            colours = colours.astype(np.uint8)
        return Numbers(colours, alpha, full, declared, inverted=inverted, notes=notes)


def _refuse_bomb(content: bytes, page: "tifffile.TiffPage", name: str) -> None:
    """Refuse a strip or tile that inflates to more than its size: without imagecodecs, tifffile sets no limit."""
    if page.compression == 1:
        return
    if page.compression not in _DEFLATE:
        try:
            import imagecodecs  # noqa: F401 - it holds what it decodes to the size that is expected
        except ImportError:
            how = getattr(page.compression, "name", page.compression)
            raise InputError(f"{name}: its compression ({how}) needs: pip install imagecodecs") from None
        return
    most = int(np.prod(page.chunks)) * page.dtype.itemsize if page.dtype else 0
    for place, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        inflate = zlib.decompressobj()
        inflate.decompress(content[place : place + count], most + 1)
        if inflate.unconsumed_tail:
            raise InputError(f"{name}: a part of it inflates to more than its size: too large")


def _channels(page: "tifffile.TiffPage", name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode a page, and choose the channels that are shown: grey, RGB with alpha, or the first."""
    pixels, axes = page.asarray(maxworkers=1), page.axes
    for axis in axes:
        if axis not in "YXS":  # a page that is a stack of its own
            pixels, axes = pixels.take(0, axes.index(axis)), axes.replace(axis, "")
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    match int(page.photometric):
        case 0 | 1 if pixels.ndim == 2:
            return pixels, ()
        case 0 | 1 if pixels.shape[2] == 2 and _alpha(page):
            return pixels, ()
        case 0 | 1:
            return pixels[..., 0], (f"has {pixels.shape[2]} channels; the first is used",)
        case 2 if pixels.ndim == 3 and pixels.shape[2] >= 3:
            return pixels[..., : 4 if pixels.shape[2] == 4 and _alpha(page) else 3], ()
        case 3 if pixels.ndim == 2 and page.colormap is not None:
            return np.moveaxis(np.asarray(page.colormap)[:, pixels], 0, -1), ()
    kind = getattr(page.photometric, "name", page.photometric)
    raise InputError(f"{name}: a TIFF of {kind} is not read: convert it to RGB or grey")


def _alpha(page: "tifffile.TiffPage") -> int:
    """Give 1 where the one further channel is alpha that colours were multiplied by, 2 for other alpha, else 0."""
    kinds = tuple(map(int, page.extrasamples))
    return kinds[0] if kinds in ((1,), (2,)) else 0


def _apart(pixels: np.ndarray, page: "tifffile.TiffPage") -> tuple[np.ndarray, np.ndarray | None]:
    """Part alpha from colours, and divide them by it where they were multiplied."""
    if pixels.shape[2:] not in ((2,), (4,)):
        return pixels, None
    colours, alpha = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3], pixels[..., -1]
    return straight(colours, alpha) if _alpha(page) == 1 else colours, alpha


def _tag(page: "tifffile.TiffPage", code: int, default: int) -> int:
    tag = page.tags.get(code)
    return default if tag is None else int(tag.value)
