"""Every hand-off format by its name: how it is written, read back, and what it can hold."""

# ruff: noqa: ARG005 - a format takes what it needs of what all are given

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from jaxtyping import Bool
from numpy import ndarray

from cratecli.arrays import RGB
from cratecli.io.formats import coco, cvat_images, cvat_masks, indexed, label_studio, npz, png, yolo
from cratecli.io.formats.compare import Projection, apart, by_class, classes_apart, united, whole
from cratecli.io.formats.record import Annotated, AnnotatedPhotos, annotate

Info = Mapping[str, Any]
"""How a run was made, for formats with a place for it; `description` says it in one line."""

Look = Callable[[], RGB]
"""Reads the photo, upright, for formats that show it."""


@dataclass(frozen=True)
class Beside:
    """A file that goes with a format: its name, or its ending beside the one file; the classes by name."""

    name: str
    encode: Callable[[Sequence[str]], bytes]


@dataclass(frozen=True)
class OneFile:
    """A format that has all photos in one file, which ends with `ending`.

    `read` gives the photos in their order; it is given those that were written, for what a file leaves to others.
    `held` is what must come back of a photo, `seen` what the IoU is measured with.
    Objects have at least a pixel, names are as `names.safe` gives them, labels as `names.plain`.
    """

    ending: str
    write: Callable[[AnnotatedPhotos, Info, BinaryIO], object]
    read: Callable[[BinaryIO, AnnotatedPhotos], Iterable[Annotated]]
    held: Projection = whole
    seen: Projection = whole
    beside: Beside | None = None


@dataclass(frozen=True)
class FileEach:
    """A format that has a file a photo, in `folder`; all else as in `OneFile`.

    The classes of all photos are given by name; `decode` is given the photo, for its name and size. Without `decode`
    it is only to look at, without `held` an approximation. `by_photo` names files after photos, not after the run's
    outputs.
    """

    ending: str
    encode: Callable[[Annotated, Sequence[str], Look], bytes]
    decode: Callable[[bytes, Annotated, Sequence[str]], Annotated] | None
    held: Projection | None = whole
    seen: Projection = whole
    beside: Beside | None = None
    folder: str = ""
    by_photo: bool = False


Format = OneFile | FileEach


def _one_mask(photo: Annotated, mask: Bool[ndarray, "height width"]) -> Annotated:
    height, width = mask.shape
    return Annotated(photo.name, height, width, [annotate(mask, 1.0)] if mask.any() else [])


def _lines(names: Sequence[str]) -> bytes:
    """Name each index of an indexed PNG, from 0 on, a line each."""
    return "\n".join(["background", *names, ""]).encode()


FORMATS: dict[str, Format] = {
    "mask": FileEach(
        "png",
        lambda photo, names, look: png.encode_mask(photo.mask),
        lambda content, photo, names: _one_mask(photo, png.decode_mask(content)),
        held=united,
        seen=united,
    ),
    "labels": FileEach(
        "png",
        lambda photo, names, look: indexed.encode_classes(photo, names),
        lambda content, photo, names: indexed.decode_classes(content, photo.name, names),
        held=classes_apart,
        seen=by_class,
        beside=Beside("labels.txt", _lines),
    ),
    "cutout": FileEach(
        "png",
        lambda photo, names, look: png.encode_cutout(look(), photo.mask),
        lambda content, photo, names: _one_mask(photo, png.decode_cutout(content)),
        held=united,
        seen=united,
    ),
    "overlay": FileEach(
        "png",
        lambda photo, names, look: png.encode_rgb(png.overlay(look(), photo.mask)),
        None,
        held=None,
    ),
    "coco": OneFile(
        "json",
        lambda photos, info, stream: stream.write(coco.dataset(photos, info)),
        lambda stream, photos: coco.read_dataset(stream.read()),
    ),
    "coco-results": OneFile(
        "json",
        lambda photos, info, stream: stream.write(coco.results(photos)),
        lambda stream, photos: coco.read_results(stream.read(), photos),
    ),
    "yolo": FileEach(
        "txt",
        lambda photo, names, look: yolo.encode(photo, names),
        yolo.decode,
        held=None,
        beside=Beside("data.yaml", yolo.data_yaml),
        folder="labels",
        by_photo=True,
    ),
    "cvat-masks": OneFile(
        "zip",
        lambda photos, info, stream: cvat_masks.write(photos, stream),
        lambda stream, photos: cvat_masks.read(stream),
        held=apart,
    ),
    "cvat-images": OneFile(
        "xml",
        lambda photos, info, stream: cvat_images.write(photos, stream),
        lambda stream, photos: cvat_images.read(stream),
    ),
    "label-studio": OneFile(
        "json",
        lambda photos, info, stream: label_studio.write(photos, str(info["description"]), stream),
        lambda stream, photos: label_studio.read(stream),
        beside=Beside("labelling.xml", label_studio.labelling),
    ),
    "npz": FileEach(
        "npz",
        lambda photo, names, look: npz.encode(photo),
        lambda content, photo, names: npz.decode(content, photo.name),
    ),
}
