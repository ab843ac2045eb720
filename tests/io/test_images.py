"""Photos come in by their content, whole, from files and memory, and onto a patch grid."""

import gc
import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.geometry import Grid
from cratecli.io import images
from tests.support import broken

PIXELS = np.asarray(broken.photo())
PNG = broken.encoded(broken.photo(), "png")


@pytest.mark.parametrize(
    "name", ["photo.png", "photo.jpg", "photo", "photo.txt", "PHOTO.TIFF", ".hidden", "photo.mp4"]
)
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PNG)
    np.testing.assert_array_equal(images.read(tmp_path / name), PIXELS)


@pytest.mark.parametrize(
    "name", [b"-rf.png", b"a\nb.png", b"[red].png", b"\x1b[31m.png", b"\xff.png", b"a" * 250 + b".png"]
)
def test_any_name_that_can_be_written_can_be_read(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(PNG)
    np.testing.assert_array_equal(images.read(path), PIXELS)


def test_bytes_are_read_like_a_file() -> None:
    np.testing.assert_array_equal(images.read_bytes(PNG, "stdin"), PIXELS)
    with pytest.raises(InputError, match=r"^stdin: empty$"):
        images.read_bytes(b"", "stdin")
    with pytest.raises(InputError, match=r"^stdin: cannot be read as an image"):
        images.read_bytes(PNG[:-30], "stdin")


def test_a_pillow_image_is_taken_as_a_file_is() -> None:
    np.testing.assert_array_equal(images.as_rgb(broken.photo()), PIXELS)
    cut = broken.cut()["cut90-whole.jpg"]
    with Image.open(io.BytesIO(cut)) as lazy, pytest.raises(InputError, match=r"^the image: cannot be read"):
        images.as_rgb(lazy)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif", "avif"])
def test_of_several_pictures_the_first_is_read_and_it_is_said(kind: str) -> None:
    got = images.decode(broken.animation(kind), "photo")
    red, green, blue = got.rgb[15, 20].tolist()
    assert (red > 240, green < 15, blue < 15) == (True, True, True)
    assert got.notes == ("photo: holds several pictures; the first is used",)
    assert images.decode(broken.encoded(broken.photo(), kind), "photo").notes == ()


def test_what_a_phone_puts_behind_its_photo_is_not_spoken_of() -> None:
    got = images.decode(broken.mpo(), "photo")
    assert got.notes == ()
    assert np.abs(got.rgb.astype(float) - PIXELS).mean() < 12


def test_a_broken_second_picture_leaves_the_first() -> None:
    for kind in ("gif", "tif"):
        got = images.decode(broken.animation(kind)[:-20], "photo")
        assert got.rgb[15, 20].tolist() == [255, 0, 0]


def test_what_is_no_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "here.jpg").symlink_to(".")
    reasons = {
        "gone.jpg": "no such file",
        "folder.jpg": "a folder, not a file",
        "here.jpg": "a folder, not a file",
        "pipe.jpg": "not a regular file",
        "zero.jpg": "not a regular file",
        "dangling.jpg": "a broken link",
        "loop.jpg": "a broken link",
        "a" * 300: "cannot be read: File name too long",
    }
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.jpg"))
        for name, reason in (reasons | {"s.jpg": "not a regular file"}).items():
            with pytest.raises(InputError) as caught:
                images.read(tmp_path / name)
            assert str(caught.value) == f"{tmp_path / name}: {reason}"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root reads what it likes, and Windows has other rights",
)
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    path.chmod(0)
    with pytest.raises(InputError, match=r"photo\.png: cannot be read: Permission denied"):
        images.read(path)


def test_a_file_too_large_to_be_a_photo_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    path.touch()
    os.truncate(path, 100_000_000_000)
    with pytest.raises(InputError, match="100,000,000,000 bytes are more than 89,478,485 pixels need"):
        images.read(path)


def test_reading_closes_the_file(tmp_path: Path) -> None:
    """Warnings are errors here: an unclosed file would be one."""
    for name, content in {**broken.whole(), **broken.cut()}.items():
        (tmp_path / name).write_bytes(content)
        try:
            images.read(tmp_path / name)
        except InputError:
            continue
    gc.collect()


def test_fit_keeps_rows_rows() -> None:
    """An image whose red is its row's index and green its column's, on a grid that is not square."""
    rows, cols = np.mgrid[0:48, 0:32].astype(np.uint8)
    photo = np.dstack([rows * 5, cols * 7, np.full_like(rows, 60)])
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    fitted = images.fit(photo, Grid(12, 8), 2, mean, std)
    assert fitted.shape == (3, 24, 16)
    assert fitted.dtype == np.float32
    back = fitted * np.reshape(std, (3, 1, 1)) + np.reshape(mean, (3, 1, 1))
    inside = slice(2, -2)  # the rim sees no further pixels
    expected_rows = (np.arange(24) * 2 + 0.5) * 5 / 255
    expected_cols = (np.arange(16) * 2 + 0.5) * 7 / 255
    np.testing.assert_allclose(
        back[0, inside], np.broadcast_to(expected_rows[inside, None], (20, 16)), atol=0.01
    )
    np.testing.assert_allclose(
        back[1, :, inside], np.broadcast_to(expected_cols[None, inside], (24, 12)), atol=0.01
    )
    np.testing.assert_allclose(back[2], 60 / 255, atol=1e-6)


def test_fit_at_the_native_size_is_exact() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    fitted = images.fit(photo, Grid(2, 3), 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(np.round(fitted * 255).astype(np.uint8), photo.transpose(2, 0, 1))
