"""Read photos of any allowed format, orientation and mode as upright RGB arrays, and resample them to a patch grid."""

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
from cratecli.io.urls import refuse_url

EXTENSIONS = frozenset(
    {
        *{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"},
        *{".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"},
    }
)
"""Extensions of the files in a folder that count as photos; a file named by itself is read whatever its extension."""

BYTES_A_PIXEL = 16  # more than any format needs

PhotoLike = RGB | Image.Image | str | Path
"""A photo as Python callers pass it: an upright RGB array (0–255), a Pillow image, or a path."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Holds a decoded photo, upright RGB, 0–255, and a note for the user, if there is one."""

    rgb: RGB
    note: str | None


def as_rgb(photo: PhotoLike) -> RGB:
    """Convert a path or a Pillow image to an upright RGB array, 0–255; an array is returned unchanged.

    Raises `InputError` as `read` does, `UsageError` for a URL, and `ValueError` for an array that is not uint8 of
    (height, width, 3).
    """
    if isinstance(photo, Image.Image):
        refuse_thin(photo.width, photo.height, "the image")
        with _explained("the image"):
            photo.load()
            return colour.to_rgb(colour.upright(photo))
    if not isinstance(photo, np.ndarray):
        refuse_url(str(photo))
        return read(Path(photo))
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(
            f"an array of {photo.dtype} {photo.shape} is no RGB photo: uint8, (height, width, 3)"
        )
    refuse_thin(photo.shape[1], photo.shape[0], "the array")
    return photo


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """Read a photo from a file as upright RGB, 0–255; see `content` and `decode` for errors."""
    return decode(content(path, max_pixels=max_pixels), str(path), max_pixels=max_pixels).rgb


def read_bytes(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """Decode a photo held in memory as upright RGB, 0–255; see `decode` for errors."""
    return decode(data, name, max_pixels=max_pixels).rgb


def as_pillow(rgb: RGB) -> Image.Image:
    """Convert an RGB array, 0–255, to a Pillow image, which timm's transforms take."""
    return Image.fromarray(rgb)


def content(path: Path, name: str | None = None, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read the bytes of a photo's file; `name`, or else its path, stands for it in errors.

    The file is not mapped, because one that changes meanwhile would end the process. Raises `InputError` for anything
    but a regular file, and for one that is too large for `max_pixels` in any format.
    """
    name = name or str(path)
    refuse_missing(path, name)
    with _explained(name, "cannot be read"), open(path, "rb", opener=_without_waiting) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):  # replaced since the check above
            raise InputError(f"{name}: not a regular file")
        refuse_large(status.st_size, name, max_pixels)
        return stream.read()


def refuse_missing(path: Path, name: str) -> None:
    """Raise `InputError` for anything but a regular file: a pipe would block, a device may never end."""
    with _explained(name, "cannot be read"):
        if not path.is_file():
            raise InputError(f"{name}: {_what_instead(path)}")


def refuse_large(size: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `InputError` for more bytes than `max_pixels` need in any format."""
    if size > BYTES_A_PIXEL * max_pixels:
        need = f"{size:,} bytes are more than {max_pixels:,} pixels need"
        raise InputError(f"{name}: {need}; --max-pixels raises the limit")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a photo to upright sRGB, 0–255: EXIF orientation applied, alpha over white, first frame.

    `name` stands for it in errors and notes; Pillow's warnings go to Python's `warnings`. Raises `InputError` for an
    image that is broken or cut short, not of an allowed format, larger than `max_pixels`, or longer than 32 times
    its width.
    """
    with _explained(name), open_image(data, name, max_pixels) as image:
        image.load()  # decodes all of it: only this proves it complete
        rgb = colour.to_rgb(colour.upright(image))
        if image.format != "MPO" and _has_more(image):  # in a phone's photo the second picture is its preview
            return Decoded(rgb, f"{name}: holds several pictures; the first is used")
        return Decoded(rgb, None)


def _what_instead(path: Path) -> str:
    if path.exists():
        return "a folder, not a file" if path.is_dir() else "not a regular file"
    return "a broken link" if path.is_symlink() else "no such file"


def _has_more(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # later frames may be broken; the first is whole
        return True


@contextmanager
def _explained(name: str, what: str = "cannot be read as an image") -> Iterator[None]:
    """Turn any exception of a reader into an `InputError` of one line: a broken file can raise anything."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        system = error.strerror if isinstance(error, OSError) else None
        reason = system or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: {what}: {reason}") from None


def fit(
    rgb: RGB, grid: Grid, patch_size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[np.ndarray, "3 h w"]:
    """Resample a photo (bicubic, antialiased) to the pixels of a patch grid, and normalise its channels.

    `patch_size` is in px; `mean` and `std` are of the RGB channels, for values in 0–1.
    """
    size = grid.pixels(patch_size)
    image = Image.fromarray(rgb)
    if image.size != (size.width, size.height):
        image = image.resize((size.width, size.height), Image.Resampling.BICUBIC)
    scaled = np.asarray(image, np.float32) / 255
    normalised = (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))
