"""Write and read "CVAT for images 1.1": an XML file with the run lengths of each object's mask, within its box."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from cratecli.arrays import Mask
from cratecli.io.formats.indexed import voc_palette
from cratecli.io.formats.record import Annotated, AnnotatedPhotos, Annotation, annotate, check_size, classes

_CHUNK = 1 << 16  # bytes


def write(photos: AnnotatedPhotos, stream: BinaryIO) -> None:
    """Write the XML file, photo by photo; labels have the colours of VOC's palette."""
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in voc_palette().tolist()]
    labels = "".join(
        f"<label><name>{escape(name)}</name><color>{colours[number % 256]}</color><type>mask</type>"
        "<attributes></attributes></label>\n"
        for number, name in enumerate(classes(photos), 1)
    )
    head = f"<version>1.1</version>\n<meta><task><labels>\n{labels}</labels></task></meta>"
    stream.write(f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{head}\n'.encode())
    for number, photo in enumerate(photos):
        size = f'width="{photo.width}" height="{photo.height}"'
        stream.write(f'<image id="{number}" name={quoteattr(photo.name)} {size}>\n'.encode())
        stream.writelines(_mask(each).encode() for each in photo.objects)
        stream.write(b"</image>\n")
    stream.write(b"</annotations>\n")


def _mask(each: Annotation) -> str:
    left, top, width, height = each.box
    runs = ", ".join(map(str, runs_of(each.mask[top : top + height, left : left + width])))
    return (
        f'<mask label={quoteattr(each.label)} source="auto" occluded="0" rle="{runs}" '
        f'left="{left}" top="{top}" width="{width}" height="{height}" z_order="0"></mask>\n'
    )


def runs_of(mask: Mask) -> list[int]:
    """Count the lengths of a mask's runs, row by row; the first run is background and may have length 0.

    >>> runs_of(np.array([[0, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]], bool))
    [1, 6, 1, 4]
    """
    pixels = np.concatenate([[False], mask.ravel(), [not mask.flat[-1]]])
    ends = np.flatnonzero(pixels[1:] != pixels[:-1])
    return [int(run) for run in np.diff(ends, prepend=0)]


def read(stream: BinaryIO) -> Iterator[Annotated]:
    """Read the XML file, photo by photo. Raises `ValueError` for anything else, and for a document type or entities."""
    reader = _Reader()
    try:
        while chunk := stream.read(_CHUNK):
            reader.parser.Parse(chunk, False)
            yield from reader.take()
        reader.parser.Parse(b"", True)
    except (ExpatError, KeyError, TypeError) as error:
        raise ValueError(f"not an XML of CVAT's: {error}") from None


class _Reader:
    """Collects annotated photos from the events of an XML parser."""

    def __init__(self) -> None:
        self.parser = ParserCreate("utf-8")  # whatever encoding the file declares
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self._photo: tuple[str, int, int] | None = None
        self._objects: list[Annotation] = []
        self._done: list[Annotated] = []

    def take(self) -> list[Annotated]:
        """Return the photos that have been read completely since the last call."""
        done, self._done = self._done, []
        return done

    def _start(self, name: str, given: Mapping[str, str]) -> None:
        if name == "image":
            height, width = check_size(int(given["height"]), int(given["width"]))
            self._photo, self._objects = (given["name"], height, width), []
        elif name == "mask" and self._photo is not None:
            self._objects.append(_read_mask(given, *self._photo[1:]))

    def _end(self, name: str) -> None:
        if name == "image" and self._photo is not None:
            self._done.append(Annotated(*self._photo, self._objects))
            self._photo = None


def _refuse(*_: object) -> None:
    raise ValueError("an XML with a document type is not read")


def _read_mask(given: Mapping[str, str], height: int, width: int) -> Annotation:
    left, top, cols, rows = (int(given[name]) for name in ("left", "top", "width", "height"))
    runs = [int(run) for run in given["rle"].split(",")]
    inside = 0 <= left < left + cols <= width and 0 <= top < top + rows <= height
    if not inside or min(runs) < 0 or sum(runs) != cols * rows:
        raise ValueError("a mask does not fill its box, or leaves its photo")
    mask = np.zeros((height, width), bool)
    mask[top : top + rows, left : left + cols] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(
        rows, cols
    )
    return annotate(mask, 1.0, given["label"])
