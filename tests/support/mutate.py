"""Spoil bytes the ways disks, networks and foes do."""

from collections.abc import Callable

import numpy as np

ODD = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers at which sizes, counts and offsets turn over."""


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Spoil bytes in one to four ways, none of them long; the same generator state spoils them the same."""
    for _ in range(int(random.integers(1, 5))):
        way = _WAYS[int(random.integers(len(_WAYS)))]
        data = way(data, random)
    return data


def _flip_bits(data: bytes, random: np.random.Generator) -> bytes:
    spoilt = bytearray(data)
    for _ in range(int(random.integers(1, 9)) if data else 0):
        spoilt[_near_start(len(data), random)] ^= 1 << int(random.integers(8))
    return bytes(spoilt)


def _truncate(data: bytes, random: np.random.Generator) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def _remove(data: bytes, random: np.random.Generator) -> bytes:
    start, length = _piece(data, random)
    return data[:start] + data[start + length :]


def _splice(data: bytes, random: np.random.Generator) -> bytes:
    """Put a piece over another place."""
    start, length = _piece(data, random)
    goal = _near_start(len(data) + 1, random)
    return data[:goal] + data[start : start + length] + data[goal + length :]


def _insert(data: bytes, random: np.random.Generator) -> bytes:
    goal = _near_start(len(data) + 1, random)
    return data[:goal] + random.bytes(int(random.integers(1, 65))) + data[goal:]


def _repeat(data: bytes, random: np.random.Generator) -> bytes:
    start, length = _piece(data, random)
    return (
        data[: start + length]
        + data[start : start + length] * int(random.integers(1, 9))
        + data[start + length :]
    )


def _edit_field(data: bytes, random: np.random.Generator) -> bytes:
    """Write an odd number over one, two or four bytes, in either order."""
    width = int(random.choice((1, 2, 4)))
    number = int(ODD[int(random.integers(len(ODD)))]) & ((1 << 8 * width) - 1)
    goal = _near_start(len(data) + 1, random)
    written = number.to_bytes(width, "big" if random.random() < 0.5 else "little")
    return data[:goal] + written + data[goal + width :]


def _piece(data: bytes, random: np.random.Generator) -> tuple[int, int]:
    """Choose where a piece starts, and its length: up to 256 bytes."""
    return _near_start(len(data) + 1, random), int(random.integers(1, 257))


def _near_start(length: int, random: np.random.Generator) -> int:
    """Choose a place, half of the time among the first 128 bytes, where headers are."""
    reach = min(length, 128) if random.random() < 0.5 else length
    return int(random.integers(reach))


_WAYS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _flip_bits,
    _truncate,
    _remove,
    _splice,
    _insert,
    _repeat,
    _edit_field,
)
