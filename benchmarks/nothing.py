"""How sure `auto` is where there is nothing, and where there is something: what `least_confidence` stands on.

    python benchmarks/nothing.py DATA --write benchmarks/nothing.md

DATA holds `coco128`, `ecssd200` and `horses40` (each with `images`).
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row

from cratecli import segment
from cratecli.io import images

SIZES = ((96, 96), (120, 160), (300, 400))  # px
SEEDS = range(4)
SETS = ("coco128", "ecssd200", "horses40")


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


def summary(name: str, found: list[tuple[float, bool]]) -> str:
    """Write a row: least, median and most confidence, and how many masks are empty."""
    confidence, empty = np.array(found).T
    low, middle, high = np.quantile(confidence, (0, 0.5, 1))
    return table_row(name, len(found), f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}", f"{empty.mean():.0%}")


def measure(rgb: np.ndarray) -> tuple[float, bool]:
    """Give the confidence, and whether the mask is empty."""
    found = segment(rgb, built_in())
    return found.confidence, found.empty


def table(data: Path, every: int) -> Iterator[str]:
    """Write every row."""
    bound = f"least_confidence {built_in().least_confidence}"
    yield table_header(bound, "pictures", "least", "median", "most", "empty masks")
    nothing: dict[str, list[tuple[float, bool]]] = {}
    for seed in SEEDS:
        for size in SIZES:
            for name, values in pictures(size, np.random.default_rng(seed)):
                grey = values.clip(0, 255).astype(np.uint8)
                rgb = grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)
                nothing.setdefault(name, []).append(measure(rgb))
    for name, found in nothing.items():
        yield summary(name, found)
    for name in SETS:
        paths = sorted((data / name / "images").glob("*.jpg"))[::every]
        yield summary(f"photos of {name}", [measure(images.read(path)) for path in paths])


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__).parse_args()
    one_thread()
    publish(table(arguments.data, arguments.every), arguments.write)


if __name__ == "__main__":
    main()
