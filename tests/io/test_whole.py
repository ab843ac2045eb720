"""Whether a file is whole: at whatever byte a picture or an archive of arrays is cut, it is none."""

import io

import numpy as np
import pytest
from PIL import Image

from cratecli.io.formats import tensors
from cratecli.io.whole import is_whole


def picture(ending: str, mode: str = "L") -> bytes:
    stream = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(levels).convert(mode).save(stream, ending)
    return stream.getvalue()


WHOLE = {
    "png": picture("png"),
    "rgba": picture("png", "RGBA"),
    "webp": picture("webp"),
    "jpeg": picture("jpeg"),
    "npz": tensors.encode({"a": np.ones(3)}, "npz", "{}"),
    "safetensors": tensors.encode({"a": np.ones(3)}, "safetensors", "{}"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_cut_is_not_whole(name: str) -> None:
    content = WHOLE[name]
    assert is_whole(content)
    for kept in (len(content) // 10, len(content) // 2, len(content) - 20, len(content) - 1):
        assert not is_whole(content[:kept])


@pytest.mark.parametrize("content", [b"", b"painted over", b"{}", b"PK\x03\x04", b"\x10\0\0\0\0\0\0\0{"])
def test_what_is_no_picture_is_not_whole(content: bytes) -> None:
    assert not is_whole(content)


def test_a_picture_is_as_large_as_its_photo_may_be() -> None:
    assert not is_whole(WHOLE["png"], max_pixels=599)
    assert is_whole(WHOLE["png"], max_pixels=600)
