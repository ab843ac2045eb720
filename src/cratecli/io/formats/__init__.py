"""Image and annotation formats, one file each, and the names by which a run is exported to them."""

from enum import StrEnum
from typing import Literal

PhotosBeside = Literal["link", "copy", "none"]
"""What an export writes of the photos themselves, for tools that look for annotations beside them."""


class FormatName(StrEnum):
    """Names the formats of `crate export --as`; `table.FORMATS` has the codec of each."""

    MASK = "mask"
    LABELS = "labels"
    CUTOUT = "cutout"
    OVERLAY = "overlay"
    COCO = "coco"
    COCO_RESULTS = "coco-results"
    YOLO = "yolo"
    CVAT_MASKS = "cvat-masks"
    CVAT_IMAGES = "cvat-images"
    LABEL_STUDIO = "label-studio"
    NPZ = "npz"
