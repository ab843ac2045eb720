"""Runs laid out by hand, for the tests of what reads a manifest."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cratecli.io.formats.record import Annotated, Annotation
from cratecli.runs.manifest import MANIFEST, ManifestRow, read_manifest
from tests.support.annotations import blobs, specks, split


def row(
    source: str,
    output: str | None,
    objects: Sequence[Annotation],
    sha256: str = "0",
    size: tuple[int, int] = (40, 60),
) -> ManifestRow:
    """Give a row as a run would write it."""
    made = {"command": "segment", "weights": "crate-nano"}
    about = {"input": source, "input_sha256": sha256, "output": output, "output_sha256": "0"}
    photo = Annotated(source, size[0], size[1], objects)
    return ManifestRow.of(photo, **about, options="digest", made=made)


def write_manifest(folder: Path, rows: Sequence[ManifestRow]) -> Path:
    """Write a run's manifest into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.jsonl"
    path.write_text("".join(f"{each.to_json()}\n" for each in rows))
    return path


def write_photo(path: Path, size: tuple[int, int] = (40, 60), seed: int = 0) -> str:
    """Write a photo of grain, height and width in px; gives its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_rows(folder: Path) -> Iterator[ManifestRow]:
    """Read the rows of a run's manifest."""
    return (line.row for line in read_manifest(folder / MANIFEST))


def lay_out(folder: Path) -> Path:
    """Lay out photos and the folder of a run on them: one object, several, none; two that share a stem."""
    objects = {
        "a.jpg": split(blobs(40, 60), ("object",)),
        "b.png": split(specks(40, 60, 0.5), ("part 2", "part 10")),
        "b.jpg": [],
        "sub/a.png": split(blobs(40, 60, 7), ("object",)),
    }
    outputs = ["a.png", "b.png.png", "b.jpg.png", "sub/a.png"]
    rows = [
        row(f"../photos/{name}", output, found, write_photo(folder / "photos" / name))
        for (name, found), output in zip(objects.items(), outputs, strict=True)
    ]
    write_manifest(folder / "run", rows)
    return folder / "run"
