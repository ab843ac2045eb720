"""Write and read label maps as indexed PNG files with PASCAL VOC's palette, and tint photos by label."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from cratecli.arrays import RGB, Labels
from cratecli.errors import InputError
from cratecli.io.formats.png import encode_image, read_png
from cratecli.io.formats.record import Annotated, annotate

VOID = 255  # VOC's index for pixels that are not evaluated; never written here
TINT = 0.6  # share of a label's colour in a tinted photo
GREY = 0.5  # brightness of unlabelled pixels, as a share of their luminance


def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """Compute PASCAL VOC's palette (RGB, 0–255): the bits of the index, dealt to the channels from the highest down.

    >>> voc_palette()[[0, 1, 2, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * place + channel) & 1) << (7 - place)).astype(np.uint8)
    return colours


def encode_labels(labels: Int[np.ndarray, "height width"], text: str | None = None) -> bytes:
    """Encode a label map, 0 (background) to 255 (void), as an indexed PNG; `text` (ASCII) is embedded as provenance."""
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(voc_palette().tobytes())
    return encode_image(picture, text)


def decode_labels(content: bytes) -> Labels:
    """Decode the label map of an indexed PNG. Raises `ValueError` for anything else."""
    return np.asarray(read_png(content, "P"), np.uint8)


def encode_classes(photo: Annotated, names: Sequence[str]) -> bytes:
    """Encode a photo's classes as an indexed PNG: 1 is the first of `names`; in overlaps the first object counts."""
    return encode_labels(paint(photo, [names.index(each.label) + 1 for each in photo.objects]))


def decode_classes(content: bytes, name: str, names: Sequence[str]) -> Annotated:
    """Decode an indexed PNG to one object for each class. Raises `ValueError` for an index without a class."""
    labels = decode_labels(content)
    present = [int(index) for index in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if index]
    if present and present[-1] > len(names):
        raise ValueError(f"index {present[-1]} is no class")
    height, width = labels.shape
    objects = [annotate(labels == index, 1.0, names[index - 1]) for index in present]
    return Annotated(name, height, width, objects)


def paint(photo: Annotated, indices: Sequence[int]) -> Labels:
    """Draw objects into a label map, each with its index; where objects overlap, the first keeps the pixel.

    Raises `InputError` for an index above 254: 255 is void.
    """
    if max(indices, default=0) >= VOID:
        raise InputError(f"{photo.name}: an indexed PNG holds {VOID - 1} labels, not {max(indices)}")
    labels = np.zeros((photo.height, photo.width), np.uint8)
    for each, index in zip(photo.objects, indices, strict=True):
        labels[each.mask & (labels == 0)] = index
    return labels


def tint(
    rgb: RGB,
    labels: Int[np.ndarray, "height width"],
    colours: UInt8[np.ndarray, "c 3"],
) -> RGB:
    """Tint a grey photo (RGB, 0–255) with the colour of each pixel's label, `colours[label]`; background is dimmed.

    The photo loses its own colours, which would make one label look like another.
    """
    grey = (rgb @ np.array([0.299, 0.587, 0.114]))[..., None]
    inside = TINT * colours[labels] + (1 - TINT) * grey
    return np.asarray(np.where(labels[..., None] > 0, inside, GREY * grey), np.uint8)
