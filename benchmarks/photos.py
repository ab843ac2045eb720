"""Photos with one true mask each, for the benchmarks: as they are, off-centre, and COCO's largest object."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    coco = datasets.coco(folder)
    for pair in coco.pairs:
        objects = [each for each in coco.annotations[pair.name] if not each["iscrowd"]]
        if objects:
            largest = max(objects, key=lambda annotation: annotation["area"])["segmentation"]
            truth = rle.decode(rle.merge(rle.frPyObjects(largest, *coco.sizes[pair.name]))).astype(bool)
            yield Photo(pair.image.stem, images.read(pair.image), truth)
