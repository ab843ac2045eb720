"""Write and read YOLO's segmentation labels: a text file for each photo with one polygon for each object.

A polygon has no holes, so holes are filled. The pieces of one object are joined by a bridge one pixel wide, there and
back, because two polygons would be two objects. `data.yaml` names the classes.

YOLO finds the labels of a photo by its path, after links of folders are resolved: `labels/` in place of the last
`images/`, and another extension. So photos, or links to them, lie in a folder `images/` beside `labels/`.
"""

import json
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Int

from cratecli.arrays import Mask
from cratecli.io.formats.record import Annotated, annotate, check_size

READ = frozenset(
    {
        ".avif",
        ".bmp",
        ".dng",
        ".heic",
        ".heif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""The extensions of photos that YOLO reads."""

Points = Int[np.ndarray, "n 2"]


def encode(photo: Annotated, names: Sequence[str]) -> bytes:
    """Write one line for each object: its class from 0, then its polygon's x and y as shares (0–1) of the sides.

    Points are centres of pixels: multiplied by the sides and rounded down, as YOLO does, they are the pixels again.
    """
    size = np.array([photo.width, photo.height])
    lines = []
    for each in photo.objects:
        shares = (outline(each.mask) + 0.5) / size
        numbers = " ".join(f"{share:.7f}" for share in shares.ravel())
        lines.append(f"{names.index(each.label)} {numbers}\n")
    return "".join(lines).encode()


def decode(content: bytes, photo: Annotated, names: Sequence[str]) -> Annotated:
    """Decode polygons to filled masks at the size of `photo`. Raises `ValueError` for an invalid polygon or class."""
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
    """Write the data set's description, `data.yaml`: the folder `images/` beside it, and the names of the classes."""
    lines = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(names)]
    return "\n".join(["train: images", "val: images", "names:", *lines, ""]).encode()


def outline(mask: Mask) -> Points:
    """Trace a non-empty mask as one polygon of at least three points: x and y of its outermost pixels.

    The polygon leaves each piece at the point nearest to the next piece, and after the last returns along the rest of
    each piece.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pieces = [contour[:, 0].astype(np.int64) for contour in contours]
    there: list[Points] = []
    back: list[Points] = []
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        entry = piece if not there else np.roll(piece, -_nearest(piece, there[-1][-1]), axis=0)
        loop = np.concatenate([entry, entry[:1]])  # closed: it ends at its entry
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
