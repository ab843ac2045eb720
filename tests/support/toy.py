"""A toy data set for training: three classes of small pictures, told apart by the colour of a block."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cratecli.model.config import CrateConfig
from cratecli.training.recipe import TrainRecipe

CLASSES = ("blue", "green", "red")
MODEL = CrateConfig(patch_size=4, width=24, heads=3, depth=2, image_size=16, classes=3)
RECIPE = TrainRecipe(
    model=MODEL,
    epochs=3,
    batch_size=8,
    learning_rate=3e-3,
    ema=0.9,
    warmup_epochs=0.5,
    drop_patches=0.25,
    full_epochs=0.5,
    crop_area=0.5,
    label_smoothing=0.1,
    seed=3,
)
TOML = RECIPE.to_toml()


def toy(folder: Path, train: int = 12, val: int = 4) -> Path:
    """Make `train` and `val`, so many pictures a class, 24 × 30 px."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number, name in enumerate(CLASSES):
            home = folder / split / name
            home.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 80, (24, 30, 3), np.uint8)
                pixels[6:18, 8:20, 2 - number] += 150
                Image.fromarray(pixels).save(home / f"{index}.png")
    return folder


def metrics(run: Path) -> list[dict[str, Any]]:
    """Read the rows of metrics of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def timeless(run: Path) -> list[dict[str, Any]]:
    """Read the rows of metrics without the fields that depend on the clock."""
    clock = {"seconds", "images_per_second", "judged_in"}
    return [{name: value for name, value in row.items() if name not in clock} for row in metrics(run)]


def same_end(one: Path, other: Path) -> bool:
    """Tell whether two runs have the same metrics, but for the clock, and the same checkpoint to the byte."""
    checkpoints = [run / "model.safetensors" for run in (one, other)]
    return timeless(one) == timeless(other) and checkpoints[0].read_bytes() == checkpoints[1].read_bytes()


def packed(folder: Path, into: Path) -> Path:
    """Pack a folder of classes into a tar."""
    with tarfile.open(into, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, path.relative_to(folder))
    return into


def sharded(folder: Path, into: Path) -> Path:
    """Pack the training pictures as webdataset shards, with the description that timm reads."""
    into.mkdir()
    pictures = sorted((folder / "train").rglob("*.png"))
    pictures = pictures[::2] + pictures[1::2]
    sizes = {}
    for shard in range(2):
        mine = pictures[shard::2]
        with tarfile.open(into / f"toy-train-{shard}.tar", "w") as archive:
            for index, path in enumerate(mine):
                archive.add(path, f"{shard}{index}.png")
                label = into / "label"
                label.write_text(str(CLASSES.index(path.parent.name)))
                archive.add(label, f"{shard}{index}.cls")
                label.unlink()
        sizes[f"toy-train-{shard}.tar"] = len(mine)
    splits = {
        "train": {
            "name": "train",
            "filenames": [*sizes],
            "shard_lengths": [*sizes.values()],
            "num_samples": sum(sizes.values()),
        }
    }
    (into / "_info.json").write_text(json.dumps({"splits": splits}))
    return into
