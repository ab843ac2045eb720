"""What is no photo, not a whole one, or too much of one, is one line, at once and in little memory."""

import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io import images, opening
from tests.support import broken
from tests.support.memory import STATUS


def refused(content: bytes, name: str = "photo", **options: Any) -> str:
    """Read what must not be read, and give the reason."""
    with pytest.raises(InputError) as caught:
        images.decode(content, name, **options)
    said = str(caught.value)
    assert said.startswith(f"{name}: ")
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", broken.whole())
def test_every_kind_is_read(name: str) -> None:
    got = images.read_bytes(broken.whole()[name], name)
    np.testing.assert_allclose(got, np.asarray(broken.photo()), atol=90)
    assert np.abs(got.astype(float) - np.asarray(broken.photo())).mean() < 12


def test_every_kind_that_is_allowed_is_tried() -> None:
    read = {opening.open_image(content, name).format for name, content in broken.whole().items()}
    assert read == {kind.format for kind in opening.ALLOWED} | {"MPO"}


@pytest.mark.parametrize("name", broken.not_photos())
def test_what_is_no_photo_is_one_line(name: str) -> None:
    said = refused(broken.not_photos()[name], name)
    assert "unpack" not in said


def test_what_stands_for_a_photo_is_called_what_it_is() -> None:
    files = broken.not_photos()
    assert "empty" in refused(files["empty.jpg"])
    assert "Git LFS pointer" in refused(files["lfs.png"])
    assert "HTML page" in refused(files["html.jpg"])
    assert refused(files["eps.png"]) == "photo: not an image of a known format"
    assert refused(files["magic.gif"]).endswith("its header is cut or broken")


@pytest.mark.parametrize("name", broken.cut())
def test_a_cut_photo_is_refused(name: str) -> None:
    """Every format, in every flavour, tells when it is cut at 25, 50 and 90 %; most of them at any byte."""
    refused(broken.cut()[name], name)


def test_the_last_bytes_hold_no_pixels() -> None:
    """A PNG without its end, a GIF without its trailer, and a JPEG that ends by its marker are taken as whole."""
    whole = broken.whole()
    for name in ("whole.png", "whole.gif"):
        np.testing.assert_array_equal(
            images.read_bytes(whole[name][:-1], name), images.read_bytes(whole[name], name)
        )
    cut = whole["whole.jpg"][: len(whole["whole.jpg"]) * 9 // 10] + b"\xff\xd9"
    assert images.read_bytes(cut, "photo").shape == (48, 64, 3)


@pytest.mark.parametrize("bits", [1, 5, 40])
def test_a_photo_with_turned_bits_is_read_or_refused(bits: int) -> None:
    for name, content in broken.flipped(bits).items():
        try:
            assert images.read_bytes(content, name).dtype == np.uint8
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", broken.bombs())
def test_a_bomb_is_refused(name: str) -> None:
    assert len(broken.bombs()[name]) < 1_000_000
    said = refused(broken.bombs()[name], name)
    assert "89,478,485 pixels; --max-pixels" in said or "too large" in said


@pytest.mark.skipif(not STATUS.exists(), reason="/proc tells the memory")
def test_bombs_take_little_memory() -> None:
    script = """
from cratecli.errors import InputError
from cratecli.io import images
from tests.support import broken
from tests.support.memory import peak_memory

bombs = broken.bombs()
before = peak_memory()
for name, content in bombs.items():
    try:
        images.decode(content, name)
        raise SystemExit(name)
    except InputError:
        pass
print(peak_memory() - before)
"""
    root = Path(broken.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) < 30_000  # KiB


def test_the_limit_is_the_callers() -> None:
    content = broken.encoded(broken.photo(), "png")
    assert images.read_bytes(content, "photo", max_pixels=64 * 48).shape == (48, 64, 3)
    assert "64 × 48 px, more than 3,071 pixels" in refused(content, max_pixels=64 * 48 - 1)


@pytest.mark.parametrize("kind", ["png", "tif", "lzw.tif", "bmp"])
def test_a_raised_limit_is_raised_beyond_pillows_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns from its limit and refuses from twice that; some of its readers ask while they decode."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(opening, "MAX_PIXELS", 1000)
    content = broken.encoded(broken.photo(), kind)
    refused(content, max_pixels=1000)
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert images.read_bytes(content, "photo", max_pixels=10_000).shape == (48, 64, 3)
    refused(content, max_pixels=1000)


def test_limits_of_threads_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(opening, "MAX_PIXELS", 1000)
    content = broken.encoded(broken.photo(), "tif")
    read: list[bool] = []

    def ask(limit: int) -> None:
        for _ in range(50):
            try:
                images.read_bytes(content, "photo", max_pixels=limit)
                read.append(limit >= 3072)
            except InputError:
                read.append(limit < 3072)

    threads = [threading.Thread(target=ask, args=(limit,)) for limit in (1000, 3071, 3072, 9999) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [True] * 400


@pytest.mark.parametrize("size", [(1, 33), (33, 1), (100_000, 1), (1, 60_000)])
def test_long_and_thin_is_refused(size: tuple[int, int]) -> None:
    content = broken.encoded(Image.new("RGB", size), "png")
    assert f"{size[0]} × {size[1]} px is too long and thin" in refused(content)
    with pytest.raises(InputError, match="too long and thin"):
        images.as_rgb(Image.new("RGB", size))
    with pytest.raises(InputError, match="too long and thin"):
        images.as_rgb(np.zeros((size[1], size[0], 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 32), (13, 13)])
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif"])
def test_small_is_read(kind: str, size: tuple[int, int]) -> None:
    assert images.read_bytes(broken.encoded(Image.new("RGB", size), kind), "photo").shape == (*size[::-1], 3)


# HEIC, by its extra


def heic(**options: Any) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(broken.photo()).save(stream, quality=95, **options)
    return stream.getvalue()


def test_heic_is_read_by_its_extra() -> None:
    got = images.read_bytes(heic(), "photo.heic")
    assert np.abs(got.astype(float) - np.asarray(broken.photo())).mean() < 12
    assert "HEIF" not in Image.OPEN


def test_heic_is_held_to_the_same_limits() -> None:
    content = heic()
    assert "more than 3,000 pixels" in refused(content, max_pixels=3000)
    huge = broken.patched(
        content, b"ispe", bytes(4) + (16_000).to_bytes(4, "big") * 2
    )  # shown is a crop of it
    assert "16000 × 16000 px, more than 89,478,485 pixels" in refused(huge)
    for percent in (25, 50, 90):
        refused(content[: len(content) * percent // 100])


def test_heic_comes_out_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    got = images.read_bytes(heic(exif=exif.tobytes()), "photo.heic")
    expected = np.rot90(np.asarray(broken.photo()), -1)
    assert got.shape == expected.shape
    assert np.abs(got.astype(float) - expected).mean() < 12


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
def test_without_the_extra_heic_is_a_hint(monkeypatch: pytest.MonkeyPatch, brand: bytes) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0\0\0\x08meta"
    assert refused(content) == "photo: HEIC needs an extra; run: pip install 'cratecli[heic]'"
