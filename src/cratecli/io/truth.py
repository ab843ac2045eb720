"""Read ground truth from pictures: binary masks in the ways that data sets store them, and maps of labels."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from cratecli.arrays import RGB, Labels, Mask
from cratecli.errors import InputError
from cratecli.io import colour, images
from cratecli.io.opening import MAX_PIXELS, open_image, without_bad_metadata
from cratecli.io.tiff_tags import BITS, black_is_zero, read_tags

Doubt = Literal["all foreground", "grey levels"]
"""What may be wrong with a mask that was read."""

_MIDDLE = (16, 240)  # grey levels that are neither black nor white, even after JPEG
_MANY = 0.05  # share of pixels with them: more than soft edges have
_TINTED = 32  # distance between channels, more than JPEG makes of grey
_LABELS = 32  # labels are few, small numbers; soft edges are not
_COLOURS = 256  # a map of labels has no more
_CONVERT = "make it a mask of 0 and 255"


@dataclass(frozen=True, eq=False)
class TrueMask:
    """Holds a binary ground-truth mask, and what may be wrong with it."""

    mask: Mask
    doubts: tuple[Doubt, ...] = ()


def read_true_mask(path: Path) -> TrueMask:
    """Read a binary ground-truth mask, upright. Raises `InputError`, also for one that shows no object.

    Where a part of the picture is transparent, the object is what is not (alpha above 127). Of an indexed picture it
    is all but index 0, of another in colours all but black. Of a grey one it is the upper half of the range, or, of
    one with a single value besides 0, that value. What could be meant in two ways is refused.
    """
    image = _load(path)
    if (mask := _opaque(image, path)) is None:
        mask = _indexed(image, path) if image.mode == "P" else _coloured(image, path)
    levels = None
    if mask is None:
        mask, levels = _grey(image, path)
    if not mask.any():
        raise InputError(f"{path}: shows no object: all of it is background")
    doubts: list[Doubt] = ["all foreground"] if mask.all() else []
    if levels is not None and np.mean((levels >= _MIDDLE[0]) & (levels < _MIDDLE[1])) > _MANY:
        doubts.append("grey levels")
    return TrueMask(mask, tuple(doubts))


def read_mask(path: Path) -> Mask:
    """Read a binary ground-truth mask; see `read_true_mask`."""
    return read_true_mask(path).mask


def read_edited_mask(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Mask:
    """Read a mask that somebody corrected, upright: at least half of the range, and at least half opaque.

    Raises `InputError`, which `name` stands in, for a picture that is broken, or dark all over and not black.
    """
    with images.explained(name):
        image = without_bad_metadata(content, name, partial(_loaded, path=Path(name), most=max_pixels))
        values, top = _values(image)
        mask = values >= top / 2
        if values.any() and not mask.any():
            raise InputError(f"{name}: no pixel is in the upper half of its range, 0–{top:g}: {_CONVERT}")
        if image.has_transparency_data:
            straight = image.convert("LA") if image.mode == "La" else image
            mask &= np.asarray(straight.convert("RGBA"))[..., 3] > 127
    return np.asarray(mask)


def read_labels(path: Path) -> Labels:
    """Read a label map: the indices of an indexed picture, or the values of a grey one. Raises `InputError`."""
    image = _load(path)
    if image.mode not in ("P", "L", "1"):
        raise InputError(f"{path}: labels are indexed or grey, not {image.mode}")
    return np.array(image.convert("L") if image.mode == "1" else image, np.uint8)


def _load(path: Path) -> Image.Image:
    """Decode a picture, upright, in its own mode."""
    content = images.content(path)
    with images.explained(str(path)):
        return without_bad_metadata(content, str(path), partial(_loaded, path=path))


def _loaded(content: bytes, path: Path, most: int = MAX_PIXELS) -> Image.Image:
    tags = read_tags(content)
    content, inverted = (content, False) if tags is None else black_is_zero(content, tags)
    with open_image(content, str(path), most) as image:
        image.load()
        upright = colour.upright(image)
    if tags is None or not inverted:
        return upright
    if upright.mode in ("1", "L", "RGB"):
        return ImageOps.invert(upright)
    if not upright.mode.startswith("I;16"):
        raise InputError(f"{path}: a TIFF whose 0 is white, of a depth that is not read: {_CONVERT}")
    top = (1 << tags.first(BITS, 16)) - 1
    return Image.fromarray((top - np.asarray(upright)).astype(np.uint16))


def _opaque(image: Image.Image, path: Path) -> Mask | None:
    """Take the object from transparency; nothing where the picture has none."""
    if not image.has_transparency_data:
        return None
    straight = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
    alpha = straight[..., 3]
    if alpha.min() == 255:
        return None
    mask = np.asarray(alpha > 127)
    shown = np.unique(straight[mask][:, :3])
    indices = np.asarray(image)[mask] if image.mode == "P" else np.ones(1)
    if shown.tolist() == [0, 255] or (not indices.all() and 0 in shown and len(shown) > 1):
        raise InputError(f"{path}: has transparency, and a black background beside it: {_CONVERT}")
    return mask


def _indexed(image: Image.Image, path: Path) -> Mask | None:
    """Take all but index 0; nothing for a picture in black, white and greys between, whatever their indices."""
    indices = np.asarray(image)
    used = np.unique(indices)
    palette = np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(given)] = given
    colours = [tuple(each) for each in palette[used].tolist()]
    grey = all(red == green == blue for red, green, blue in colours) and len(set(colours)) == len(colours)
    black = (0, 0, 0)
    if grey and {black, (255, 255, 255)} <= set(colours):
        return None
    if black in colours[1:] and len(set(colours)) == len(colours):
        raise InputError(f"{path}: index {used[colours.index(black)]} is black, and not 0: {_CONVERT}")
    return np.asarray(indices != 0)


def _coloured(image: Image.Image, path: Path) -> Mask | None:
    """Take all but black; nothing for a picture that is grey."""
    if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"):
        return None
    rgb = _rgb(image).astype(np.uint32)
    if np.all(rgb.max(axis=-1) - rgb.min(axis=-1) <= _TINTED):
        return None
    packed = rgb @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    if packed.min() > 0 or len(np.unique(packed)) > _COLOURS:
        raise InputError(f"{path}: is in colours, and none is a black background: {_CONVERT}")
    return np.asarray(packed > 0)


def _rgb(image: Image.Image) -> RGB:
    return colour.to_srgb(image).rgb if image.mode == "LAB" else np.array(image.convert("RGB"))


def _grey(image: Image.Image, path: Path) -> tuple[Mask, UInt8[np.ndarray, "height width"] | None]:
    """Take the upper half of the range, or the one value that is not 0; gives the levels, 0–255, where there are more.

    Raises `InputError` for labels: small numbers, with or without 255, which VOC calls void.
    """
    values, top = _values(image)
    distinct = np.unique(values)
    if len(distinct) == 2 and distinct[0] == 0:
        return np.asarray(values > 0), None
    between = distinct[(distinct > 0) & (distinct < top)]
    if (
        0 < len(between) <= _LABELS
        and between[-1] < _LABELS
        and np.all(between == np.round(between))
        and top > 1
    ):
        kinds = ", ".join(f"{each:g}" for each in between[:3]) + (", …" if len(between) > 3 else "")
        raise InputError(f"{path}: its values are labels ({kinds}), not a mask: {_CONVERT}")
    mask = np.asarray(values > top / 2)
    if distinct[-1] > 0 and not mask.any():
        raise InputError(f"{path}: no pixel is in the upper half of its range, 0–{top:g}: {_CONVERT}")
    return mask, np.asarray(np.clip(values / top * 255, 0, 255), np.uint8)


def _values(image: Image.Image) -> tuple[np.ndarray, float]:
    """Give the values of a grey picture, and the largest that they could have."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, neginf=0.0)
        return values, 1.0 if values.max() <= 1 else 255.0
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        return values, 255.0 if image.mode == "I" and values.max() <= 255 else 65535.0
    if image.mode in ("1", "L", "LA", "La"):
        return np.asarray(image.convert("L")), 255.0
    return np.asarray(_rgb(image).max(axis=-1)), 255.0
