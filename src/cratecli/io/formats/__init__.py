"""Image and annotation formats, one file each, and the names by which a run is exported to them."""

from enum import StrEnum
from pathlib import Path
from typing import Literal, get_args

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
    PARQUET = "parquet"
    WEBDATASET = "webdataset"


_COCO = frozenset({FormatName.COCO, FormatName.COCO_RESULTS})
_PICTURES = frozenset({FormatName.CUTOUT, FormatName.OVERLAY})
_WITH_CLASSES = frozenset(FormatName) - _PICTURES - {FormatName.MASK}

FORMATS_WITH: dict[str, frozenset[FormatName]] = {
    "label": _WITH_CLASSES,
    "label_from": _WITH_CLASSES,
    "root": _WITH_CLASSES - {FormatName.LABELS, FormatName.NPZ},  # which are called like the run's outputs
    "orientation": frozenset(FormatName) - _PICTURES,
    "ids_from": _COCO,
    "polygons": frozenset({FormatName.COCO}),
    "prefix": frozenset({FormatName.LABEL_STUDIO}),
}
"""The formats that an option of an export changes; the others refuse it."""

Ending = Literal["png", "webp", "jpg"]
"""The formats of pictures, by how their names end."""

ArrayEnding = Literal["npz", "safetensors"]
"""The formats of named arrays, by how their names end."""

ARRAY_ENDINGS: tuple[ArrayEnding, ...] = get_args(ArrayEnding)
ENDINGS: tuple[Ending, ...] = get_args(Ending)
_ENDINGS: dict[str, Ending] = {".png": "png", ".webp": "webp", ".jpg": "jpg", ".jpeg": "jpg"}


def ending_of(name: str) -> Ending | None:
    """Tell which format of pictures a name asks for, if any."""
    return _ENDINGS.get(Path(name).suffix.lower())


def array_ending_of(name: str) -> ArrayEnding | None:
    """Tell which format of arrays a name asks for, if any."""
    return next((each for each in ARRAY_ENDINGS if name.lower().endswith(f".{each}")), None)
