"""Sound pixels are shown whatever is wrong with the metadata of their PNG; what inflates without end is refused."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io import images, truth
from cratecli.io.formats import png
from cratecli.io.png_chunks import chunks, without_metadata
from tests.support import broken

PIXELS = np.asarray(broken.photo())
PNG = broken.encoded(broken.photo(), "png")
LARGE = zlib.compress(bytes(5_000_000))


def spoilt(kind: bytes, body: bytes) -> bytes:
    """Put in a chunk whose checksum is wrong."""
    whole = bytearray(broken.chunk(kind, body))
    whole[-1] ^= 1
    return PNG[:33] + bytes(whole) + PNG[33:]


ODD = {
    "large zTXt": broken.with_chunk(PNG, b"zTXt", b"Comment\0\0" + LARGE),
    "large iTXt": broken.with_chunk(PNG, b"iTXt", b"Comment\0\1\0en\0Comment\0" + LARGE),
    "large iCCP": broken.with_chunk(PNG, b"iCCP", b"profile\0\0" + LARGE),
    "unknown compression": broken.with_chunk(PNG, b"zTXt", b"Comment\0\7abc"),
    "unknown profile": broken.with_chunk(PNG, b"iCCP", b"profile\0\7abc"),
    "short iCCP": broken.with_chunk(PNG, b"iCCP", b"profile"),
    "short gAMA": broken.with_chunk(PNG, b"gAMA", b"\0"),
    "short pHYs": broken.with_chunk(PNG, b"pHYs", b"\0"),
    "short cHRM": broken.with_chunk(PNG, b"cHRM", b"\0\1\2"),
    "short sRGB": broken.with_chunk(PNG, b"sRGB", b""),
    "short acTL": broken.with_chunk(PNG, b"acTL", b""),
    "odd name": broken.with_chunk(PNG, b"\xffabc", b"abc"),
    "a text called transparency": broken.with_chunk(PNG, b"tEXt", b"transparency\0none"),
    "a text called icc_profile": broken.with_chunk(PNG, b"tEXt", b"icc_profile\0none"),
    "a text called exif": broken.with_chunk(PNG, b"tEXt", b"exif\0none"),
    "behind the pixels": PNG[:-12] + broken.chunk(b"zTXt", b"Comment\0\0" + LARGE) + PNG[-12:],
    **{
        f"checksum of {kind.decode()}": spoilt(kind, b"a\0b")
        for kind in (b"tEXt", b"tIME", b"eXIf", b"gAMA", b"abCd")
    },
}


@pytest.mark.parametrize("name", ODD)
def test_pixels_are_shown_without_the_metadata_that_is_broken(name: str) -> None:
    np.testing.assert_array_equal(images.read_bytes(ODD[name], "photo"), PIXELS)


@pytest.mark.parametrize(("kind", "text"), [(b"iTXt", b"Comment\0\0\0\0\0"), (b"tEXt", b"Comment\0")])
def test_pixels_are_shown_without_a_large_plain_text(kind: bytes, text: bytes) -> None:
    content = broken.with_chunk(PNG, kind, text + b"a" * 70_000_000)
    np.testing.assert_array_equal(images.read_bytes(content, "photo"), PIXELS)


def test_what_decides_pixels_is_kept() -> None:
    """Orientation, transparency and a sound profile hold beside a text that is too large."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = broken.encoded(broken.photo(), "png", exif=exif)
    text = b"Comment\0\0" + LARGE
    got = images.read_bytes(broken.with_chunk(turned, b"zTXt", text), "photo")
    np.testing.assert_array_equal(got, np.rot90(PIXELS, -1))
    for options in (
        {"icc_profile": broken.swapped_profile()},
        {"transparency": tuple(PIXELS[0, 0].tolist())},
    ):
        content = broken.encoded(broken.photo(), "png", **options)
        np.testing.assert_array_equal(
            images.read_bytes(broken.with_chunk(content, b"zTXt", text), "photo"),
            images.read_bytes(content, "photo"),
        )


def test_a_sound_file_is_left_as_it_is() -> None:
    assert without_metadata(PNG, "photo") == PNG
    assert without_metadata(b"no PNG", "photo") == b"no PNG"
    assert b"".join(bytes(each.whole) for each in chunks(PNG)) == PNG[8:]


def test_pixels_that_are_broken_are_refused_for_that() -> None:
    for content in (PNG[:-40], PNG.replace(b"IDAT", b"IDAU"), PNG[:20] + b"\xff" + PNG[21:]):
        odd = broken.with_chunk(content, b"gAMA", b"\0")
        with pytest.raises(InputError, match=r"^photo: [^\n]*$"):
            images.read_bytes(odd, "photo")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_metadata_that_is_a_bomb_is_refused(kind: bytes) -> None:
    start = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    bomb = broken.with_chunk(PNG, kind, start + zlib.compress(bytes(70_000_000), 1))
    with pytest.raises(InputError, match="the metadata inflates to more than 64 MiB: too large"):
        images.read_bytes(bomb, "photo")


def test_labels_and_masks_are_read_as_photos_are(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    stream = io.BytesIO()
    Image.fromarray(labels).save(stream, "PNG")
    content = broken.with_chunk(stream.getvalue(), b"zTXt", b"Comment\0\0" + LARGE)
    path.write_bytes(content)
    np.testing.assert_array_equal(truth.read_labels(path), labels)
    np.testing.assert_array_equal(png.read_png(content, "L"), labels)
