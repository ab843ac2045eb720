"""Photos in: any allowed format, orientation and mode, as an upright RGB array; and onto a patch grid."""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from cratecli.errors import InputError
from cratecli.geometry import Grid

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
EXTENSIONS = frozenset(
    {
        *{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"},
        *{".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"},
    }
)
"""File endings by which a folder's photos are found; a file named outright is read by its content."""

RGB = UInt8[np.ndarray, "height width 3"]

MAX_PIXELS = 89_478_485
MAX_ASPECT = 32  # beyond this a photo's short side would be lost, or its grid grow without bound


Photo = RGB | Image.Image | str | Path


def as_rgb(photo: Photo) -> RGB:
    """Take a photo as Python callers have it: a path, a Pillow image, or an RGB array, which is passed through.

    Raises `InputError` as `read` does, and `ValueError` for an array that is not `height width 3` of bytes.
    """
    if isinstance(photo, Image.Image):
        return _to_rgb(_upright(photo))
    if not isinstance(photo, np.ndarray):
        return read(Path(photo))
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(
            f"an array of {photo.dtype} {photo.shape} is no RGB photo: uint8, (height, width, 3)"
        )
    return photo


def read(source: Path | BinaryIO, name: str | None = None) -> RGB:
    """Read a photo as upright RGB, 0–255: EXIF turned, alpha over white, 16-bit scaled, first frame.

    `name` stands for the source in errors. Raises `InputError` for what is missing, broken, no image of the
    allowlist, over Pillow's pixel limit, or longer than 32 times its breadth.
    """
    name = name or str(source)
    try:
        if isinstance(source, Path) and not source.is_file():
            raise InputError(f"{name}: {'not a file' if source.exists() else 'no such file'}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                if max(image.size) > MAX_ASPECT * min(image.size):
                    extent = f"{image.width} × {image.height} px"
                    raise InputError(f"{name}: {extent} is too long and thin: crop it")
                image.load()
                return _to_rgb(_upright(image))
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not an image of a known format") from None
    except Exception as error:  # a broken file makes its decoder raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: cannot be read as an image: {reason}") from None


def content(source: Path) -> bytes:
    """Read a file's bytes. Raises `InputError` for what is missing, unreadable or no regular file."""
    try:
        if not source.is_file():
            raise InputError(f"{source}: {'not a file' if source.exists() else 'no such file'}")
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None
    except MemoryError:
        raise InputError(f"{source}: needs more memory than there is") from None


def read_bytes(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> RGB:
    """Read a photo held in memory; see `read`."""
    if not content:
        raise InputError(f"{name}: empty")
    return read(io.BytesIO(content), name)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF raises anything; the pixels are whole all the same
        return image


def _to_rgb(image: Image.Image) -> RGB:
    """Scale deep greys to 0–255, put transparency over white, and convert the rest by Pillow."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(np.asarray(image), sixteen_bit=image.mode.startswith("I;16"))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", straight.size, "white"), straight)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return np.array(converted)
    return np.array(image.convert("RGB"))


def _deep_grey(values: np.ndarray, *, sixteen_bit: bool) -> RGB:
    """Map 16-bit greys by their full range, 32-bit and float greys by the range they use; NaN is black."""
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if sixteen_bit or (grey.min() >= 0 and 255 < grey.max() <= 65535):
        grey = grey / 257
    elif grey.min() < 0 or grey.max() > 255:
        grey = (grey - grey.min()) / max(grey.max() - grey.min(), 1e-12) * 255
    elif grey.max() <= 1:
        grey = grey * 255
    return np.repeat(np.round(grey).astype(np.uint8)[..., None], 3, axis=2)


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
