"""IoU of `crate segment`, as it comes, on named photos that nobody tuned on: the largest object is the truth.

    python benchmarks/named.py DATA/coco128 --pictures FOLDER

Takes the first 20 photos, by name, whose largest object covers 5 to 60 % of the picture.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from models import built_in
from page import command_line, publish, table_header, table_row
from photos import coco_largest

import cratecli
from cratecli.emergence.masks import iou
from cratecli.io.formats.png import encode_rgb, overlay


def table(data: Path, pictures: Path | None) -> Iterator[str]:
    """Write a row a photo, and the mean."""
    chosen = islice((p for p in coco_largest(data) if 0.05 <= p.truth.mean() <= 0.6), 20)
    scores = []
    yield table_header("photo", "raw", "refined", "confidence")
    for photo in chosen:
        look = cratecli.look(photo.rgb, built_in())
        raw, refined = cratecli.segment(look, refine="none"), cratecli.segment(look)
        scores.append((iou(raw.mask, photo.truth), iou(refined.mask, photo.truth), refined.confidence))
        yield table_row(photo.name, *(f"{value:.2f}" for value in scores[-1]))
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            shown = encode_rgb(overlay(photo.rgb, refined.mask))
            (pictures / f"{photo.name}.png").write_bytes(shown)
    yield table_row("mean", *(f"{value:.2f}" for value in np.mean(scores, axis=0)))


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("--pictures", type=Path, help="write an overlay a photo into this folder")
    arguments = parser.parse_args()
    publish(table(arguments.data, arguments.pictures), arguments.write)


if __name__ == "__main__":
    main()
