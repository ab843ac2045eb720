"""Whatever the bytes are, reading a photo gives RGB or one line, in bounded time and memory."""

import faulthandler
import io
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.cli.console import printable
from cratecli.errors import InputError
from cratecli.io import images
from tests.support import broken
from tests.support.memory import peak_memory
from tests.support.mutate import mutate

PATIENCE = 20  # seconds for one input
MAX_PIXELS = 1_000_000
MEMORY = 500_000  # KiB, for the whole process
FUZZ = os.environ.get("CRATE_FUZZ", "50000")  # here, since tests run without our variables


@cache
def seeds() -> dict[str, bytes]:
    """Give small photos in every format, flavour and mode that is read, with all that may hang on them."""
    image = broken.photo(24, 18)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    extras = {"exif": exif, "icc_profile": broken.swapped_profile()}
    made = {kind: broken.encoded(image, kind) for kind in broken.KINDS}
    made |= {
        f"extras.{kind}": broken.encoded(image, kind, **extras)
        for kind in ("jpg", "png", "webp", "tif", "avif")
    }
    made |= {f"several.{kind}": broken.animation(kind) for kind in ("gif", "webp", "png", "tif", "avif")}
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        made[f"{mode}.png"] = broken.encoded(
            image.convert("L" if mode == "I;16" else mode).convert(mode), "png"
        )
    for mode in ("CMYK", "LAB", "F", "I;16", "YCbCr"):
        grey = image.convert("L").convert("I").convert(mode) if mode in ("F", "I;16") else None
        if mode == "LAB":
            grey = Image.merge("LAB", image.split())
        made[f"{mode}.tif"] = broken.encoded(grey or image.convert(mode), "tif")
    made["cmyk.jpg"] = broken.encoded(image.convert("CMYK"), "jpg")
    made |= {"mpo.jpg": broken.mpo(), "early.tif": broken.early_tiff()}
    try:
        import pillow_heif
    except ImportError:
        return made
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream)
    return made | {"heic": stream.getvalue()}


def fuzz(first: int, count: int) -> None:
    """Read `count` spoilt photos, each known by its number; a process of its own, since C may crash it.

    Writes the numbers as they are begun, and last the most memory it took, in KiB.
    """
    faulthandler.enable()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    good = list(seeds().values())
    for number in range(first, first + count):
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        read_or_refuse(spoilt(number, good))
    faulthandler.cancel_dump_traceback_later()
    sys.stdout.write(f"{peak_memory()}\n")


def spoilt(number: int, good: list[bytes]) -> bytes:
    """Make the spoilt photo of a number; of PNGs, half get right sums again, or none would reach what they guard."""
    random = np.random.default_rng(number)
    content = mutate(good[number % len(good)], random)
    return summed_again(content) if random.random() < 0.5 else content


def summed_again(content: bytes) -> bytes:
    """Write the checksums of a PNG's chunks anew, as far as its chunks can be followed."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    again, rest = content[:8], content[8:]
    while len(rest) >= 12 and (length := int.from_bytes(rest[:4], "big")) <= len(rest) - 12:
        again += broken.chunk(rest[4:8], rest[8 : 8 + length])
        rest = rest[12 + length :]
    return again + rest


def read_or_refuse(content: bytes) -> bool:
    """Check the property: RGB, or one line that can be printed."""
    try:
        rgb = images.decode(content, "photo", max_pixels=MAX_PIXELS).rgb
    except InputError as error:
        assert str(error).startswith("photo: ")
        assert "\n" not in str(error)
        assert printable(str(error)).isprintable()
        return False
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    assert 0 < rgb.shape[0] * rgb.shape[1] <= MAX_PIXELS
    return True


def run(first: int, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(first), str(count)],
        cwd=Path(broken.__file__).parents[2],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    *numbers, last = done.stdout.splitlines()
    assert done.returncode == 0, f"number {last}: {done.stderr[-3000:]}"
    assert len(numbers) == count
    assert int(last) < MEMORY


@pytest.mark.parametrize("name", seeds())
def test_what_is_spoilt_was_good(name: str) -> None:
    assert read_or_refuse(seeds()[name])


def test_some_spoilt_photos() -> None:
    run(0, 600)


@pytest.mark.slow
def test_many_spoilt_photos() -> None:
    """As many as `CRATE_FUZZ` says."""
    run(1_000_000, int(FUZZ))


if __name__ == "__main__":
    fuzz(int(sys.argv[1]), int(sys.argv[2]))
