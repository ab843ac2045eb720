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
from cratecli.arrays import RGB
from cratecli.emergence import chooser
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.io.formats.png import overlay
from cratecli.io.sheet import Tile, contact_sheet, heat
from cratecli.runs.views import Question, views_of
from cratecli.tasks.ranker import ranker
from cratecli.tasks.recipes import choose_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
HEIGHT, GAP = 200, 6  # px
FOUR = [EXAMPLES / f"{name}.jpg" for name in ("astronaut", "chelsea", "coffee", "rocket")]
GALLERY = ("raccoon", "motorcycle", "coffee", "rocket", "coins", "camera", "astronaut", "chelsea")
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


def segment() -> None:
    """Put three photos side by side, and their masks below."""
    names = ("raccoon", "motorcycle", "coffee")
    masks = [cratecli.segment(EXAMPLES / f"{name}.jpg").mask for name in names]
    photos = [images.read(EXAMPLES / f"{name}.jpg") for name in names]
    top = beside([Image.fromarray(each) for each in photos])
    below = beside([Image.fromarray(overlay(*each)) for each in zip(photos, masks, strict=True)])
    sheet = Image.new("RGB", (top.width, 2 * HEIGHT + GAP), "white")
    sheet.paste(top, (0, 0))
    sheet.paste(below, (0, HEIGHT + GAP))
    sheet.save(HERE / "segment.jpg", quality=90)


def gallery() -> None:
    """Show of eight photos what heads agree on, the three masks with most of the vote, the vote and the mask."""
    rows = [_choice(EXAMPLES / f"{name}.jpg") for name in GALLERY]
    columns = (
        "photo",
        "heads agree on",
        "candidates, and their",
        "shares of the vote",
        "",
        "the vote",
        "mask",
    )
    sheet = contact_sheet(rows, columns=columns, cell=Size(110, 150))
    Image.fromarray(sheet).save(HERE / "gallery.jpg", quality=90)


def _choice(path: Path) -> list[Tile]:
    """Lay out how one photo's mask is chosen."""
    rgb, model = images.read(path), cratecli.load_model()
    recipe, result = choose_recipe(model), cratecli.segment(path, model)
    (views,) = views_of([rgb], model, Question(recipe.layers, recipe.sizes))
    judged = chooser.judge(views, rgb, recipe.keep)
    shares = chooser.votes(chooser.score(judged, ranker(frame=recipe.frame)))

    def shown(soft: np.ndarray) -> RGB:
        return overlay(rgb, soft > chooser.CUT)

    tiles = [Tile(rgb), Tile(heat(judged.listed.saliency.log_attention))]
    for place in shares.argsort()[::-1][:3]:
        mask = chooser.soft_mask(judged, np.eye(len(shares))[place], Size(*rgb.shape[:2]))
        where = "all heads"
        if place < len(judged.listed.sources):
            layer, head = judged.listed.sources[place]
            where = f"layer {recipe.layers[layer] % model.depth}, head {head}"
        tiles.append(Tile(shown(mask), f"{where}: {shares[place]:.0%}"))
    vote = cratecli.segment(path, model, head="none")
    return [
        *tiles,
        Tile(overlay(rgb, vote.mask), "without the head"),
        Tile(overlay(rgb, result.mask), f"confidence {result.confidence:.2f}"),
    ]


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
    gallery()
    with TemporaryDirectory() as name:
        folder = Path(name)
        crate("heads", *FOUR, "--layer", "-2", "-o", folder / "heads.png")
        keep(folder / "heads.png", "heads", 1000)
        crate("layers", EXAMPLES / "rocket.jpg", EXAMPLES / "chelsea.jpg", "-o", folder / "layers.png")
        keep(folder / "layers.png", "layers", 1200)
        crate("objects", *FOUR, "-o", folder / "objects")
        overlays = [Image.open(folder / f"objects/{each}.png") for each in ("astronaut", "coffee", "chelsea")]
        beside(overlays).save(HERE / "objects.jpg", quality=90)
        crate("parts", windows(folder / "windows"), "-k", "5", "-o", folder / "parts")
        keep(folder / "parts/sheet.png", "parts")


if __name__ == "__main__":
    main()
