"""How good `crate objects` is, as it comes: COCO's AP and AR, ECSSD's one object, and windows without an object.

    python benchmarks/objects.py DATA --write benchmarks/objects.md
    python benchmarks/objects.py DATA --by maskcut --write benchmarks/objects_maskcut.md

DATA holds `coco128` (`images`, `instances.json`) and `ecssd200` (`images`, `masks`). MaskCut's settings were chosen on
photos with an even index (by name); the others are the test.
"""

from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Unpack

import numpy as np
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row
from photos import Photo, saliency

from cratecli import Object, ObjectOptions, objects
from cratecli.emergence.masks import iou
from cratecli.emergence.precision import AP50, average_precision
from cratecli.io import datasets, images
from cratecli.io.datasets import CocoSet
from cratecli.io.formats.record import Annotated, annotate

WINDOW, LEAST = 0.5, 96  # of each side; px


def find(rgb: np.ndarray, **asked: Unpack[ObjectOptions]) -> list[Object]:
    """Find objects as `crate objects` does."""
    return objects(rgb, built_in(), **asked)


def on_coco(path: Path, asked: ObjectOptions) -> Annotated:
    """Find a COCO photo's objects."""
    rgb = images.read(path)
    height, width = rgb.shape[:2]
    annotations = [annotate(each.mask, each.score) for each in find(rgb, **asked)]
    return Annotated(path.name, height, width, annotations)


def score_coco(found: Sequence[Annotated], coco: CocoSet) -> dict[str, float]:
    """Score what was found by pycocotools, all classes as one; crowds are ignored as COCO ignores them."""
    names = [Path(photo.name).name for photo in found]
    truth, sizes = [coco.annotations[name] for name in names], [coco.sizes[name] for name in names]
    ours = [[{"segmentation": each.rle, "score": each.score} for each in photo.objects] for photo in found]
    scores: dict[str, float] = {}
    for kind in ("bbox", "segm"):
        precision = average_precision(truth, ours, sizes, kind, np.zeros((0, len(found)), np.int64))
        scores |= {
            f"{kind} AP50": float(precision.whole[AP50]),
            f"{kind} AP": float(precision.whole.mean()),
            f"{kind} AR": float(precision.recall.mean()),
        }
    return scores


def on_ecssd(photo: Photo, asked: ObjectOptions) -> tuple[float, float, bool]:
    """Give the first object's IoU with the truth, the best object's, and whether nothing was found."""
    found = find(photo.rgb, **asked)
    shares = [iou(each.mask, photo.truth) for each in found]
    return (shares or [0.0])[0], max(shares, default=0.0), not found


def window_without(photo: Photo) -> np.ndarray | None:
    """Cut a corner of half the sides that holds nothing of the object, if there is one of at least 96 px."""
    height, width = photo.truth.shape
    tall, wide = round(WINDOW * height), round(WINDOW * width)
    for top in (0, height - tall):
        for left in (0, width - wide):
            place = slice(top, top + tall), slice(left, left + wide)
            if min(tall, wide) >= LEAST and not photo.truth[place].any():
                return np.ascontiguousarray(photo.rgb[place])
    return None


def nothing_in(rgb: np.ndarray, asked: ObjectOptions) -> bool:
    """Tell whether nothing is found."""
    return not find(rgb, **asked)


WAYS: dict[str, dict[str, ObjectOptions]] = {
    "candidates": {
        "as it comes": {},
        "every piece": {"min_score": 0.0, "min_best": 0.0},
    },
    "maskcut": {
        "refine none": {"by": "maskcut"},
        "refine none, every cut": {"by": "maskcut", "min_score": 0.0},
        "refine grabcut": {"by": "maskcut", "refine": "grabcut"},
    },
}
PARTS = {
    "candidates": {
        "all photos": slice(None),
        "even photos": slice(0, None, 2),
        "odd photos": slice(1, None, 2),
    },
    "maskcut": {"tuned on": slice(0, None, 2), "not tuned on": slice(1, None, 2)},
}
ONE_OBJECT = {"candidates": ("as it comes",), "maskcut": ("refine none", "refine grabcut")}


def table(data: Path, every: int, by: str, pool: Pool) -> Iterator[str]:
    """Write every row as Markdown."""
    coco = datasets.coco(data / "coco128")
    paths = [pair.image for pair in coco.pairs][::every]
    photos = list(saliency(data / "ecssd200"))[::every]
    ways, parts = WAYS[by], PARTS[by]
    yield table_header("COCO (128 photos), class-agnostic", "box AP50", "AP", "AR", "mask AP50", "AP", "AR")
    for way, asked in ways.items():
        found = pool.starmap(on_coco, [(path, asked) for path in paths], chunksize=4)
        for name, part in parts.items():
            scores = score_coco(found[part], coco)
            count = sum(len(each.objects) for each in found[part])
            how = f"{name}, {way}: {count} objects"
            yield table_row(how, *(f"{100 * value:.1f}" for value in scores.values()))
    yield ""
    first_and_best = "IoU of the first", "of the best", "first ≥ 0.5", "nothing found"
    yield table_header("ECSSD (200 photos)", *first_and_best)
    for way in ONE_OBJECT[by]:
        judged = np.array(pool.starmap(on_ecssd, [(each, ways[way]) for each in photos], chunksize=4), float)
        for name, part in parts.items():
            first, best, empty = judged[part].T
            means = f"{first.mean():.3f}", f"{best.mean():.3f}"
            yield table_row(f"{name}, {way}", *means, f"{(first >= 0.5).mean():.0%}", f"{empty.mean():.0%}")
    yield ""
    windows = [window for photo in photos if (window := window_without(photo)) is not None]
    asked = next(iter(ways.values()))
    share = np.mean(pool.starmap(nothing_in, [(window, asked) for window in windows], chunksize=4))
    yield f"Windows of ECSSD photos without their object ({len(windows)}): nothing is found in {share:.0%}."


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__)
    parser.add_argument("--by", choices=WAYS, default="candidates")
    arguments = parser.parse_args()
    with get_context("spawn").Pool(initializer=one_thread) as pool:
        publish(table(arguments.data, arguments.every, arguments.by, pool), arguments.write)


if __name__ == "__main__":
    main()
