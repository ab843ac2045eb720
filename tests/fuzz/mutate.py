"""Damage bytes as disks, networks and enemies do, the same way for the same random state."""

import numpy as np


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Give `data` after one to four mutations: flips, other bytes, cuts, insertions, splices, repeated chunks."""
    for _ in range(random.integers(1, 5)):
        data = _MUTATIONS[random.integers(len(_MUTATIONS))](data, random)
    return data


def _place(data: bytes, random: np.random.Generator) -> int:
    return int(random.integers(len(data) + 1))


def _piece(data: bytes, random: np.random.Generator) -> tuple[int, int]:
    begin = _place(data, random)
    return begin, min(len(data), begin + int(2 ** random.uniform(0, 10)))


def _flip_bits(data: bytes, random: np.random.Generator) -> bytes:
    flipped = bytearray(data)
    for place in random.integers(len(data), size=random.integers(1, 9)) if data else ():
        flipped[place] ^= 1 << int(random.integers(8))
    return bytes(flipped)


def _replace_bytes(data: bytes, random: np.random.Generator) -> bytes:
    begin, end = _piece(data, random)
    kinds = (random.bytes(end - begin), b"\x00" * (end - begin), b"\xff" * (end - begin))
    return data[:begin] + kinds[random.integers(len(kinds))] + data[end:]


def _truncate(data: bytes, random: np.random.Generator) -> bytes:
    return data[: _place(data, random)]


def _remove(data: bytes, random: np.random.Generator) -> bytes:
    begin, end = _piece(data, random)
    return data[:begin] + data[end:]


def _insert(data: bytes, random: np.random.Generator) -> bytes:
    place = _place(data, random)
    return data[:place] + random.bytes(int(random.integers(1, 65))) + data[place:]


def _splice(data: bytes, random: np.random.Generator) -> bytes:
    """Copy a piece over another place."""
    begin, end = _piece(data, random)
    place = _place(data, random)
    return data[:place] + data[begin:end] + data[place + end - begin :]


def _repeat(data: bytes, random: np.random.Generator) -> bytes:
    begin, end = _piece(data, random)
    return data[:end] + data[begin:end] * int(random.integers(1, 65)) + data[end:]


def _change_number(data: bytes, random: np.random.Generator) -> bytes:
    """Put an extreme whole number, of 1 to 8 bytes or in digits, in place of what stands there."""
    place = _place(data, random)
    value = _EXTREMES[random.integers(len(_EXTREMES))]
    width = int(random.choice([1, 2, 4, 8]))
    raw = str(value).encode() if random.integers(2) else (value % 256**width).to_bytes(width, "little")
    return data[:place] + raw + data[place + len(raw) :]


_EXTREMES = (0, 1, -1, 127, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_MUTATIONS = (_flip_bits, _replace_bytes, _truncate, _remove, _insert, _splice, _repeat, _change_number)
