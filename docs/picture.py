"""Draw the README's picture: each example, the model's attention, and the mask, by the Python API.

python docs/picture.py docs/segment.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import cratecli
from cratecli.io import images
from cratecli.io.formats.png import overlay

HEIGHT, GAP = 200, 6  # px


def strip(path: Path) -> Image.Image:
    """Put a photo, its soft map and its mask side by side."""
    rgb = images.read(path)
    found = cratecli.segment(path)
    soft = np.repeat(np.round(found.soft * 255).astype(np.uint8)[..., None], 3, axis=2)
    pictures = [Image.fromarray(part) for part in (rgb, soft, overlay(rgb, found.mask))]
    width = round(HEIGHT * rgb.shape[1] / rgb.shape[0])
    row = Image.new("RGB", (3 * width + 2 * GAP, HEIGHT), "white")
    for column, picture in enumerate(pictures):
        row.paste(picture.resize((width, HEIGHT), Image.Resampling.LANCZOS), (column * (width + GAP), 0))
    return row


def main() -> None:
    """Lay the strips out in two columns."""
    names = sys.argv[2:] or ["chelsea", "rocket"]
    strips = [strip(Path(__file__).parents[1] / "examples" / f"{name}.jpg") for name in names]
    width = max(picture.width for picture in strips)
    rows = (len(strips) + 1) // 2
    sheet = Image.new("RGB", (2 * width + 4 * GAP, rows * (HEIGHT + GAP) - GAP), "white")
    for index, picture in enumerate(strips):
        sheet.paste(picture, ((index % 2) * (width + 4 * GAP), (index // 2) * (HEIGHT + GAP)))
    sheet.save(sys.argv[1], quality=90)


if __name__ == "__main__":
    main()
