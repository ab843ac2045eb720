"""The table of export formats: how each is encoded and decoded, and which part of a photo's objects it can hold."""

# ruff: noqa: ARG005 - an encoder or decoder uses those of its arguments that it needs

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from cratecli.arrays import Mask
from cratecli.io.formats import (
    FormatName,
    coco,
    cvat_images,
    cvat_masks,
    indexed,
    label_studio,
    npz,
    parquet,
    png,
    webdataset,
    yolo,
)
from cratecli.io.formats.compare import Projection, apart, by_class, classes_apart, united, whole
from cratecli.io.formats.record import Annotated, AnnotatedPhotos, annotate
from cratecli.io.images import Decoded

Info = Mapping[str, Any]
"""Provenance of a run, for formats that have room for it; `description` is one line of text."""

ReadPhoto = Callable[[], Decoded]
"""Reads the photo again, for formats that show it."""


@dataclass(frozen=True)
class Beside:
    """Describes a companion file with the classes, such as YOLO's `data.yaml`.

    `name` is its file name in the output folder; beside one file, `STEM.json`, it is `STEM.{name}`.
    """

    name: str
    encode: Callable[[Sequence[str]], bytes]


@dataclass(frozen=True)
class OneFile:
    """Describes a format that holds all photos in one file with the extension `ending`, without a dot.

    `write` takes objects of at least one pixel, photo names as `names.safe` returns them and labels as
    `names.plain` does. `read` yields the photos in their order; it also gets the photos that were written, for
    names and sizes that the file does not hold. It raises `ValueError` for anything but such a file.
    `held` projects a photo onto what must be decoded exactly; a format without it is an approximation. `seen` projects
    onto what the IoU is measured with. Photos stand in the order of their names, or, for a tool in which people review
    them one after the other, with the `doubtful_first`.
    """

    ending: str
    write: Callable[[AnnotatedPhotos, Info, BinaryIO], object]
    read: Callable[[BinaryIO, AnnotatedPhotos], Iterable[Annotated]]
    held: Projection | None = whole
    seen: Projection = whole
    beside: Beside | None = None
    doubtful_first: bool = False


@dataclass(frozen=True)
class FileEach:
    """Describes a format that has one file for each photo, in `folder`; see `OneFile` for what they share.

    `encode` and `decode` get the class names of all photos; `decode` gets the photo without its objects, for name
    and size. A format without `decode` is a picture that cannot be decoded to masks; one without `held` is an
    approximation. A format whose tool looks for photos in the folder `photos` beside `folder`, and reads those with
    the `endings`, names its files after the photos, others after the run's outputs.
    """

    ending: str
    encode: Callable[[Annotated, Sequence[str], ReadPhoto], bytes]
    decode: Callable[[bytes, Annotated, Sequence[str]], Annotated] | None
    held: Projection | None = whole
    seen: Projection = whole
    beside: Beside | None = None
    folder: str = ""
    photos: str = ""
    endings: frozenset[str] = frozenset()


Format = OneFile | FileEach


def _one_mask(photo: Annotated, mask: Mask) -> Annotated:
    height, width = mask.shape
    return Annotated(photo.name, height, width, [annotate(mask, 1.0)] if mask.any() else [])


def _cutout(photo: Decoded, mask: Mask) -> bytes:
    return png.encode_cutout(photo.rgb, mask, rgba=photo.rgba)


def _lines(names: Sequence[str]) -> bytes:
    """Write the class names of an indexed PNG, one line for each index from 0."""
    return "\n".join(["background", *names, ""]).encode()


def coco_format(kind: FormatName, ids: coco.Ids | None, *, polygons: bool) -> OneFile:
    """Give COCO's data set or results with the ids of another file, or with polygons in place of RLE."""
    if kind is FormatName.COCO:
        return OneFile(
            "json",
            lambda photos, info, stream: stream.write(coco.dataset(photos, info, ids, polygons=polygons)),
            lambda stream, photos: coco.read_dataset(stream.read()),
            held=None if polygons else whole,
        )
    return OneFile(
        "json",
        lambda photos, info, stream: stream.write(coco.results(photos, ids)),
        lambda stream, photos: coco.read_results(stream.read(), photos, ids),
    )


def label_studio_format(prefix: str) -> OneFile:
    """Give Label Studio's tasks, with the path from its document root to the photos' folder."""
    return OneFile(
        "json",
        lambda photos, info, stream: label_studio.write(photos, str(info["description"]), stream, prefix),
        lambda stream, photos: label_studio.read(stream),
        beside=Beside("labelling.xml", label_studio.labelling),
        doubtful_first=True,
    )


FORMATS: dict[str, Format] = {
    FormatName.MASK: FileEach(
        "png",
        lambda photo, names, read: png.encode_mask(photo.mask),
        lambda content, photo, names: _one_mask(photo, png.decode_mask(content)),
        held=united,
        seen=united,
    ),
    FormatName.LABELS: FileEach(
        "png",
        lambda photo, names, read: indexed.encode_classes(photo, names),
        lambda content, photo, names: indexed.decode_classes(content, photo.name, names),
        held=classes_apart,
        seen=by_class,
        beside=Beside("labels.txt", _lines),
    ),
    FormatName.CUTOUT: FileEach(
        "png",
        lambda photo, names, read: _cutout(read(), photo.mask),
        lambda content, photo, names: _one_mask(photo, png.decode_cutout(content)),
        held=united,
        seen=united,
    ),
    FormatName.OVERLAY: FileEach(
        "png",
        lambda photo, names, read: png.encode_rgb(png.overlay(read().rgb, photo.mask)),
        None,
        held=None,
    ),
    FormatName.COCO: coco_format(FormatName.COCO, None, polygons=False),
    FormatName.COCO_RESULTS: coco_format(FormatName.COCO_RESULTS, None, polygons=False),
    FormatName.YOLO: FileEach(
        "txt",
        lambda photo, names, read: yolo.encode(photo, names),
        yolo.decode,
        held=None,
        beside=Beside("data.yaml", yolo.data_yaml),
        folder="labels",
        photos="images",
        endings=yolo.READ,
    ),
    FormatName.CVAT_MASKS: OneFile(
        "zip",
        lambda photos, info, stream: cvat_masks.write(photos, stream),
        lambda stream, photos: cvat_masks.read(stream),
        held=apart,
    ),
    FormatName.CVAT_IMAGES: OneFile(
        "xml",
        lambda photos, info, stream: cvat_images.write(photos, stream),
        lambda stream, photos: cvat_images.read(stream),
    ),
    FormatName.LABEL_STUDIO: label_studio_format(""),
    FormatName.NPZ: FileEach(
        "npz",
        lambda photo, names, read: npz.encode(photo),
        lambda content, photo, names: npz.decode(content, photo.name),
    ),
    FormatName.PARQUET: OneFile("parquet", parquet.write, lambda stream, photos: parquet.read(stream)),
    FormatName.WEBDATASET: OneFile("tar", webdataset.write, lambda stream, photos: webdataset.read(stream)),
}
