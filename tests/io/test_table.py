"""Every format of the table: what it holds comes back, and mutated files raise `ValueError` or are read."""

import io
from collections.abc import Iterable

import numpy as np
import pytest

from cratecli.io.formats import FormatName
from cratecli.io.formats.compare import agreement
from cratecli.io.formats.record import Annotated, classes
from cratecli.io.formats.table import FORMATS, OneFile
from cratecli.io.images import Decoded
from tests.support.annotations import MET, PHOTOS

ALL = [*PHOTOS, MET]
READ = [name for name, form in FORMATS.items() if isinstance(form, OneFile) or form.decode]


def black(photo: Annotated) -> Decoded:
    return Decoded(np.zeros((photo.height, photo.width, 3), np.uint8))


def encoded(kind: str, photos: list[Annotated]) -> list[bytes]:
    """Write photos as a format does: one file, or a file each."""
    form = FORMATS[kind]
    if isinstance(form, OneFile):
        stream = io.BytesIO()
        form.write(photos, {"description": "how"}, stream)
        return [stream.getvalue()]
    names = classes(photos)
    return [form.encode(photo, names, lambda photo=photo: black(photo)) for photo in photos]  # type: ignore[misc]


def decoded(kind: str, contents: Iterable[bytes], photos: list[Annotated]) -> list[Annotated]:
    form = FORMATS[kind]
    if isinstance(form, OneFile):
        (content,) = contents
        return list(form.read(io.BytesIO(content), photos))
    assert form.decode is not None
    names = classes(photos)
    return [form.decode(each, photo, names) for each, photo in zip(contents, photos, strict=True)]


def test_every_name_has_a_format() -> None:
    assert list(FORMATS) == list(FormatName)


@pytest.mark.parametrize("kind", READ)
def test_what_a_format_holds_comes_back(kind: str) -> None:
    form, back = FORMATS[kind], decoded(kind, encoded(kind, ALL), ALL)
    for photo, found in zip(ALL, back, strict=True):
        assert (found.height, found.width) == (photo.height, photo.width)
        if form.held is not None:
            assert agreement(form.held(photo), found) == 1
        if photo is not MET and form.held is not None:
            assert agreement(form.seen(photo), found) == 1


@pytest.mark.parametrize("kind", READ)
def test_the_same_photos_are_the_same_bytes(kind: str) -> None:
    assert encoded(kind, ALL) == encoded(kind, ALL)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Change a few bytes, or leave out, repeat or cut off a piece."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(len(changed)))
        match random.integers(5):
            case 0:
                changed[place] = random.integers(256)
            case 1:
                changed[place] = int(random.choice(list(b'0123456789[]{}"<>&,.-: \n')))
            case 2:
                del changed[place : place + int(random.integers(1, 30))]
            case 3:
                changed[place:place] = changed[place : place + int(random.integers(1, 30))]
            case _:
                del changed[max(1, place) :]
        changed = changed or bytearray(b"0")
    return bytes(changed)


@pytest.mark.parametrize("kind", READ)
def test_mutated_files_are_refused_or_read(kind: str) -> None:
    """Whatever else a decoder raised would end an export with a traceback."""
    random = np.random.default_rng(0)
    photos = [PHOTOS[2], PHOTOS[-1]] if isinstance(FORMATS[kind], OneFile) else [PHOTOS[2]]
    (content,) = encoded(kind, photos)
    refused = 0
    for _ in range(400):
        try:
            decoded(kind, [mutated(content, random)], photos)
        except ValueError:
            refused += 1
    assert refused
