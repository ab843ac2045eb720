"""How masks survive noise: Gaussian noise of σ 10 to 75 on 10 to 75 % of the pixels (2308.16271, figures 11 and 12).

    python benchmarks/noise.py DATA --write benchmarks/noise.md --figure benchmarks/noise.jpg

DATA holds `ecssd200` (folders `images`, `masks`). The masks are those of `crate segment --refine none`.
"""

from collections.abc import Iterator
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import numpy as np
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row
from photos import Photo, saliency
from PIL import Image

import cratecli
from cratecli.emergence.masks import iou
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.io.formats.png import overlay
from cratecli.io.sheet import Tile, contact_sheet, fit_within, heat

SIGMAS = (10, 25, 50, 75)  # of values in 0–255
SHARES = (0.10, 0.25, 0.50, 0.75)  # of the pixels
SHOWN = ((0, 0.0), (25, 0.25), (50, 0.50), (75, 0.75))
CLEAN = (0, 0.0)
EXAMPLES = Path(__file__).parents[1] / "examples"


def noisy(rgb: np.ndarray, sigma: float, share: float, seed: int) -> np.ndarray:
    """Add Gaussian noise, of its own in every channel, to a random share of the pixels."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, sigma, rgb.shape) * (random.random(rgb.shape[:2]) < share)[..., None]
    return np.clip(rgb + noise, 0, 255).round().astype(np.uint8)


def segment(rgb: np.ndarray) -> cratecli.Segmentation:
    """Segment as `crate segment --refine none` does."""
    return cratecli.segment(rgb, built_in(), refine="none")


def judge(photo: Photo) -> list[float]:
    """Give the IoU without noise, then with every σ and share."""
    settings = [CLEAN, *product(SIGMAS, SHARES)]
    seed = crc32(photo.name.encode())
    return [iou(segment(noisy(photo.rgb, *each, seed)).mask, photo.truth) for each in settings]


def table(scores: np.ndarray) -> Iterator[str]:
    """Write mean IoU, and what noise takes from it, as Markdown."""
    clean, *rest = scores.mean(axis=0)
    grid = np.reshape(rest, (len(SIGMAS), len(SHARES)))
    yield f"{len(scores)} photos; without noise the mean IoU is {clean:.3f}."
    yield ""
    yield table_header("σ", *(f"{share:.0%} of pixels" for share in SHARES), text=0)
    for sigma, row in zip(SIGMAS, grid, strict=True):
        yield table_row(sigma, *(f"{value:.3f} ({value - clean:+.3f})" for value in row))


def figure() -> np.ndarray:
    """Draw two examples under rising noise: the photo, the map, the mask."""
    rows, labels = [], []
    for name in ("chelsea", "rocket"):
        rgb = fit_within(images.read(EXAMPLES / f"{name}.jpg"), Size(240, 320))
        photos = [noisy(rgb, sigma, share, 0) for sigma, share in SHOWN]
        found = [segment(each) for each in photos]
        rows.append([Tile(each) for each in photos])
        rows.append([Tile(heat(each.soft)) for each in found])
        rows.append([Tile(overlay(rgb, each.mask)) for rgb, each in zip(photos, found, strict=True)])
        labels += [f"{name}", f"{name} · attention", f"{name} · mask"]
    columns = ["no noise", *(f"sigma {sigma} on {share:.0%}" for sigma, share in SHOWN[1:])]
    return contact_sheet(rows, columns=columns, labels=labels, cell=Size(150, 225))


def main() -> None:
    """Run the study."""
    parser = command_line(__doc__)
    parser.add_argument("--figure", type=Path, help="write the figure")
    arguments = parser.parse_args()
    if arguments.figure:
        Image.fromarray(figure()).save(arguments.figure, quality=88)
    photos = list(saliency(arguments.data / "ecssd200"))[:: arguments.every]
    with get_context("spawn").Pool(initializer=one_thread) as pool:
        scores = np.array(pool.map(judge, photos, chunksize=4))
    publish(table(scores), arguments.write)


if __name__ == "__main__":
    main()
