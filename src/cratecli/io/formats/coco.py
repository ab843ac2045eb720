"""Write and read COCO JSON: a data set of annotations, and the list of results that COCO's own tools score."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from cratecli.arrays import Mask
from cratecli.io.formats.record import (
    Annotated,
    AnnotatedPhotos,
    Annotation,
    annotate,
    check_size,
    classes,
    restore,
)


@dataclass(frozen=True)
class Ids:
    """The ids of images by photo name, and of categories by label."""

    images: Mapping[str, int]
    categories: Mapping[str, int]

    @staticmethod
    def counted(photos: AnnotatedPhotos) -> "Ids":
        """Number photos in their order, and labels as they are sorted, from 1."""
        numbers = {photo.name: number for number, photo in enumerate(photos, 1)}
        return Ids(numbers, {label: number for number, label in enumerate(classes(photos), 1)})

    @staticmethod
    def matched(content: bytes, photos: AnnotatedPhotos) -> "Ids":
        """Take the ids of a COCO data set whose file names are those of the photos, or end like them, or they like it.

        Raises `ValueError` for another file, and for a photo or label that is not in it.
        """
        try:
            whole = json.loads(content)
            entries = {str(each["file_name"]): each for each in whole["images"]}
            categories = {str(each["name"]): int(each["id"]) for each in whole["categories"]}
            found = {photo.name: _entry(photo, entries) for photo in photos}
            images = {name: int(each["id"]) for name, each in found.items()}
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a COCO dataset ({type(error).__name__}: {error})") from None
        if len(set(images.values())) < len(images):
            raise ValueError("two photos have the file name of one image")
        if strange := [label for label in classes(photos) if label not in categories]:
            known = ", ".join(list(categories)[:5]) + (", …" if len(categories) > 5 else "")
            raise ValueError(f"has no category {strange[0]!r}: --label gives one of {known}")
        return Ids(images, categories)


def _entry(photo: Annotated, entries: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Find a photo's image by its file name. Raises `ValueError`."""
    alike = [photo.name] if photo.name in entries else []
    alike = alike or [
        name
        for name in entries
        if f"/{name}".endswith(f"/{photo.name}") or f"/{photo.name}".endswith(f"/{name}")
    ]
    if len(alike) != 1:
        raise ValueError(f"has {'several images' if alike else 'no image'} with the file name {photo.name}")
    entry = entries[alike[0]]
    if (entry["height"], entry["width"]) != (photo.height, photo.width):
        theirs, ours = f"{entry['width']} × {entry['height']} px", f"{photo.width} × {photo.height}"
        raise ValueError(f"{photo.name} is {theirs} there, and upright {ours}")
    return entry


def dataset(
    photos: AnnotatedPhotos, info: Mapping[str, Any], ids: Ids | None = None, *, polygons: bool = False
) -> bytes:
    """Write a COCO data set: images, annotations with compressed RLE, box (px), area (px) and score, and categories.

    Without `ids` photos and labels are numbered from 1. With `polygons`, they take the place of RLE: holes are filled.
    """
    ids = ids or Ids.counted(photos)
    numbers = ids.categories
    images = [
        {"id": ids.images[photo.name], "file_name": photo.name, "height": photo.height, "width": photo.width}
        for photo in photos
    ]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": numbers[each.label],
            "bbox": list(each.box),
            "area": each.area,
            "segmentation": outlines(each.mask) if polygons else each.rle,
            "iscrowd": 0,
            "score": each.score,
        }
        for number, (image, each) in enumerate(_numbered(photos, ids), 1)
    ]
    categories = [
        {"id": number, "name": label, "supercategory": "object"} for label, number in numbers.items()
    ]
    content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content).encode() + b"\n"


def results(photos: AnnotatedPhotos, ids: Ids | None = None) -> bytes:
    """Write a list of COCO results, numbered as `dataset` numbers the same photos.

    Boxes are left out, because COCO's tools would measure areas by them; without boxes they measure the masks.
    """
    ids = ids or Ids.counted(photos)
    numbers = ids.categories
    written = [
        {
            "image_id": image,
            "category_id": numbers[each.label],
            "segmentation": each.rle,
            "score": each.score,
        }
        for image, each in _numbered(photos, ids)
    ]
    return json.dumps(written).encode() + b"\n"


def read_dataset(content: bytes) -> list[Annotated]:
    """Read a COCO data set whose masks are compressed RLE. Raises `ValueError` for anything else."""
    try:
        whole = json.loads(content)
        labels = {each["id"]: str(each["name"]) for each in whole["categories"]}
        objects: dict[int, list[Annotation]] = {each["id"]: [] for each in whole["images"]}
        sizes = {each["id"]: check_size(each["height"], each["width"]) for each in whole["images"]}
        for each in whole["annotations"]:
            objects[each["image_id"]].append(_read(each, labels, sizes[each["image_id"]]))
        return [
            _fitting(str(each["file_name"]), *check_size(each["height"], each["width"]), objects[each["id"]])
            for each in whole["images"]
        ]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a COCO dataset ({type(error).__name__}: {error})") from None


def read_results(content: bytes, photos: AnnotatedPhotos, ids: Ids | None = None) -> list[Annotated]:
    """Read a list of COCO results with the ids that `results` gives `photos`. Raises `ValueError` for other files."""
    ids = ids or Ids.counted(photos)
    labels = {number: label for label, number in ids.categories.items()}
    objects: dict[int, list[Annotation]] = {number: [] for number in ids.images.values()}
    try:
        for each in json.loads(content):
            objects[each["image_id"]].append(_read(each, labels))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a list of COCO results ({type(error).__name__}: {error})") from None
    return [
        _fitting(photo.name, photo.height, photo.width, objects[ids.images[photo.name]]) for photo in photos
    ]


def _numbered(photos: AnnotatedPhotos, ids: Ids) -> Iterator[tuple[int, Annotation]]:
    return ((ids.images[photo.name], each) for photo in photos for each in photo.objects)


def _read(each: Mapping[str, Any], labels: Mapping[int, str], size: tuple[int, int] = (0, 0)) -> Annotation:
    score, label, held = float(each.get("score", 1.0)), labels[each["category_id"]], each["segmentation"]
    return (
        annotate(_filled(held, *size), score, label)
        if isinstance(held, list)
        else restore(held, score, label)
    )


def outlines(mask: Mask) -> list[list[float]]:
    """Trace the pieces of a mask as polygons along the edges of pixels: x, y, x, y …, in px; holes are filled.

    >>> outlines(np.ones((2, 3), bool))
    [[0.0, 0.0, 0.0, 2.0, 3.0, 2.0, 3.0, 0.0]]
    """
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)  # four points a pixel: its corners
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for contour in contours:
        points = (contour[:, 0] + 1) // 2
        points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        turns = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
        pieces.append([float(each) for each in turns.ravel()])
    return pieces


def _filled(polygons: Sequence[Sequence[float]], height: int, width: int) -> Mask:
    """Fill polygons as COCO's own tools do. Raises `ValueError` for what are none."""
    if not polygons or any(len(each) < 6 or len(each) % 2 for each in polygons):
        raise ValueError("a polygon has fewer than three points")
    merged = coco_mask.merge(
        coco_mask.frPyObjects([list(map(float, each)) for each in polygons], height, width)
    )
    return np.asarray(coco_mask.decode(merged), bool)


def _fitting(name: str, height: int, width: int, objects: Sequence[Annotation]) -> Annotated:
    if any(each.rle["size"] != [height, width] for each in objects):
        raise ValueError(f"{name}: a mask is not of its photo's size")
    return Annotated(name, height, width, objects)
