"""Validate the images and annotations of a COCO data set, before pycocotools, which trusts them, is given any."""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cratecli.io.formats.record import check_size, restore

_BEYOND = 1  # sides of the photo by which a point may lie outside it, where pycocotools clips it
_LONGEST = 1 << 24  # of a polygon, px: pycocotools takes 80 bytes for each


def checked_images(entries: object) -> dict[Any, tuple[str, tuple[int, int]]]:
    """Give names and sizes (height, width; px) of images by their ids, sorted by name.

    Raises `ValueError` for a size that is none, and for two images with one id or one name.
    """
    images: dict[Any, tuple[str, tuple[int, int]]] = {}
    ids: dict[str, Any] = {}
    for entry in _objects(entries, "images"):
        name, own = entry["file_name"], entry["id"]
        if not isinstance(name, str) or not isinstance(own, int | str):
            raise ValueError("an image has no file_name that is a text, or no id")
        if own in images:
            raise ValueError(f"{images[own][0]} and {name} have one id, {own!r}")
        if (first := ids.setdefault(posixpath.normpath(name), own)) is not own:
            raise ValueError(f"{name} is there twice, as {first!r} and {own!r}")
        try:
            images[own] = name, check_size(entry["height"], entry["width"])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return dict(sorted(images.items(), key=lambda item: item[1][0]))


def checked_annotations(
    entries: object, images: Mapping[Any, tuple[str, tuple[int, int]]]
) -> dict[str, list[dict[str, Any]]]:
    """Give what is needed of the annotations of each image, by its name.

    Raises `ValueError`, which says the place and the id of the annotation: for an image that is not there, a mask that
    is none or not of its photo's size, polygons, box or area that are no finite numbers or lie more than the photo's
    side outside it, and an `iscrowd` that is not 0 or 1.
    """
    annotations: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in images.values()}
    for number, each in enumerate(_objects(entries, "annotations")):
        place = f"annotations[{number}]" + (f", id {each['id']}" if isinstance(each.get("id"), int) else "")
        try:
            needed = {part: each[part] for part in ("segmentation", "bbox", "area", "iscrowd")}
            if not isinstance(each["image_id"], int | str) or each["image_id"] not in images:
                raise ValueError("no image has its image_id")
            name, size = images[each["image_id"]]
            _check(size, **needed)
        except KeyError as error:
            raise ValueError(f"{place}: has no {error.args[0]}") from None
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        annotations[name].append(needed)
    return annotations


def _objects(entries: object, what: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ValueError(f"{what} is no list of objects")
    return entries


def _check(
    size: tuple[int, int], *, segmentation: object, bbox: object, area: object, iscrowd: object
) -> None:
    height, width = size
    if type(iscrowd) not in (int, bool) or iscrowd not in (0, 1):
        raise ValueError("its iscrowd is not 0 or 1")
    if not _are_numbers([area]) or not 0 <= area <= height * width * (1 + 2 * _BEYOND) ** 2:  # type: ignore[operator]
        raise ValueError("its area is no number of px that the photo could have")
    if not isinstance(bbox, list) or len(bbox) != 4 or not _are_numbers(bbox) or min(bbox[2:]) < 0:
        raise ValueError("its bbox is not left, top, width and height")
    left, top, wide, high = bbox
    if not _are_near(bbox, size) or not _are_near([left + wide, top + high], size):
        raise ValueError("its bbox lies far outside the photo")
    if isinstance(segmentation, list):
        _check_polygons(segmentation, size)
    elif isinstance(segmentation, dict):
        _check_rle(segmentation, size)
    else:
        raise ValueError("its segmentation is neither polygons nor an RLE")


def _check_polygons(polygons: Sequence[object], size: tuple[int, int]) -> None:
    if not polygons:
        raise ValueError("its segmentation has no polygon")
    for each in polygons:
        if not isinstance(each, list) or not _are_numbers(each) or len(each) < 6 or len(each) % 2:
            raise ValueError("a polygon is not x and y of three points or more")
        if not _are_near(each, size):
            raise ValueError("a polygon has points far outside the photo, or that are no numbers")
        x_and_y = np.array(each, float).reshape(-1, 2)
        if np.abs(np.diff(x_and_y, axis=0, append=x_and_y[:1])).max(axis=1).sum() > _LONGEST:
            raise ValueError(f"a polygon is longer than {_LONGEST:,} px")


def _check_rle(rle: Mapping[str, Any], size: tuple[int, int]) -> None:
    if rle.get("size") != list(size):
        raise ValueError(f"its RLE is not of the photo's size, height {size[0]} and width {size[1]} px")
    counts = rle.get("counts")
    if not isinstance(counts, list):
        restore({"size": list(size), "counts": counts}, 1.0)
    elif any(type(run) is not int or run < 0 for run in counts) or sum(counts) != size[0] * size[1]:
        raise ValueError(f"the runs of its RLE do not fill {size[0]} × {size[1]} px")


def _are_numbers(values: Sequence[object]) -> bool:
    """Tell numbers from other values of JSON; NaN and infinity are left to the comparisons, which they fail."""
    return all(type(value) in (int, float) for value in values)


def _are_near(points: Sequence[float], size: tuple[int, int]) -> bool:
    """Tell whether all of x, y, x, y … (px) lie in the photo, or no more than its side outside it."""
    return all(
        -side * _BEYOND <= value <= side * (1 + _BEYOND)
        for values, side in ((points[::2], size[1]), (points[1::2], size[0]))
        for value in values
    )
