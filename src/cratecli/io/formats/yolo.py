"""Objects as YOLO's segmentation labels: a text a photo with a polygon an object, and `data.yaml` for their names.

A polygon has no holes, so they are filled; pieces of one object are joined by a bridge that goes there and back,
which takes a line of pixels: as two lines they would be two objects.
"""

import json
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int

from cratecli.io.formats.record import Annotated, annotate, check_size

Points = Int[np.ndarray, "n 2"]


def encode(photo: Annotated, names: Sequence[str]) -> bytes:
    """Write a line an object: its class from 0, then its outline's pixels, at their centres, as shares of the sides.

    Whoever multiplies by the sides and cuts the fraction off, as YOLO does, has the pixels again.
    """
    size = np.array([photo.width, photo.height])
    lines = []
    for each in photo.objects:
        shares = (outline(each.mask) + 0.5) / size
        numbers = " ".join(f"{share:.7f}" for share in shares.ravel())
        lines.append(f"{names.index(each.label)} {numbers}\n")
    return "".join(lines).encode()


def decode(content: bytes, photo: Annotated, names: Sequence[str]) -> Annotated:
    """Draw the polygons of a photo's text, filled, at the size of `photo`. Raises `ValueError` for what is none."""
    height, width = check_size(photo.height, photo.width)
    objects = []
    for line in content.decode().splitlines():
        index, *numbers = line.split()
        shares = np.array([float(number) for number in numbers]).reshape(-1, 2)
        label = int(index)
        if not 0 <= label < len(names) or len(shares) < 3 or not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"not a polygon of a class: {line[:40]!r}")
        canvas = np.zeros((height, width), np.uint8)
        cv2.fillPoly(canvas, [(shares * [width, height]).astype(np.int32)], 1)
        objects.append(annotate(canvas > 0, 1.0, names[label]))
    return Annotated(photo.name, height, width, objects)


def data_yaml(names: Sequence[str]) -> bytes:
    """Write the data set's description: the images lie in `images/` beside it, and what the classes are called."""
    lines = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(names)]
    return "\n".join(["train: images", "val: images", "names:", *lines, ""]).encode()


def outline(mask: Bool[np.ndarray, "height width"]) -> Points:
    """Trace a mask as one polygon, x and y of its outermost pixels; the mask is not empty.

    From piece to piece it goes on at the point nearest to where it came in, and after the last all the way back,
    along the rest of each piece. Three points are the least, be it three times the same.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pieces = [piece[:, 0].astype(np.int64) for piece in found]
    there: list[Points] = []
    back: list[Points] = []
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        entry = piece if not there else np.roll(piece, -_nearest(piece, there[-1][-1]), axis=0)
        loop = np.concatenate([entry, entry[:1]])  # closed: it ends where it was entered
        leave = len(loop) - 1 if following is None else _nearest(loop, _nearest_point(following, loop[0]))
        there.append(loop[: leave + 1])
        back.append(loop[leave:])
    points = np.concatenate(there + back[::-1])
    keep = np.append((points[1:] != points[:-1]).any(axis=1), True)
    points = points[keep]
    return np.concatenate([points, np.repeat(points[-1:], max(0, 3 - len(points)), axis=0)])


def _nearest(points: Points, to: Int[np.ndarray, "2"]) -> int:
    return int(((points - to) ** 2).sum(axis=1).argmin())


def _nearest_point(points: Points, to: Int[np.ndarray, "2"]) -> Int[np.ndarray, "2"]:
    return np.asarray(points[_nearest(points, to)])
