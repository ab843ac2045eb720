"""Data sets painted by hand, and models that see nothing but colour: what evaluations must say of them is known."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from cratecli.geometry import Box
from cratecli.model.blocks import Projection
from cratecli.model.unroll import LayerState, WhiteBox, patch_grid

PATCH = 8
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Painter(WhiteBox):
    """Sees a patch of 8 px as its mean colour, in each of three layers; a head attends to what it is drawn to."""

    def __init__(self, *drawn_to: tuple[float, float, float], image_size: int = 64) -> None:
        """Make one with a head for each colour that one is drawn to, or driven away from by what is negative."""
        black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        super().__init__(
            depth=3, heads=len(drawn_to), patch_size=PATCH, image_size=image_size, mean=black, std=white
        )
        self.queries = nn.Parameter(torch.tensor(drawn_to), requires_grad=False)
        self.shown = 0

    def unroll(self, images: Float[Tensor, "b 3 h w"]) -> Iterator[LayerState]:
        """Hand the colours on from layer to layer."""
        self.shown += len(images)
        grid = patch_grid(images, self.patch_size)
        colours = nn.functional.avg_pool2d(images, self.patch_size).flatten(2).mT
        tokens = torch.cat([torch.zeros(len(images), 1, 3), colours], dim=1)

        def project(tokens: Tensor) -> Projection:
            keys = tokens[:, None].expand(-1, self.heads, -1, -1)
            query = self.queries[None, :, None].expand(len(tokens), -1, tokens.shape[1], -1)
            return Projection(query, keys, keys)

        for layer in range(self.depth):
            yield LayerState(layer, tokens, grid, project=project)
        yield LayerState(self.depth, tokens, grid)


def paint(
    *shapes: tuple[Box, tuple[int, int, int]], height: int = 64, width: int = 96
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Paint boxes on a blue ground."""
    rgb = np.full((height, width, 3), BLUE, np.uint8)
    for box, colour in shapes:
        rgb[box.top : box.bottom, box.left : box.right] = colour
    return rgb


def labelled(*shapes: tuple[Box, int], height: int = 64, width: int = 96) -> np.ndarray:
    """Give boxes a label each, 0 elsewhere."""
    labels = np.zeros((height, width), np.uint8)
    for box, label in shapes:
        labels[box.top : box.bottom, box.left : box.right] = label
    return labels


def save(path: Path, pixels: np.ndarray) -> None:
    """Write a picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pairs(folder: Path, truths: str, *photos: tuple[np.ndarray, np.ndarray]) -> Path:
    """Write photos and their truth side by side, as `a.png`, `b.png` and so on."""
    for number, (rgb, truth) in enumerate(photos):
        name = f"{chr(ord('a') + number)}.png"
        save(folder / "images" / name, rgb)
        save(folder / truths / name, truth)
    return folder


def devkit(folder: Path, *photos: tuple[np.ndarray, np.ndarray], year: str = "VOC2012") -> Path:
    """Write photos and their labels as VOC lays them out."""
    place, names = folder / year, []
    for number, (rgb, labels) in enumerate(photos):
        names.append(f"2007_{number:06}")
        (place / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(place / "JPEGImages" / f"{names[-1]}.jpg", format="PNG")
        save(place / "SegmentationClass" / f"{names[-1]}.png", labels)
    listed = place / "ImageSets/Segmentation/val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{name}\n" for name in names))
    return folder


def coco(folder: Path, *photos: tuple[np.ndarray, Sequence[Box]]) -> Path:
    """Write photos and the boxes of their objects as COCO's annotations, as polygons."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (rgb, boxes) in enumerate(photos, 1):
        name = f"{number:03}.png"
        save(folder / "images" / name, rgb)
        images.append({"id": number, "file_name": name, "height": rgb.shape[0], "width": rgb.shape[1]})
        for box in boxes:
            left, top, width, height = box.xywh
            corners = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": [corners],
                    "bbox": list(box.xywh),
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "thing"}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.json").write_text(json.dumps(whole))
    return folder
