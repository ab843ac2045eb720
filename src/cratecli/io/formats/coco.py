"""Write and read COCO JSON: a data set of annotations, and the list of results that COCO's own tools score."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cratecli.io.formats.record import Annotated, AnnotatedPhotos, Annotation, check_size, classes, restore


def dataset(photos: AnnotatedPhotos, info: Mapping[str, Any]) -> bytes:
    """Write a COCO data set: images, annotations with compressed RLE, box (px), area (px) and score, and categories."""
    names = classes(photos)
    numbers = {label: number for number, label in enumerate(names, 1)}
    images = [
        {"id": number, "file_name": photo.name, "height": photo.height, "width": photo.width}
        for number, photo in enumerate(photos, 1)
    ]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": numbers[each.label],
            "bbox": list(each.box),
            "area": each.area,
            "segmentation": each.rle,
            "iscrowd": 0,
            "score": each.score,
        }
        for number, (image, each) in enumerate(_numbered(photos), 1)
    ]
    categories = [
        {"id": number, "name": label, "supercategory": "object"} for label, number in numbers.items()
    ]
    content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content).encode() + b"\n"


def results(photos: AnnotatedPhotos) -> bytes:
    """Write a list of COCO results; the ids of images and categories are those of `dataset` for the same photos.

    Boxes are left out, because COCO's tools would measure areas by them; without boxes they measure the masks.
    """
    numbers = {label: number for number, label in enumerate(classes(photos), 1)}
    written = [
        {
            "image_id": image,
            "category_id": numbers[each.label],
            "segmentation": each.rle,
            "score": each.score,
        }
        for image, each in _numbered(photos)
    ]
    return json.dumps(written).encode() + b"\n"


def read_dataset(content: bytes) -> list[Annotated]:
    """Read a COCO data set whose masks are compressed RLE. Raises `ValueError` for anything else."""
    try:
        whole = json.loads(content)
        labels = {each["id"]: str(each["name"]) for each in whole["categories"]}
        objects: dict[int, list[Annotation]] = {each["id"]: [] for each in whole["images"]}
        for each in whole["annotations"]:
            objects[each["image_id"]].append(_read(each, labels))
        return [
            _fitting(str(each["file_name"]), *check_size(each["height"], each["width"]), objects[each["id"]])
            for each in whole["images"]
        ]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a COCO dataset ({type(error).__name__}: {error})") from None


def read_results(content: bytes, photos: AnnotatedPhotos) -> list[Annotated]:
    """Read a list of COCO results with the ids that `results` gives `photos`. Raises `ValueError` for other files."""
    labels = dict(enumerate(classes(photos), 1))
    objects: dict[int, list[Annotation]] = {number: [] for number, _ in enumerate(photos, 1)}
    try:
        for each in json.loads(content):
            objects[each["image_id"]].append(_read(each, labels))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a list of COCO results ({type(error).__name__}: {error})") from None
    return [
        _fitting(photo.name, photo.height, photo.width, objects[number])
        for number, photo in enumerate(photos, 1)
    ]


def _numbered(photos: AnnotatedPhotos) -> Iterator[tuple[int, Annotation]]:
    return ((number, each) for number, photo in enumerate(photos, 1) for each in photo.objects)


def _read(each: Mapping[str, Any], labels: Mapping[int, str]) -> Annotation:
    return restore(each["segmentation"], float(each.get("score", 1.0)), labels[each["category_id"]])


def _fitting(name: str, height: int, width: int, objects: Sequence[Annotation]) -> Annotated:
    if any(each.rle["size"] != [height, width] for each in objects):
        raise ValueError(f"{name}: a mask is not of its photo's size")
    return Annotated(name, height, width, objects)
