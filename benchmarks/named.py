"""IoU of `crate segment`, as it comes, on named photos that nobody tuned on: the largest object is the truth.

    python benchmarks/named.py DATA/coco128 --pictures FOLDER

Takes the first 20 photos, by name, whose largest object covers 5 to 60 % of the picture.
"""

import argparse
import io
from itertools import islice
from pathlib import Path

import numpy as np
from photos import coco_largest
from PIL import Image

import cratecli
from cratecli.emergence.masks import iou
from cratecli.io.formats.png import encode


def main() -> None:
    """Print a line a photo, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=Path, help="write an overlay a photo into this folder")
    arguments = parser.parse_args()
    model = cratecli.load_model()
    chosen = islice((p for p in coco_largest(arguments.data) if 0.05 <= p.truth.mean() <= 0.6), 20)
    scores = []
    print("| photo | raw | refined | confidence |\n|---|---:|---:|---:|")
    for photo in chosen:
        found = cratecli.segment(photo.rgb, model)
        raw = cratecli.segment(photo.rgb, model, refine="none")
        scores.append((iou(raw.mask, photo.truth), iou(found.mask, photo.truth), found.confidence))
        print(f"| {photo.name} | " + " | ".join(f"{value:.2f}" for value in scores[-1]) + " |")
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            shown = Image.open(io.BytesIO(encode(photo.rgb, found.mask, found.soft, "overlay")))
            shown.save(arguments.pictures / f"{photo.name}.png")
    print("| mean | " + " | ".join(f"{value:.2f}" for value in np.mean(scores, axis=0)) + " |")


if __name__ == "__main__":
    main()
