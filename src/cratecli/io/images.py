"""Read photos of any allowed format, orientation and mode as upright RGB arrays, and resample them to a patch grid."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from reprlib import repr as short

import numpy as np
from jaxtyping import Float
from PIL import Image

from cratecli.arrays import RGB
from cratecli.errors import InputError
from cratecli.files import open_file
from cratecli.geometry import Grid
from cratecli.io import colour, depths
from cratecli.io.camera_raw import refuse_raw
from cratecli.io.dicom import SEVERAL, is_dicom, read_dicom
from cratecli.io.microscopy import read_tiff
from cratecli.io.numbers import Numbers, to_levels
from cratecli.io.opening import MAX_PIXELS, UnknownLayoutError, open_image, refuse_thin, without_bad_metadata
from cratecli.io.ranges import Range
from cratecli.io.sources.entry import is_entry
from cratecli.io.tiff_tags import ORIENTATION, Tags, black_is_zero, read_tags

EXTENSIONS = frozenset(
    {
        *{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"},
        *{".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".dcm"},
    }
)
"""Extensions of the files in a folder that count as photos; a file named by itself is read whatever its extension."""

ON_BLACK = "all that shows is nearly white: its transparent ground is taken for black"
BYTES_A_PIXEL = 16  # more than any format needs

PhotoLike = RGB | Image.Image | str | Path | bytes
"""A photo as Python callers pass it: an upright RGB array (0–255), a Pillow image, a path or URL, or a file's bytes."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Holds a decoded photo, upright RGB, 0–255, and notes for the user, a line each.

    `rgba` are its own colours, and alpha, where it has some.
    """

    rgb: RGB
    notes: tuple[str, ...] = ()
    rgba: np.ndarray | None = None


def as_rgb(photo: PhotoLike, *, range: str = "auto") -> RGB:
    """Convert a path, a URL, bytes or a Pillow image to an upright RGB array, 0–255; an array is taken as it is.

    A path or URL may go on into a shard or a table, as `a.tar::b.jpg`.

    `range` says which numbers are black and white: see `Range.parse`.
    Raises `InputError` as `read` does, for an array that is not uint8 of (height, width, 3), and for anything else,
    and `UsageError` for a URL of a protocol that is not known, or whose package is missing.
    """
    if isinstance(photo, Image.Image):
        refuse_thin(photo.width, photo.height, "the image")
        with explained("the image"):
            photo.load()
            return _shown(photo, depths.held(photo), Range.parse(range))[0].rgb
    if isinstance(photo, bytes):
        refuse_large(len(photo), "the bytes")
        return decode(photo, "the bytes", range=range).rgb
    if isinstance(photo, str | Path):
        if not is_entry(str(photo)) or os.path.lexists(photo):
            return read(Path(photo), range=range)
        from cratecli.io.sources.packed import entry_at

        entry = entry_at(str(photo))
        return decode(entry.read(BYTES_A_PIXEL * MAX_PIXELS), entry.name, range=range).rgb
    if not isinstance(photo, np.ndarray):
        raise InputError(f"a photo is {short(photo)}: neither a path, a Pillow image nor an array")
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise InputError(
            f"an array of {photo.dtype} {photo.shape} is no RGB photo: uint8, (height, width, 3)"
        )
    refuse_thin(photo.shape[1], photo.shape[0], "the array")
    return _in_range(colour.Shown(photo), Range.parse(range))[0].rgb


def read(path: Path, *, max_pixels: int = MAX_PIXELS, range: str = "auto") -> RGB:
    """Read a photo from a file as upright RGB, 0–255; see `content` and `decode` for errors."""
    data = content(path, max_pixels=max_pixels)
    return decode(data, str(path), max_pixels=max_pixels, range=range).rgb


def read_bytes(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, range: str = "auto") -> RGB:
    """Decode a photo held in memory as upright RGB, 0–255; see `decode` for errors."""
    return decode(data, name, max_pixels=max_pixels, range=range).rgb


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
    with (
        explained(name, "cannot be read"),
        open_file(path) as stream,
    ):  # which may be another since the check above
        refuse_large(os.fstat(stream.fileno()).st_size, name, max_pixels)
        return stream.read()


def refuse_missing(path: Path, name: str) -> None:
    """Raise `InputError` for anything but a regular file: a pipe would block, a device may never end."""
    with explained(name, "cannot be read"):
        if not path.is_file():
            raise InputError(f"{name}: {_what_instead(path)}")


def refuse_large(size: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `InputError` for more bytes than `max_pixels` need in any format."""
    if size > BYTES_A_PIXEL * max_pixels:
        need = f"{size:,} bytes are more than {max_pixels:,} pixels need"
        raise InputError(f"{name}: {need}; --max-pixels raises the limit")


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, range: str = "auto") -> Decoded:
    """Decode a photo to upright sRGB, 0–255: EXIF orientation applied, alpha over white, or black, first frame.

    `name` stands for it in errors and notes; Pillow's warnings go to Python's `warnings`. `range` says which of its
    numbers are black and white: see `Range.parse`. Raises `InputError` for an image that is broken or cut short, not of
    an allowed format, larger than `max_pixels`, or longer than 32 times its width.
    """
    chosen = Range.parse(range)
    with explained(name):
        return without_bad_metadata(data, name, partial(_decode, name=name, most=max_pixels, chosen=chosen))


def orientation(data: bytes, name: str) -> int:
    """Read the orientation, 1 to 8, in which a photo is stored; 1 is upright. Raises `InputError`, as `decode` does."""
    if is_dicom(data):
        return 1
    with explained(name):
        if (tags := read_tags(data)) is not None:
            stored = tags.first(ORIENTATION, 1)
            return stored if 1 <= stored <= 8 else 1
        with open_image(data, name) as image:
            return colour.orientation(image)


def _decode(data: bytes, name: str, most: int, chosen: Range) -> Decoded:
    if is_dicom(data):
        windowed = chosen.rule == "auto"
        picture = read_dicom(data, name, most, BYTES_A_PIXEL * most, windowed=windowed)
        return _scaled(picture, name, chosen)
    tags = read_tags(data)
    refuse_raw(data, tags, name)
    inverted = False
    if tags is not None:
        data, inverted = black_is_zero(data, tags)
        if tags.unknown:
            return _from_tifffile(data, tags, name, most, chosen, inverted=inverted)
    again = partial(open_image, data, name, most)
    try:
        image = again()
    except UnknownLayoutError:
        if tags is None:
            raise
        return _from_tifffile(data, tags, name, most, chosen, inverted=inverted)
    with image:
        # decodes all of it: only this proves it complete
        chosen = depths.in_numbers_of(image, data, depths.rawmode_of(image), chosen)
        numbers = depths.loaded(image, data, again, inverted=inverted)
        shown, notes = _shown(image, numbers, chosen)
        if image.format != "MPO" and _has_more(image):  # in a phone's photo the second picture is its preview
            notes.append(SEVERAL)
        return _noted(shown, notes, name)


def _from_tifffile(
    data: bytes, tags: Tags, name: str, most: int, chosen: Range, *, inverted: bool
) -> Decoded:
    numbers = read_tiff(data, name, most, BYTES_A_PIXEL * most, inverted=inverted)
    several = (SEVERAL,) if len(tags.pages) > 1 else ()
    return _scaled(replace(numbers, notes=(*numbers.notes, *several)), name, chosen)


def _scaled(numbers: Numbers, name: str, chosen: Range) -> Decoded:
    """Bring the numbers of an extra's reader, which are upright, to sRGB."""
    refuse_thin(numbers.colours.shape[1], numbers.colours.shape[0], name)
    levels, note = to_levels(numbers, chosen)
    notes = [*numbers.notes, *([] if note is None else [note])]
    return _noted(colour.to_srgb(Image.fromarray(levels)), notes, name)


def _noted(shown: colour.Shown, notes: list[str], name: str) -> Decoded:
    ground = [ON_BLACK] if shown.on_black else []
    return Decoded(shown.rgb, tuple(f"{name}: {each}" for each in (*notes, *ground)), shown.rgba)


def _shown(image: Image.Image, numbers: Numbers | None, chosen: Range) -> tuple[colour.Shown, list[str]]:
    """Bring a decoded image to upright sRGB, and its numbers, if they are of more than 8 bits, to 0–255."""
    if numbers is None:
        return _in_range(colour.to_srgb(colour.upright(image)), chosen)
    levels, note = to_levels(numbers, chosen)
    inks = image.mode == "CMYK"
    picture = Image.frombytes("CMYK", image.size, levels.tobytes()) if inks else Image.fromarray(levels)
    picture.info["icc_profile"] = image.info.get("icc_profile")
    return colour.to_srgb(colour.upright(picture, image)), [] if note is None else [note]


def _in_range(shown: colour.Shown, chosen: Range) -> tuple[colour.Shown, list[str]]:
    """Stretch 8-bit colours where that was asked for."""
    if chosen.rule in ("auto", "full"):
        return shown, []
    levels, note = to_levels(Numbers(shown.rgb, full=(0.0, 255.0)), chosen)
    return replace(shown, rgb=levels), [] if note is None else [note]


def _what_instead(path: Path) -> str:
    if path.is_dir():
        os.scandir(path).close()  # raises for one that cannot be listed
    if path.exists():
        return "a folder, not a file" if path.is_dir() else "not a regular file"
    return "a broken link" if path.is_symlink() else "no such file"


def _has_more(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # later frames may be broken; the first is whole
        return True


@contextmanager
def explained(name: str, what: str = "cannot be read as an image") -> Iterator[None]:
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
