"""What the paper measured (2308.16271, tables 1 and 2), for the models whose weights are known to be the same.

In percent. Its CRATE-S/8, and the ViTs it trained itself or names without a file, are in no registry.
"""

from collections.abc import Mapping
from types import MappingProxyType

from cratecli.model.engine import WeightsId

VOC_PHOTOS, COCO_PHOTOS = 1449, 5000  # of VOC12's val and of COCO's val2017

_NOTHING: Mapping[str, float] = MappingProxyType({})
_COCO = ("box AP50", "box AP75", "box AP", "mask AP50", "mask AP75", "mask AP")

VOC: Mapping[str, Mapping[str, float]] = {
    "crate-base-demo-b8": {"mIoU": 23.6},
    "vit-small-patch8-dino": {"mIoU": 27.0},
    "vit-base-patch8-dino": {"mIoU": 27.3},
}
COCO: Mapping[str, Mapping[str, float]] = {
    "crate-base-demo-b8": dict(zip(_COCO, (2.9, 1.0, 1.3, 2.2, 0.7, 1.0), strict=True)),
    "vit-small-patch8-dino": dict(zip(_COCO, (5.0, 2.0, 2.4, 4.0, 1.3, 1.7), strict=True)),
    "vit-base-patch8-dino": dict(zip(_COCO, (5.1, 2.3, 2.5, 4.1, 1.3, 1.8), strict=True)),
}


def published(table: Mapping[str, Mapping[str, float]], weights: WeightsId | None) -> Mapping[str, float]:
    """Find a model's published numbers, 0–1, by measure; none for a model that has none."""
    numbers = _NOTHING if weights is None else table.get(weights.name, _NOTHING)
    return {name: value / 100 for name, value in numbers.items()}
