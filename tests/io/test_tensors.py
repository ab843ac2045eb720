"""Named arrays come back as they were, with their provenance, and without pickle."""

import io
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from cratecli.io.formats import ARRAY_ENDINGS, ArrayEnding, array_ending_of
from cratecli.io.formats.tensors import embedded_text, encode, is_tensors

ARRAYS = {
    "attention": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "inside": np.array([[True, False]]),
    "labels": np.zeros((3, 0), np.uint8),
}
TEXT = '{"command": "heads", "input": "caf\\u00e9.jpg"}'


@pytest.mark.parametrize("ending", ARRAY_ENDINGS)
def test_arrays_come_back(ending: ArrayEnding) -> None:
    content = encode(ARRAYS, ending, TEXT)
    assert encode(ARRAYS, ending, TEXT) == content
    assert is_tensors(content[:64])
    assert embedded_text(content) == TEXT
    assert embedded_text(encode(ARRAYS, ending, None)) is None
    back = (
        load(content) if ending == "safetensors" else dict(np.load(io.BytesIO(content), allow_pickle=False))
    )
    assert set(back) - {"crate"} == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize("ending", ARRAY_ENDINGS)
def test_damaged_arrays_are_a_value_error_or_say_something_else(ending: ArrayEnding) -> None:
    content = encode(ARRAYS, ending, TEXT)
    flipped = [
        content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in range(2, len(content), 5)
    ]
    for each in [*flipped, *(content[:at] for at in range(2, len(content), 5))]:
        try:
            text = embedded_text(each)
        except ValueError:
            continue
        assert text is None or isinstance(text, str)


def test_a_pickle_inside_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", crate=np.array([{"command": "heads"}], object))
    assert embedded_text((tmp_path / "x.npz").read_bytes()) is None


def test_endings() -> None:
    assert [array_ending_of(name) for name in ("a.npz", "b/A.SafeTensors", "npz", "a.png", "a.npz/")] == [
        *("npz", "safetensors", None, None, None)
    ]
