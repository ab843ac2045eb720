"""Objects as COCO JSON: a dataset of annotations, or the list of results that COCO's own tools score."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}


@dataclass(frozen=True, eq=False)
class Annotation:
    """One object: its mask on its photo's pixels, as RLE, and its score, 0–1."""

    rle: dict[str, Any]
    area: int
    box: tuple[int, int, int, int]
    score: float


@dataclass(frozen=True, eq=False)
class Annotated:
    """One photo, by name, with its objects; sizes in px."""

    name: str
    height: int
    width: int
    objects: Sequence[Annotation]


def annotate(mask: Bool[np.ndarray, "height width"], score: float) -> Annotation:
    """Encode a mask, run by run; `box` is left, top, width, height."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    left, top, width, height = (int(side) for side in coco_mask.toBbox(rle))
    plain = {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}
    return Annotation(plain, int(coco_mask.area(rle)), (left, top, width, height), score)


def dataset(photos: Sequence[Annotated], info: dict[str, Any]) -> bytes:
    """Write a COCO dataset: images, annotations (with `score` beside what COCO asks for), one category."""
    images = [
        {"id": number, "file_name": photo.name, "height": photo.height, "width": photo.width}
        for number, photo in enumerate(photos, 1)
    ]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": CATEGORY["id"],
            "bbox": list(found.box),
            "area": found.area,
            "segmentation": found.rle,
            "iscrowd": 0,
            "score": found.score,
        }
        for number, (image, found) in enumerate(_numbered(photos), 1)
    ]
    content = {"info": info, "images": images, "annotations": annotations, "categories": [CATEGORY]}
    return json.dumps(content).encode() + b"\n"


def results(photos: Sequence[Annotated]) -> bytes:
    """Write COCO's list of results; image ids count from 1 in the photos' order, as in `dataset`.

    There are no boxes: COCO's tools make them from the masks, and measure areas by boxes where they find some.
    """
    found = [
        {"image_id": image, "category_id": CATEGORY["id"], "segmentation": each.rle, "score": each.score}
        for image, each in _numbered(photos)
    ]
    return json.dumps(found).encode() + b"\n"


def _numbered(photos: Sequence[Annotated]) -> list[tuple[int, Annotation]]:
    return [(number, found) for number, photo in enumerate(photos, 1) for found in photo.objects]
