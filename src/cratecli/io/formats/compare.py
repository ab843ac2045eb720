"""Compare the objects of a photo with those decoded from a file, as far as the file's format can hold them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from cratecli.io.formats.record import Annotated, Annotation, annotate, natural, restore

Projection = Callable[[Annotated], Annotated]
"""Reduces a photo's objects to the masks and labels that a format can hold."""


def whole(photo: Annotated) -> Annotated:
    """Keep every object unchanged."""
    return photo


def united(photo: Annotated) -> Annotated:
    """Unite all objects in one mask with the label `object`; a photo without objects keeps none."""
    return replace(photo, objects=[_union(photo.objects, "object")] if photo.objects else [])


def by_class(photo: Annotated) -> Annotated:
    """Unite the objects of each label in one mask, in the order of classes."""
    labels = sorted({each.label for each in photo.objects}, key=natural)
    unions = [_union([each for each in photo.objects if each.label == label], label) for label in labels]
    return replace(photo, objects=unions)


def apart(photo: Annotated) -> Annotated:
    """Give each pixel to one object: where objects overlap, to the first. An object without pixels is dropped."""
    taken = np.zeros((photo.height, photo.width), bool)
    objects: list[Annotation] = []
    for each in photo.objects:
        mask = each.mask & ~taken
        taken |= mask
        if mask.any():
            objects.append(annotate(mask, each.score, each.label))
    return replace(photo, objects=objects)


def classes_apart(photo: Annotated) -> Annotated:
    """Give each pixel one class: where objects overlap, that of the first."""
    return by_class(apart(photo))


def agreement(source: Annotated, decoded: Annotated) -> float:
    """Compute the mean IoU, 0–1, of a photo's objects with those decoded.

    Objects are paired in order, or, where their numbers differ, each with the one of its label and highest IoU. An
    object that is missing, added or of another label counts 0. Two photos without objects agree: 1.
    """
    pairs = (
        zip(source.objects, decoded.objects, strict=True)
        if len(source.objects) == len(decoded.objects)
        else _matched(source.objects, decoded.objects)
    )
    values = [iou(one, other) for one, other in pairs]
    return sum(values) / len(values) if values else 1.0


def iou(one: Annotation | None, other: Annotation | None) -> float:
    """Compute the intersection over union (IoU, 0–1) of two masks from their RLE; 0 if labels or sizes differ."""
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
        match = best if iou(each, best) else None
        if match is not None:
            left.remove(match)
        pairs.append((each, match))
    return [*pairs, *((None, each) for each in left)]


def _union(objects: Sequence[Annotation], label: str) -> Annotation:
    merged = coco_mask.merge([each.rle for each in objects])
    counts = {"size": list(objects[0].rle["size"]), "counts": merged["counts"].decode()}
    return restore(counts, max(each.score for each in objects), label)
