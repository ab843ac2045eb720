"""How good `crate segment --at` is: one click on each object of COCO's photos, beside what needs no model.

    python benchmarks/clicks.py DATA --write benchmarks/clicks.md

DATA holds `coco128` (`images`, `instances.json`). An object is an annotation, no crowd, of 1–60 % of its photo; the
click is the pixel deepest inside it. Settings were chosen on every third photo (by name, the first, the fourth, …),
the test is on the second, the fifth, …; the others are left for the next change. Radius and tolerance of the baselines
are those best on the clicks of the test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np
from models import built_in, one_thread, untrained
from page import command_line, publish, table_header, table_row
from pycocotools import mask as rle

from cratecli import look, segment
from cratecli.emergence.masks import iou
from cratecli.emergence.refine import grabcut
from cratecli.io import datasets, images
from cratecli.io.datasets import CocoSet
from cratecli.model.crate import Crate

SIZES = ((0.01, 0.04), (0.04, 0.16), (0.16, 0.6))  # shares of the photo, and the bounds of a row's columns
THIRDS, TEST = 3, 1  # of so many photos, the second is the test
RADII = (0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4)  # of the photo's shorter side
TOLERANCES = (4, 8, 12, 16, 24, 32, 48)  # levels of 255, in every channel, between neighbours


@dataclass(frozen=True, eq=False)
class Click:
    """A click on an object: column and row, px, the object's mask, and its share of the photo."""

    at: tuple[int, int]
    truth: np.ndarray
    share: float


@cache
def random_weights() -> Crate:
    """Make the built-in model with random weights."""
    return untrained(built_in().config)


def clicks_on(name: str, coco: CocoSet) -> list[Click]:
    """Click on every object of a photo, at the pixel deepest inside it: that of the largest distance to its edge."""
    found = []
    for each in coco.annotations[name]:
        if each["iscrowd"]:
            continue
        parts = rle.frPyObjects(each["segmentation"], *coco.sizes[name])
        truth = rle.decode(rle.merge(parts) if isinstance(parts, list) else parts).astype(bool)
        share = float(truth.mean())
        if SIZES[0][0] <= share <= SIZES[-1][1]:
            deep = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
            row, col = np.unravel_index(int(deep.argmax()), deep.shape)
            found.append(Click((int(col), int(row)), truth, share))
    return found


def circle(rgb: np.ndarray, at: tuple[int, int], radius: float) -> np.ndarray:
    """Draw a disc about the click; the radius is a share of the photo's shorter side."""
    rows, cols = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    return np.asarray((cols - at[0]) ** 2 + (rows - at[1]) ** 2 <= (radius * min(rgb.shape[:2])) ** 2)


def flood(rgb: np.ndarray, at: tuple[int, int], tolerance: int) -> np.ndarray:
    """Fill from the click on, as far as neighbours differ by no more than the tolerance in every channel."""
    found = np.zeros((rgb.shape[0] + 2, rgb.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(rgb.copy(), found, at, 0, (tolerance,) * 3, (tolerance,) * 3, flags)
    return found[1:-1, 1:-1] > 0


def by_colour(rgb: np.ndarray, at: tuple[int, int], radius: float) -> np.ndarray:
    """Let GrabCut start from the circle: its middle is sure, as is what is far from it."""
    rows, cols = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    far = np.hypot(cols - at[0], rows - at[1]) / (radius * min(rgb.shape[:2]))
    return grabcut(rgb, np.exp(-far).astype(np.float32), float(np.exp(-1)))


def on_photo(path: Path, clicks: Sequence[Click]) -> list[dict[str, float]]:
    """Score every way on each click: the IoU of its mask with the object's; and the confidence of ours."""
    rgb = images.read(path)
    trained, random = look(rgb, built_in()), look(rgb, random_weights())
    alone = segment(trained).mask
    rows = []
    for click in clicks:
        at, truth = click.at, click.truth
        ours = segment(trained, at=[at])
        row = {
            "--at": iou(ours.mask, truth),
            "--at, heads agree": iou(segment(trained, at=[at], heads="agree").mask, truth),
            "--at, random weights": iou(segment(random, at=[at]).mask, truth),
            "auto, without the click": iou(alone, truth),
            "confidence": ours.confidence,
        }
        row |= {f"circle {radius}": iou(circle(rgb, at, radius), truth) for radius in RADII}
        row |= {f"flood {levels}": iou(flood(rgb, at, levels), truth) for levels in TOLERANCES}
        row |= {f"grabcut {radius}": iou(by_colour(rgb, at, radius), truth) for radius in RADII[1:6:2]}
        rows.append(row)
    return rows


def best(rows: Sequence[dict[str, float]], way: str) -> str:
    """Name the setting of a baseline that has the highest mean over all clicks."""
    names = [name for name in rows[0] if name.startswith(f"{way} ")]
    return max(names, key=lambda name: float(np.mean([row[name] for row in rows])))


def table(data: Path, every: int, pool: Pool) -> Iterator[str]:
    """Write every row as Markdown."""
    coco = datasets.coco(data / "coco128")
    asked = [(pair.image, clicks_on(pair.name, coco)) for pair in coco.pairs[TEST::THIRDS][::every]]
    scored = pool.starmap(on_photo, asked, chunksize=1)
    shares = np.array([click.share for _, clicks in asked for click in clicks])
    yield from tables([row for some in scored for row in some], shares)


def tables(rows: Sequence[dict[str, float]], shares: np.ndarray) -> Iterator[str]:
    """Write the means by size of object, and what confidence is worth."""
    ways = {
        "`--at`": "--at",
        "`--at --heads agree`": "--at, heads agree",
        "`--at`, random weights": "--at, random weights",
        "`auto`, without the click": "auto, without the click",
        f"circle, radius {best(rows, 'circle').split()[1]} of the shorter side": best(rows, "circle"),
        f"flood fill, tolerance {best(rows, 'flood').split()[1]}": best(rows, "flood"),
        f"GrabCut from a circle of {best(rows, 'grabcut').split()[1]}": best(rows, "grabcut"),
    }
    sized = [(low <= shares) & (shares < high + (high == SIZES[-1][1])) for low, high in SIZES]
    heads = [
        f"{low:.0%}–{high:.0%} of the photo ({some.sum()})"
        for (low, high), some in zip(SIZES, sized, strict=True)
    ]
    yield table_header("IoU", *heads, f"all ({len(shares)})")
    for name, way in ways.items():
        scores = np.array([row[way] for row in rows])
        yield table_row(name, *(mean(scores[some]) for some in sized), mean(scores))
    yield ""
    ours, sure = (np.array([row[name] for row in rows]) for name in ("--at", "confidence"))
    yield table_header("confidence of `--at`", "clicks", "mean confidence", "mean IoU")
    for low, high in ((0, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 1.01)):
        some = (low <= sure) & (sure < high)
        yield table_row(f"{low}–{min(high, 1)}", int(some.sum()), mean(sure[some]), mean(ours[some]))


def mean(scores: np.ndarray) -> str:
    """Write a mean, or a dash for that of nothing."""
    return f"{scores.mean():.3f}" if len(scores) else "–"


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__).parse_args()
    with get_context("spawn").Pool(initializer=one_thread) as pool:
        publish(table(arguments.data, arguments.every, pool), arguments.write)


if __name__ == "__main__":
    main()
