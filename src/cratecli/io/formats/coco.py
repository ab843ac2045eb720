"""Objects as COCO JSON: a dataset of annotations, or the list of results that COCO's own tools score."""

import json
from collections.abc import Sequence
from typing import Any

from cratecli.io.formats.record import Annotated, Annotation

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}


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
