"""Labels as pictures: indexed PNGs with PASCAL VOC's palette, written and read, and photos tinted by it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from cratecli.errors import InputError
from cratecli.io.formats.png import encode_image, read_png
from cratecli.io.formats.record import Annotated, annotate

VOID = 255  # VOC's index for what is not judged; never written here
TINT = 0.6  # of a label's colour in a tinted photo
GREY = 0.5  # of the luminance, where nothing is labelled


def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """Give VOC's 256 colours (RGB): the bits of the index, dealt out to the channels from the highest down.

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
    """Encode labels, 0 (background) to 255 (void), as an indexed PNG with VOC's palette; `text` is kept inside."""
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(voc_palette().tobytes())
    return encode_image(picture, text)


def decode_labels(content: bytes) -> UInt8[np.ndarray, "height width"]:
    """Read the labels of an indexed PNG. Raises `ValueError` for anything else."""
    return np.asarray(read_png(content, "P"), np.uint8)


def encode_classes(photo: Annotated, names: Sequence[str]) -> bytes:
    """Encode the class of each pixel, 1 for the first of `names`; where objects meet the earlier keeps the pixel."""
    return encode_labels(paint(photo, [names.index(each.label) + 1 for each in photo.objects]))


def decode_classes(content: bytes, name: str, names: Sequence[str]) -> Annotated:
    """Read a photo's classes, one object each. Raises `ValueError` for an index that is no class."""
    labels = decode_labels(content)
    present = [int(index) for index in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if index]
    if present and present[-1] > len(names):
        raise ValueError(f"index {present[-1]} is no class")
    height, width = labels.shape
    objects = [annotate(labels == index, 1.0, names[index - 1]) for index in present]
    return Annotated(name, height, width, objects)


def paint(photo: Annotated, indices: Sequence[int]) -> UInt8[np.ndarray, "height width"]:
    """Give each object's pixels its index; where objects meet the earlier keeps the pixel.

    Raises `InputError` where an index is beyond 254: a byte holds no more, and 255 is void.
    """
    if max(indices, default=0) >= VOID:
        raise InputError(f"{photo.name}: an indexed PNG holds {VOID - 1} labels, not {max(indices)}")
    labels = np.zeros((photo.height, photo.width), np.uint8)
    for each, index in zip(photo.objects, indices, strict=True):
        labels[each.mask & (labels == 0)] = index
    return labels


def tint(
    rgb: UInt8[np.ndarray, "height width 3"],
    labels: Int[np.ndarray, "height width"],
    colours: UInt8[np.ndarray, "c 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay labels over a photo in grey, in their colours, `colours[label]`; what has label 0 turns to dim grey.

    The photo's own colours would make one label look like another.
    """
    grey = (rgb @ np.array([0.299, 0.587, 0.114]))[..., None]
    inside = TINT * colours[labels] + (1 - TINT) * grey
    return np.asarray(np.where(labels[..., None] > 0, inside, GREY * grey), np.uint8)
