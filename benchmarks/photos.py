"""Photos with one true mask each, for the benchmarks: as they are, off-centre, and COCO's largest object, or all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from cratecli.emergence import windows
from cratecli.io import datasets, images, truth


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright RGB photo and the true mask of its object."""

    name: str
    rgb: np.ndarray
    truth: np.ndarray


def saliency(folder: Path) -> Iterator[Photo]:
    """Read `images/` and `masks/` side by side."""
    for pair in datasets.paired(folder, datasets.SALIENCY):
        yield Photo(pair.name, images.read(pair.image), truth.read_mask(pair.truth))


def off_centre(photos: Iterator[Photo]) -> Iterator[Photo]:
    """Cut each photo to a window with its object off-centre, as `evaluate` does; one without such is skipped."""
    for photo in photos:
        if (box := windows.off_centre(photo.truth)) is not None:
            window = slice(box.top, box.bottom), slice(box.left, box.right)
            yield Photo(photo.name, np.ascontiguousarray(photo.rgb[window]), photo.truth[window])


def coco_largest(folder: Path) -> Iterator[Photo]:
    """Read COCO photos with the largest annotated object (no crowds) as the truth."""
    return _coco(folder, lambda objects: [max(objects, key=lambda each: float(each["area"]))])


def coco_all(folder: Path) -> Iterator[Photo]:
    """Read COCO photos with all annotated objects together (no crowds) as the truth."""
    return _coco(folder, lambda objects: objects)


def _coco(folder: Path, chosen: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Iterator[Photo]:
    coco = datasets.coco(folder)
    for pair in coco.pairs:
        objects = [each for each in coco.annotations[pair.name] if not each["iscrowd"]]
        if objects:
            shapes = [
                rle.merge(rle.frPyObjects(each["segmentation"], *coco.sizes[pair.name]))
                for each in chosen(objects)
            ]
            yield Photo(pair.image.stem, images.read(pair.image), rle.decode(rle.merge(shapes)).astype(bool))
