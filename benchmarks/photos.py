"""Photos with one true mask each, for the benchmarks: as they are, off-centre, and COCO's largest object."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from cratecli.io import images

WINDOW = 0.7  # of each side
KEPT, FOREGROUND = 0.7, 0.6  # least share of the object, greatest share of the window


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright RGB photo and the true mask of its object."""

    name: str
    rgb: np.ndarray
    truth: np.ndarray


def saliency(folder: Path) -> Iterator[Photo]:
    """Read `images/` and `masks/` side by side."""
    masks = {path.stem: path for path in (folder / "masks").iterdir()}
    for path in sorted((folder / "images").iterdir()):
        truth = np.asarray(Image.open(masks[path.stem]).convert("L")) > 127
        yield Photo(path.stem, images.read(path), truth)


def off_centre(photos: Iterator[Photo]) -> Iterator[Photo]:
    """Cut each photo to a 70 % window in the corner farthest from its object's middle.

    So the object lies off-centre. The window keeps at least 70 % of the object and is at most 60 % foreground;
    a photo without one is skipped.
    """
    for photo in photos:
        height, width = photo.truth.shape
        tall, wide = round(WINDOW * height), round(WINDOW * width)
        rows, cols = np.nonzero(photo.truth)
        best: tuple[float, int, int] | None = None
        for top, corner_row in ((0, 0), (height - tall, height)):
            for left, corner_col in ((0, 0), (width - wide, width)):
                inside = photo.truth[top : top + tall, left : left + wide]
                fits = inside.sum() >= KEPT * photo.truth.sum() and inside.mean() <= FOREGROUND
                distance = (rows.mean() - corner_row) ** 2 + (cols.mean() - corner_col) ** 2
                if fits and (best is None or distance > best[0]):
                    best = distance, top, left
        if best is not None:
            window = slice(best[1], best[1] + tall), slice(best[2], best[2] + wide)
            yield Photo(photo.name, np.ascontiguousarray(photo.rgb[window]), photo.truth[window])


def coco_largest(folder: Path) -> Iterator[Photo]:
    """Read COCO photos with the largest annotated object (no crowds) as the truth."""
    data = json.loads((folder / "instances.json").read_text())
    for entry in sorted(data["images"], key=lambda entry: entry["file_name"]):
        objects = [a for a in data["annotations"] if a["image_id"] == entry["id"] and not a["iscrowd"]]
        if objects:
            largest = max(objects, key=lambda annotation: annotation["area"])["segmentation"]
            parts = rle.frPyObjects(largest, entry["height"], entry["width"])
            truth = rle.decode(rle.merge(parts)).astype(bool)
            path = folder / "images" / entry["file_name"]
            yield Photo(path.stem, images.read(path), truth)
