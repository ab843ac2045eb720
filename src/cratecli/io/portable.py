"""Take the numbers of PGM and PPM files, which Pillow scales to 8 or 16 bits, as the files have them."""

import numpy as np
from PIL import ImageFile
from PIL.PpmImagePlugin import PpmImageFile

from cratecli.io.numbers import Numbers

_CHANNELS = {"L": 1, "I": 1, "RGB": 3}


def portable_numbers(image: ImageFile.ImageFile, content: bytes) -> Numbers | None:
    """Give the numbers of a PGM or PPM, `content`, whose largest is not 255; none for anything else.

    Raises `OSError` for one cut short, and `ValueError` for text that is no number, or one larger than it declares.
    """
    tile = image.tile[0] if image.tile else None
    if not isinstance(image, PpmImageFile) or tile is None or image.mode not in _CHANNELS:
        return None
    if tile.codec_name == "raw" or not isinstance(tile.args, tuple) or tile.args[1] == 255:
        return None
    largest, channels, width = int(tile.args[1]), _CHANNELS[image.mode], image.width
    if tile.codec_name == "ppm":
        values = _binary(content, tile.offset, largest, image.height * width * channels)
    else:  # as text, which Pillow reads as greys, however many, and scales to 16 bits
        image._mode, image._size = "I", (width * channels, image.height)
        image.tile = [tile._replace(extents=(0, 0, *image._size))]
        values = np.round(np.asarray(image) * (largest / 65535)).astype(np.uint16)
    shape = (image.height, width, channels) if channels > 1 else (image.height, width)
    full = (0.0, float(largest))
    return Numbers(values.reshape(shape), full=full, declared=None if largest == 65535 else full)


def _binary(content: bytes, start: int, largest: int, count: int) -> np.ndarray:
    kind = np.dtype(np.uint8 if largest < 256 else ">u2")
    if len(content) - start < count * kind.itemsize:
        raise OSError("image file is truncated")
    return np.frombuffer(content, kind, count, start).astype(kind.newbyteorder("="))
