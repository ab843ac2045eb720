"""Label Studio's brush RLE: the check vector, every mask again, and a decoder that hostile bytes do not fool."""

import tracemalloc

import numpy as np
import pytest

from cratecli.io.formats.brush import CHANNELS, decode, encode
from tests.support.annotations import CHECK, blobs, specks

VECTOR = [0, 0, 0, 80, 57, 27, 252, 224, 19, 255, 206, 1, 111, 254, 112, 8, 255, 227]
VECTOR += [0, 143, 254, 112, 11, 127, 241, 128, 0]


def literal(values: list[int], word: int = 8) -> list[int]:
    """Pack values as one run that repeats nothing, with lengths of 3, 4, 8 or 16 bits."""
    head = f"{len(values):032b}{word - 1:05b}0010001101111111"
    bits = head + f"011{len(values) - 1:016b}" + "".join(f"{value:0{word}b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8))


def test_the_check_vector() -> None:
    assert encode(CHECK) == VECTOR
    np.testing.assert_array_equal(decode(VECTOR, 4, 5), CHECK)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 11), (300, 200)])
def test_a_mask_is_the_same_again(shape: tuple[int, int]) -> None:
    for share in (0, 0.02, 0.5, 0.98, 1):
        mask = specks(*shape, share)
        np.testing.assert_array_equal(decode(encode(mask), *shape), mask)
    for mask in (np.zeros(shape, bool), np.ones(shape, bool)):
        np.testing.assert_array_equal(decode(encode(mask), *shape), mask)


def test_runs_longer_than_a_length_can_tell() -> None:
    mask = np.kron(blobs(20, 30), np.ones((40, 40), bool))
    mask[:300] = True  # 360,000 pixels in a row
    np.testing.assert_array_equal(decode(encode(mask), *mask.shape), mask)
    assert all(0 <= value <= 255 for value in encode(mask))


def test_values_that_are_not_repeated_are_read_too() -> None:
    """As Label Studio's own editor writes soft edges: the alpha decides, from the half on."""
    rgba = [0, 0, 0, 127, 255, 255, 255, 128, 9, 9, 9, 255]
    np.testing.assert_array_equal(decode(literal(rgba), 1, 3), [[False, True, True]])
    np.testing.assert_array_equal(decode(literal([0, 0, 0, 7, 0, 0, 0, 8], word=4), 1, 2), [[False, True]])


HOSTILE = {
    "nothing": [],
    "half a head": VECTOR[:6],
    "an early end": VECTOR[:-5],
    "another size": encode(np.ones((4, 6), bool)),
    "four billion values": [255] * 4 + VECTOR[4:],
    "a run beyond the mask": [0, 0, 0, 80, 57, 27, 255, 255, 255, 255, 255, 255],
    "no bytes": [256, *VECTOR[1:]],
    "below a byte": [-1, *VECTOR[1:]],
}


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused_in_little_memory(values: list[int]) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"."):
        decode(values, 4, 5)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.parametrize("size", [(0, 5), (1 << 20, 1 << 20), (-4, -5)])
def test_sizes_that_are_none(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="px"):
        decode(VECTOR, *size)


def test_random_bytes_decode_or_are_refused() -> None:
    random = np.random.default_rng(0)
    decoded = 0
    for _ in range(3000):
        values = [0, 0, 0, 6 * CHANNELS, *random.integers(0, 256, 80).tolist()]
        try:
            assert decode(values, 2, 3).shape == (2, 3)
        except ValueError:
            continue
        decoded += 1
    assert decoded
