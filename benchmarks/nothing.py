"""What the confidence of `auto` is worth: where there is nothing, and as the expected IoU of masks of photos.

    python benchmarks/nothing.py DATA --write benchmarks/nothing.md

DATA holds `coco128`, `ecssd200` and `horses40` (each with `images`). `before` is agreement × contrast, the confidence
of `--heads agree`, which `auto` had too. COCO's truth is the largest object, or all that is annotated.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from models import built_in, one_thread
from objects import window_without
from page import command_line, publish, table_header, table_row
from photos import coco_all, coco_largest, off_centre, saliency
from scipy.stats import spearmanr

from cratecli import look, segment
from cratecli.emergence.masks import iou
from cratecli.emergence.metrics import calibration_error

SIZES = ((96, 96), (120, 160), (300, 400))  # px
SEEDS = range(4)


class Said(NamedTuple):
    """What is said of a mask, now and before, whether it is left empty for that, and its IoU with every truth."""

    confidence: float
    before: float
    empty: bool
    empty_before: bool
    ious: tuple[float, ...]


def pictures(size: tuple[int, int], random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Paint pictures of nothing, grey ones as one channel."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    across, down = cols / (size[1] - 1), rows / (size[0] - 1)
    yield "noise, grey", random.integers(0, 256, size)
    yield "noise, coloured", random.integers(0, 256, (*size, 3))
    for sigma in (2, 5, 10, 20):
        yield f"grey, with grain of σ {sigma}", random.normal(128, sigma, size)
    yield "gradient, black to white", 255 * (across if random.integers(2) else down)
    yield "gradient, black to a third of white", 85 * (across if random.integers(2) else down)
    side = int(random.integers(6, 27))
    yield "checkers", 20 + 200 * ((cols // side + rows // side) % 2)
    angle, wave = random.uniform(0, np.pi), random.uniform(3, 13)
    yield "stripes", 127 + 100 * np.sin((cols * np.cos(angle) + rows * np.sin(angle)) / wave)
    blurred = cv2.GaussianBlur(random.normal(0, 1, size), (0, 0), float(random.uniform(2, 12)))
    yield "clouds", 255 * (blurred - blurred.min()) / np.ptp(blurred)


def painted(values: np.ndarray) -> np.ndarray:
    """Make a picture of nothing a photo."""
    grey = values.clip(0, 255).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)


def measure(rgb: np.ndarray, *truths: np.ndarray) -> Said:
    """Segment a photo, and compare; the IoU is that of the mask that is made, whatever its confidence."""
    model, seen = built_in(), look(rgb, built_in())
    found = segment(seen, min_confidence=0.0)
    before = segment(seen, heads="agree", refine="none", min_confidence=0.0).confidence
    return Said(
        found.confidence,
        before,
        found.empty or found.confidence < model.least_confidence,
        found.empty or before < model.least_agreement,
        tuple(iou(found.mask, truth) for truth in truths),
    )


def nothing(name: str, found: Sequence[Said]) -> str:
    """Write a row: least, median and most confidence, and how many masks are empty, now and before."""
    low, middle, high = np.quantile([each.confidence for each in found], (0, 0.5, 1))
    shares = (np.mean([each.empty for each in found]), np.mean([each.empty_before for each in found]))
    numbers = *(f"{each:.2f}" for each in (low, middle, high)), *(f"{each:.0%}" for each in shares)
    return table_row(name, len(found), *numbers)


def ranked(name: str, found: Sequence[Said], truth: int) -> str:
    """Write a row of photos: how good their masks are, are said to be, and how well the one tells the other."""
    said, before, scores = np.array([(each.confidence, each.before, each.ious[truth]) for each in found]).T
    spread = len(found) > 1 and all(np.ptp(each) for each in (said, before, scores))
    ranks = (f"{spearmanr(each, scores).statistic:.2f}" if spread else "" for each in (said, before))
    error = f"{calibration_error(said, scores):.3f}"
    return table_row(name, len(found), f"{scores.mean():.2f}", f"{said.mean():.2f}", *ranks, error)


def tables(data: Path, every: int) -> Iterator[str]:
    """Write both tables."""
    bound = f"least_confidence {built_in().least_confidence}"
    yield table_header(bound, "pictures", "least", "median", "most", "empty masks", "before")
    found: dict[str, list[Said]] = {}
    for seed in SEEDS:
        for size in SIZES:
            for name, values in pictures(size, np.random.default_rng(seed)):
                found.setdefault(name, []).append(measure(painted(values)))
    ecssd, coco = data / "ecssd200", data / "coco128"
    cut = [window for photo in saliency(ecssd) if (window := window_without(photo)) is not None]
    found["windows of ecssd200 without the object"] = [measure(window) for window in cut[::every]]
    for name, those in found.items():
        if those:
            yield nothing(name, those)
    sets = {
        "ecssd200": saliency(ecssd),
        "ecssd200, off-centre": off_centre(saliency(ecssd)),
        "horses40": saliency(data / "horses40"),
    }
    judged = {
        name: [measure(photo.rgb, photo.truth) for photo in list(photos)[::every]]
        for name, photos in sets.items()
    }
    both = list(zip(coco_all(coco), coco_largest(coco), strict=True))[::every]
    judged["coco128"] = [measure(each.rgb, each.truth, largest.truth) for each, largest in both]
    for name, those in judged.items():
        yield nothing(f"photos of {name}", those)
    yield "\n" + table_header(
        "photos of", "how many", "mean IoU", "mean confidence", "ρ", "ρ before", "calibration error"
    )
    for name, those in judged.items():
        for number, truth in enumerate((", all that is annotated", ", the largest object")):
            if number < len(those[0].ious):
                yield ranked(name + truth * (name == "coco128"), those, number)


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__).parse_args()
    one_thread()
    publish(tables(arguments.data, arguments.every), arguments.write)


if __name__ == "__main__":
    main()
