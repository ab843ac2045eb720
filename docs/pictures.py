"""Draw the pictures of the README and of these pages, from `examples/` alone.

python docs/pictures.py
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps

import cratecli
from cratecli.io import images
from cratecli.io.formats.png import overlay

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
HEIGHT, GAP = 200, 6  # px
WINDOWS = ((0, 0, 0.8, 0.85), (0.1, 0.05, 0.95, 0.9), (0.05, 0.1, 0.75, 1), (0.2, 0, 1, 0.9))


def crate(*arguments: str | Path) -> None:
    """Run the command as a user does."""
    subprocess.run(
        [sys.executable, "-m", "cratecli", *map(str, arguments), "-q"], check=True, stdout=subprocess.DEVNULL
    )


def keep(picture: Path, name: str, width: int | None = None) -> None:
    """Put a PNG into these pages, as a JPEG of at most `width` px."""
    with Image.open(picture) as image:
        rgb = image.convert("RGB")
    if width and rgb.width > width:
        rgb = rgb.resize((width, round(rgb.height * width / rgb.width)), Image.Resampling.LANCZOS)
    rgb.save(HERE / f"{name}.jpg", quality=90)


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures side by side, at one height."""
    scaled = [
        p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in pictures
    ]
    row = Image.new("RGB", (sum(p.width + GAP for p in scaled) - GAP, HEIGHT), "white")
    left = 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def strip(path: Path) -> Image.Image:
    """Put a photo, its soft map and its mask side by side."""
    rgb = images.read(path)
    result = cratecli.segment(path)
    soft = np.repeat(np.round(result.soft * 255).astype(np.uint8)[..., None], 3, axis=2)
    return beside([Image.fromarray(part) for part in (rgb, soft, overlay(rgb, result.mask))])


def segment() -> None:
    """Lay two strips out side by side."""
    strips = [strip(EXAMPLES / f"{name}.jpg") for name in ("coffee", "rocket")]
    sheet = Image.new("RGB", (sum(each.width for each in strips) + 4 * GAP, HEIGHT), "white")
    sheet.paste(strips[0], (0, 0))
    sheet.paste(strips[1], (strips[0].width + 4 * GAP, 0))
    sheet.save(HERE / "segment.jpg", quality=90)


def windows(folder: Path) -> Path:
    """Cut four windows out of one photo, every second mirrored: photos that share their parts."""
    folder.mkdir()
    with Image.open(EXAMPLES / "chelsea.jpg") as image:
        width, height = image.size
        for number, (left, top, right, bottom) in enumerate(WINDOWS):
            box = round(left * width), round(top * height), round(right * width), round(bottom * height)
            window = image.crop(box)
            (ImageOps.mirror(window) if number % 2 else window).save(folder / f"window {number}.png")
    return folder


def main() -> None:
    """Draw them all."""
    segment()
    with TemporaryDirectory() as name:
        folder = Path(name)
        crate("heads", EXAMPLES, "--layer", "-2", "-o", folder / "heads.png")
        keep(folder / "heads.png", "heads", 1000)
        crate("layers", EXAMPLES / "rocket.jpg", EXAMPLES / "chelsea.jpg", "-o", folder / "layers.png")
        keep(folder / "layers.png", "layers", 1200)
        crate("objects", EXAMPLES, "--refine", "grabcut", "-o", folder / "objects")
        overlays = [Image.open(folder / f"objects/{each}.png") for each in ("astronaut", "coffee", "rocket")]
        beside(overlays).save(HERE / "objects.jpg", quality=90)
        crate("parts", windows(folder / "windows"), "-k", "5", "-o", folder / "parts")
        keep(folder / "parts/sheet.png", "parts")


if __name__ == "__main__":
    main()
