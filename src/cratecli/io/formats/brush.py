"""Encode and decode Label Studio's brush run-length encoding (RLE): the RGBA values of a mask, row by row.

The header holds the number of values (32 bits), the bits of a value less one (5 bits), and four sizes of a run's
length, each its bits less one (4 bits). A run is one bit (1: one repeated value, 0: as many values as the length),
two bits that choose the size of the length, the length less one, and the value or values.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from cratecli.arrays import Mask
from cratecli.io.formats.record import check_size

CHANNELS = 4  # RGBA, all alike
WORD = 8  # bits of a value
SIZES = (3, 4, 8, 16)  # bits of a length
_LONGEST = 1 << SIZES[-1]
_HEAD = f"{WORD - 1:05b}" + "".join(f"{size - 1:04b}" for size in SIZES)


def encode(mask: Mask) -> list[int]:
    """Encode a binary mask as the bytes (0–255) of brush RLE: 255 in all channels inside the mask, 0 outside."""
    pixels = mask.ravel()
    starts = np.flatnonzero(np.append(True, pixels[1:] != pixels[:-1]))
    lengths = np.diff(np.append(starts, pixels.size)) * CHANNELS
    bits = [f"{pixels.size * CHANNELS:032b}", _HEAD]
    for value, length in zip(pixels[starts].tolist(), lengths.tolist(), strict=True):
        for part in _parts(length):
            index = next(index for index, size in enumerate(SIZES) if part <= 1 << size)
            bits.append(f"1{index:02b}{part - 1:0{SIZES[index]}b}{255 * value:0{WORD}b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8))


def _parts(length: int) -> Iterator[int]:
    """Split a run into lengths that 16 bits can hold."""
    for start in range(0, length, _LONGEST):
        yield min(_LONGEST, length - start)


def decode(values: Sequence[int], height: int, width: int) -> Mask:
    """Decode brush RLE to a binary mask of `height` × `width` px: the pixels whose alpha is at least one half.

    Raises `ValueError` for bytes that end early, and for a number of values that is not four for each pixel.
    """
    height, width = check_size(height, width)
    bits = _Bits(bytes(list(values)))
    total = bits.read(32)
    if total != height * width * CHANNELS:
        raise ValueError(f"{total} values are not {CHANNELS} for each pixel of {height} × {width}")
    word = bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in SIZES]
    lengths: list[int] = []
    opaque: list[bool] = []
    left = total
    while left:
        repeated, size = bits.read(1), sizes[bits.read(2)]
        length = bits.read(size) + 1
        if length > left:
            raise ValueError("a run goes beyond the mask")
        left -= length
        for part in [length] if repeated else [1] * length:
            lengths.append(part)
            opaque.append(bits.read(word) >> (word - 1) == 1)
    return _alpha(np.cumsum(lengths), np.array(opaque)).reshape(height, width)


def _alpha(ends: Int[np.ndarray, " runs"], opaque: Bool[np.ndarray, " runs"]) -> Bool[np.ndarray, " pixels"]:
    """Take every fourth value of runs, given by their ends, without expanding the runs."""
    return np.repeat(opaque, np.diff(ends // CHANNELS, prepend=0))


class _Bits:
    """Reads numbers of a few bits from bytes, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read(self, count: int) -> int:
        """Read a number of 1 to 32 bits. Raises `ValueError` past the end."""
        start, self._place = self._place, self._place + count
        if self._place > 8 * len(self._content):
            raise ValueError("the runs end early")
        covering = self._content[start // 8 : -(-self._place // 8)]
        return int.from_bytes(covering) >> (-self._place % 8) & ((1 << count) - 1)
