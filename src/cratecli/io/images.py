"""Photos in: any allowed format, orientation and mode, as an upright RGB array; and onto a patch grid."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from cratecli.arrays import RGB
from cratecli.errors import InputError
from cratecli.geometry import Grid
from cratecli.io import colour
from cratecli.io.opening import MAX_PIXELS, open_image, refuse_thin

EXTENSIONS = frozenset(
    {
        *{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"},
        *{".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"},
    }
)
"""File endings by which a folder's photos are found; a file named outright is read by its content."""

BYTES_A_PIXEL = 16  # more than any format takes

PhotoLike = RGB | Image.Image | str | Path


@dataclass(frozen=True, eq=False)
class Decoded:
    """A photo as upright RGB, 0–255, and what whoever gave it should hear of it, if anything."""

    rgb: RGB
    note: str | None


def as_rgb(photo: PhotoLike) -> RGB:
    """Take a photo as Python callers have it: a path, a Pillow image, or an RGB array, which is passed through.

    Raises `InputError` as `read` does, and `ValueError` for an array that is not `height width 3` of bytes.
    """
    if isinstance(photo, Image.Image):
        refuse_thin(photo.width, photo.height, "the image")
        with _explained("the image"):
            photo.load()
            return colour.to_rgb(colour.upright(photo))
    if not isinstance(photo, np.ndarray):
        return read(Path(photo))
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(
            f"an array of {photo.dtype} {photo.shape} is no RGB photo: uint8, (height, width, 3)"
        )
    refuse_thin(photo.shape[1], photo.shape[0], "the array")
    return photo


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """Read a photo's file; see `content` and `decode`."""
    return decode(content(path, max_pixels=max_pixels), str(path), max_pixels=max_pixels).rgb


def read_bytes(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """Read a photo held in memory; see `decode`."""
    return decode(data, name, max_pixels=max_pixels).rgb


def as_pillow(rgb: RGB) -> Image.Image:
    """Give an upright RGB array as what timm's transforms take."""
    return Image.fromarray(rgb)


def content(path: Path, name: str | None = None, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read a photo's file, whole: a file that changes while it is mapped would end the process.

    `name`, or else its path, stands for it in errors. Raises `InputError` for what is no regular file, and one larger
    than `max_pixels` of any format can be.
    """
    name = name or str(path)
    refuse_missing(path, name)
    with _explained(name, "cannot be read"), open(path, "rb", opener=_without_waiting) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):  # it has just been replaced
            raise InputError(f"{name}: not a regular file")
        refuse_large(status.st_size, name, max_pixels)
        return stream.read()


def refuse_missing(path: Path, name: str) -> None:
    """Raise `InputError` for what is no regular file: a pipe or a device would be waited for, or never end."""
    with _explained(name, "cannot be read"):
        if not path.is_file():
            raise InputError(f"{name}: {_what_instead(path)}")


def refuse_large(size: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `InputError` for more bytes than `max_pixels` take in any format."""
    if size > BYTES_A_PIXEL * max_pixels:
        need = f"{size:,} bytes are more than {max_pixels:,} pixels need"
        raise InputError(f"{name}: {need}; --max-pixels raises the limit")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a photo as upright RGB: EXIF turned, alpha over white, 16-bit scaled, in sRGB, first frame.

    `name` stands for it in errors and notes; what Pillow warns of is left to Python's `warnings`.
    Raises `InputError` for what is broken or cut, no image of the allowlist, over `max_pixels`, or longer than 32
    times its breadth.
    """
    with _explained(name), open_image(data, name, max_pixels) as image:
        image.load()  # only this proves it whole
        rgb = colour.to_rgb(colour.upright(image))
        if image.format != "MPO" and _has_more(image):  # a phone's photo: what follows is its preview
            return Decoded(rgb, f"{name}: holds several pictures; the first is used")
        return Decoded(rgb, None)


def _what_instead(path: Path) -> str:
    if path.exists():
        return "a folder, not a file" if path.is_dir() else "not a regular file"
    return "a broken link" if path.is_symlink() else "no such file"


def _has_more(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the rest may be broken; the first is whole
        return True


@contextmanager
def _explained(name: str, what: str = "cannot be read as an image") -> Iterator[None]:
    """Turn what reading raises, which for a broken file is anything, into an `InputError` of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        told = error.strerror if isinstance(error, OSError) else None
        reason = told or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: {what}: {reason}") from None


def fit(
    rgb: RGB, grid: Grid, patch_size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[np.ndarray, "3 h w"]:
    """Resample a photo (bicubic, antialiased) to cover `grid` exactly, and normalise its channels.

    `mean` and `std` are per RGB channel for values in 0–1.
    """
    size = grid.pixels(patch_size)
    image = Image.fromarray(rgb)
    if image.size != (size.width, size.height):
        image = image.resize((size.width, size.height), Image.Resampling.BICUBIC)
    scaled = np.asarray(image, np.float32) / 255
    normalised = (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))
