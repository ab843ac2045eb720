"""What a format can hold of a photo's objects, and how far what came back agrees with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from cratecli.io.formats.record import Annotated, Annotation, annotate, natural, restore

Projection = Callable[[Annotated], Annotated]
"""What a format holds of a photo, masks and labels."""


def whole(photo: Annotated) -> Annotated:
    """Hold every object as it is."""
    return photo


def united(photo: Annotated) -> Annotated:
    """Hold one mask for all objects, without a label; none where there is none."""
    return replace(photo, objects=[_union(photo.objects, "object")] if photo.objects else [])


def by_class(photo: Annotated) -> Annotated:
    """Hold one mask for all objects of a label, in the order of classes."""
    labels = sorted({each.label for each in photo.objects}, key=natural)
    unions = [_union([each for each in photo.objects if each.label == label], label) for label in labels]
    return replace(photo, objects=unions)


def apart(photo: Annotated) -> Annotated:
    """Hold a pixel once: where objects meet the earlier keeps it, and one that lies under others is gone."""
    taken = np.zeros((photo.height, photo.width), bool)
    objects: list[Annotation] = []
    for each in photo.objects:
        mask = each.mask & ~taken
        taken |= mask
        if mask.any():
            objects.append(annotate(mask, each.score, each.label))
    return replace(photo, objects=objects)


def classes_apart(photo: Annotated) -> Annotated:
    """Hold a class a pixel: where objects meet the earlier keeps it."""
    return by_class(apart(photo))


def agreement(source: Annotated, decoded: Annotated) -> float:
    """Give the mean IoU of a photo's objects, in order; one that is missing, added or called otherwise counts 0.

    Where their number differs each takes the nearest of its label. No object on either side agrees, with 1.
    """
    pairs = (
        zip(source.objects, decoded.objects, strict=True)
        if len(source.objects) == len(decoded.objects)
        else _matched(source.objects, decoded.objects)
    )
    found = [iou(one, other) for one, other in pairs]
    return sum(found) / len(found) if found else 1.0


def iou(one: Annotation | None, other: Annotation | None) -> float:
    """Give the intersection over union of two objects' masks, by their runs; 0 where the label is another."""
    if one is None or other is None or one.label != other.label or one.rle["size"] != other.rle["size"]:
        return 0.0
    common = coco_mask.area(coco_mask.merge([one.rle, other.rle], intersect=True))
    return float(common / max(1, one.area + other.area - common)) if common else 0.0


def _matched(
    sources: Sequence[Annotation], decoded: Sequence[Annotation]
) -> list[tuple[Annotation | None, Annotation | None]]:
    left: list[Annotation] = list(decoded)
    pairs: list[tuple[Annotation | None, Annotation | None]] = []
    for each in sources:
        best = max(left, key=lambda other: iou(each, other), default=None)
        found = best if iou(each, best) else None
        if found is not None:
            left.remove(found)
        pairs.append((each, found))
    return [*pairs, *((None, each) for each in left)]


def _union(objects: Sequence[Annotation], label: str) -> Annotation:
    merged = coco_mask.merge([each.rle for each in objects])
    counts = {"size": list(objects[0].rle["size"]), "counts": merged["counts"].decode()}
    return restore(counts, max(each.score for each in objects), label)
