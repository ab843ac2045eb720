"""Write and read CVAT's "Segmentation mask 1.1": a zip of indexed PNG files in PASCAL VOC's folders.

`SegmentationClass` holds each pixel's class, `SegmentationObject` the number of its object. Where objects overlap, a
pixel belongs to the first.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np

from cratecli.errors import InputError
from cratecli.io.formats.indexed import VOID, decode_labels, encode_labels, paint, voc_palette
from cratecli.io.formats.names import stems
from cratecli.io.formats.record import Annotated, AnnotatedPhotos, Annotation, annotate, classes

CLASSES, OBJECTS = "SegmentationClass", "SegmentationObject"
LIST, LABELMAP = "ImageSets/Segmentation/default.txt", "labelmap.txt"
GROUND = "background"  # the label of index 0
_LARGEST = 1 << 28  # bytes of an unpacked member


def write(photos: AnnotatedPhotos, stream: BinaryIO) -> None:
    """Write the zip, photo by photo.

    Raises `InputError` for more than 254 classes, or objects in one photo, and for a class that is called as CVAT calls
    what is no object.
    """
    names = classes(photos)
    if len(names) >= VOID:
        raise InputError(f"{len(names)} classes are more than an indexed PNG holds ({VOID - 1})")
    if GROUND in names:
        raise InputError(
            f"{GROUND} is CVAT's own: call the class otherwise with --label, or take cvat-images"
        )
    files = stems([photo.name for photo in photos])
    with ZipFile(stream, "w") as archive:
        for photo, file in zip(photos, files, strict=True):
            kinds = [names.index(each.label) + 1 for each in photo.objects]
            numbers = paint(photo, range(1, 1 + len(kinds)))
            _add(archive, f"{CLASSES}/{file}.png", encode_labels(np.array([0, *kinds])[numbers]))
            _add(archive, f"{OBJECTS}/{file}.png", encode_labels(numbers.astype(np.int64)))
        _add(archive, LIST, "".join(f"{file}\n" for file in files).encode())
        _add(archive, LABELMAP, _labelmap(names).encode())


def read(stream: BinaryIO) -> Iterator[Annotated]:
    """Read the zip, photo by photo; names have no extension. Raises `ValueError` for anything else."""
    try:
        with ZipFile(stream) as archive:
            labels = _read_labelmap(_content(archive, LABELMAP).decode())
            for file in _content(archive, LIST).decode().split("\n")[:-1]:
                kinds = decode_labels(_content(archive, f"{CLASSES}/{file}.png"))
                numbers = decode_labels(_content(archive, f"{OBJECTS}/{file}.png"))
                if kinds.shape != numbers.shape:
                    raise ValueError(f"{file}: classes and objects are not of one size")
                height, width = kinds.shape
                yield Annotated(file, height, width, _objects(kinds, numbers, labels))
    except (BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
        raise ValueError(f"not a zip of masks: {error}") from None


def _objects(kinds: np.ndarray, numbers: np.ndarray, labels: Mapping[int, str]) -> Sequence[Annotation]:
    present = np.flatnonzero(np.bincount(numbers.ravel()))
    masks = [numbers == number for number in present if number]
    return [annotate(mask, 1.0, labels[int(kinds[mask][0])]) for mask in masks]


def _labelmap(names: Sequence[str]) -> str:
    """Write one line for each index: label, colour and two empty fields."""
    colours = voc_palette().tolist()
    rows = enumerate([GROUND, *(_quoted(name) for name in names)])
    lines = [f"{name}:{','.join(map(str, colours[index]))}::\n" for index, name in rows]
    return "# label:color_rgb:parts:actions\n" + "".join(lines)


def _quoted(name: str) -> str:
    """Escape what ends a field, a first `#`, which begins a comment, and what would be taken for an escape."""
    return re.sub(r"%(?=[0-9A-Fa-f]{2})|:|^#", lambda found: f"%{ord(found[0]):02X}", name)


def _read_labelmap(text: str) -> dict[int, str]:
    """Read the label of each index, which its colour identifies."""
    indices = {tuple(colour): index for index, colour in enumerate(voc_palette().tolist())}
    lines = [line.split(":") for line in text.split("\n") if line and not line.startswith("#")]
    return {indices[tuple(map(int, colour.split(",")))]: unquote(name) for name, colour, *_ in lines}


def _add(archive: ZipFile, name: str, content: bytes) -> None:
    info = ZipInfo(name)  # dated 1980, so that the same objects give the same bytes
    info.external_attr = 0o644 << 16  # a file that its owner may write, as unzip reads it
    archive.writestr(info, content)


def _content(archive: ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _LARGEST:
        raise ValueError(f"{name} is too large")
    return archive.read(name)
