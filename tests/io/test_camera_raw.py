"""Camera raw is told by content, and refused with a hint, whatever thumbnail it holds."""

import io
import struct

import numpy as np
import pytest
from PIL import TiffImagePlugin

from cratecli.errors import InputError
from cratecli.io import images
from tests.support import broken


def thumbnail(**tags: object) -> bytes:
    """Write a TIFF that any reader shows, with further tags."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for code, value in tags.items():
        directory[int(code[1:])] = value
    stream = io.BytesIO()
    broken.photo().save(stream, "TIFF", tiffinfo=directory)
    return stream.getvalue()


def with_sensor(photometric: int) -> bytes:
    """Write a TIFF whose second directory, inside the first, is a sensor's."""
    content = thumbnail(t330=0)
    place = content.index(struct.pack("<HHI", 330, 4, 1)) + 8
    inside = struct.pack("<H", 1) + struct.pack("<HHIHH", 262, 3, 1, photometric, 0) + bytes(4)
    return content[:place] + struct.pack("<I", len(content)) + content[place + 4 :] + inside


FILES = {
    "DNG": thumbnail(t50706=b"\1\4\0\0"),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(400),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(400),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(400),
    "ORF": b"IIRO\x08\0\0\0" + bytes(400),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(400),
    "MRW": b"\0MRM" + bytes(400),
    "NEF, ARW": with_sensor(32803),
    "PEF": with_sensor(34892),
}


@pytest.mark.parametrize("kind", FILES)
def test_camera_raw_is_refused_with_a_hint(kind: str) -> None:
    with pytest.raises(InputError, match=rf"^photo: camera raw \(.*{kind}.*\): develop it first") as caught:
        images.decode(FILES[kind], "photo")
    assert "\n" not in str(caught.value)


def test_other_tiffs_are_none() -> None:
    for content in (thumbnail(), with_sensor(2), thumbnail(t271="NIKON CORPORATION")):
        np.testing.assert_array_equal(images.read_bytes(content, "photo"), np.asarray(broken.photo()))


def test_directories_that_lead_in_circles_end() -> None:
    content = bytearray(broken.encoded(broken.photo(), "tif"))
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    assert images.read_bytes(bytes(content), "photo").shape == (48, 64, 3)
    for end in range(0, len(content), 97):
        try:
            images.read_bytes(bytes(content[:end]), "photo")
        except InputError as error:
            assert "\n" not in str(error)


def test_a_photo_of_many_pages_is_no_raw() -> None:
    content = broken.animation("tif")
    assert images.decode(content, "photo").rgb.shape == (30, 40, 3)
    assert "first" in images.decode(content, "photo").notes[0]
