"""Labels as pictures: indexed PNGs with PASCAL VOC's palette, and photos tinted by it."""

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from cratecli.io.formats.png import encode_image

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
