"""Images one after another are taken apart where each ends, whatever the format; nothing else is."""

import io
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.io.stream import split_images
from tests.support.photos import photo


def saved(kind: str, seed: int, **options: Any) -> bytes:
    stream = io.BytesIO()
    mode = {"PBM": "1", "PGM": "L"}.get(kind, "RGB")
    image = Image.fromarray(photo(30, 41, seed)).convert(mode)
    image.save(stream, "PPM" if kind in ("PBM", "PGM") else kind, **options)
    return stream.getvalue()


KINDS: dict[str, dict[str, Any]] = {
    "png": {},
    "jpeg": {},
    "progressive jpeg": {"progressive": True},
    "restarted jpeg": {"restart_marker_blocks": 2},
    "gif": {},
    "webp": {},
    "bmp": {},
    "ppm": {},
    "pgm": {},
    "pbm": {},
    "jpeg2000": {},
    "avif": {},
    "mpo": {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]},
}


def of_kind(kind: str, seed: int) -> bytes:
    return saved(kind.rpartition(" ")[2].upper(), seed, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_kind_are_taken_apart(kind: str) -> None:
    images = [of_kind(kind, seed) for seed in range(3)]
    assert split_images(b"".join(images)) == images


def test_kinds_after_one_another() -> None:
    for pair in permutations(KINDS, 2):
        images = [of_kind(kind, 0) for kind in pair]
        assert split_images(b"".join(images)) == images, pair


def test_ppm_of_other_programs() -> None:
    images = [b"P6 # a comment\n2 1\n65535\n" + bytes(12), b"P6\n2 1\n255\n" + bytes(6), b"P4\n9 1\n\xff\x80"]
    assert split_images(b"".join(images)) == images


@pytest.mark.parametrize(
    "behind",
    [b"", b"\0" * 9, b"no image", b"\xff\xd8 is how a JPEG begins"],
    ids=["", "zeros", "text", "SOI"],
)
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_what_follows_and_is_no_image_stays_with_it(kind: str, behind: bytes) -> None:
    image = of_kind(kind, 0) + behind
    assert split_images(image) == [image]


def test_a_tiff_is_not_taken_apart() -> None:
    """Its parts lie anywhere: an image behind it may be one of them."""
    stream = saved("TIFF", 0) + of_kind("png", 1)
    assert split_images(stream) == [stream]


@pytest.mark.parametrize("kind", KINDS)
def test_broken_images_are_never_an_error_and_lose_nothing(kind: str) -> None:
    whole = of_kind(kind, 0) + of_kind("png", 1)
    random = np.random.default_rng(0)
    for end in random.integers(0, len(whole), 60):
        assert b"".join(split_images(whole[:end])) == whole[:end]
    for place in random.integers(0, len(whole), 60):
        spoilt = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        assert b"".join(split_images(spoilt)) == spoilt


def test_nothing_is_one_empty_image() -> None:
    assert split_images(b"") == [b""]
