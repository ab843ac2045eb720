"""Measure memory and disk of `crate parts` on shards of more and more photos.

    OMP_NUM_THREADS=1 python benchmarks/parts_shards.py DATA --write benchmarks/parts_shards.md

DATA is the folder with `horses40` and `ecssd200` (folders `images`). Their photos, made small, fill shards of a hundred
each; where more are needed than there are, they come again without their first rows and columns.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from measure import peak_memory
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row
from PIL import Image

from cratecli.emergence.rules import Foreground
from cratecli.io import images
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import Inputs
from cratecli.runs.jobs import SeenPhoto
from cratecli.runs.outputs import Outputs, plan_run
from cratecli.tasks import parts_run

COUNTS = (200, 800, 1600)  # photos
SHARD = 100  # photos in each
SIDE = 96  # px, their short sides, and the model's input
CROP = 2  # px, of rows and columns, for every time a photo has come before
KEPT = 8_000_000  # bytes of descriptors on disk, so that the limit is met by few photos
LOOK = 0.02  # seconds between two looks at the temporary folder
WAYS: dict[str, tuple[str, Foreground]] = {
    "learn, attention": ("none", "attention"),
    "learn, pca": ("none", "pca"),
    "learn and label, attention": ("labels", "attention"),
}


class Run(NamedTuple):
    """What a run took: the peak before any photo and in all, and the most on disk (MB); and what it learned."""

    before: float
    peak: float
    disk: float
    vocabulary: str


def small(path: Path, again: int) -> bytes:
    """Make a small photo of a large one, another for each time that it comes again."""
    rgb = images.read(path)
    factor = (SIDE + CROP * again) / min(rgb.shape[:2])
    size = round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)
    shrunk = np.asarray(Image.fromarray(rgb).resize(size))[CROP * again :, CROP * again :]
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shrunk)).save(content, "JPEG", quality=90)
    return content.getvalue()


def fill_shards(data: Path, folder: Path) -> None:
    """Write the shards of the largest run; smaller ones take the first of them."""
    paths = [path for name in ("horses40", "ecssd200") for path in sorted((data / name / "images").iterdir())]
    for start in range(0, max(COUNTS), SHARD):
        with tarfile.open(folder / f"{start // SHARD:04}.tar", "w") as tar:
            for index in range(start, min(start + SHARD, max(COUNTS))):
                again, which = divmod(index, len(paths))
                content = small(paths[which], again)
                header = tarfile.TarInfo(f"{index:06}.jpg")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))


def run(shards: Path, way: str, count: int, *, backwards: bool) -> Run:
    """Learn from shards, in a process that does nothing else."""
    kind, rule = WAYS[way]
    names = [str(shards / f"{number:04}.tar") for number in range(-(-count // SHARD))]
    with (
        TemporaryDirectory() as place,
        patch("tempfile.tempdir", place),
        patch.object(parts_run, "KEPT", KEPT),
    ):
        save, output = Path(place, "vocabulary"), None if kind == "none" else f"{place}/out"
        inputs = Inputs(tuple(names[::-1] if backwards else names))
        plan = plan_run(inputs, Outputs(output, kind, "parts", save=save, streamed=True))
        desk = Desk(built_in(), 3 if backwards else 8)
        choice = parts_run.choose_vocabulary(
            built_in(), {"foreground": rule, "layers": [-1], "sizes": [SIDE], "k": 4}, save=save
        )
        before, watch = peak_memory(), Watch(Path(place))
        with watch:
            outcomes = parts_run.parts_run(plan, desk, choice, kind=None if kind == "none" else "labels")
            seen = sum(isinstance(outcome, SeenPhoto) for outcome in outcomes)
        if seen != min(count, SHARD * len(names)):
            raise ValueError(f"{seen} photos of {count}")
        digest = hashlib.sha256(save.read_bytes()).hexdigest()
        return Run(before, peak_memory(), watch.most / 1e6, digest)


class Watch:
    """Looks, again and again, how much the temporary folders of a run hold; what is written for good is no part."""

    def __init__(self, folder: Path) -> None:
        """Watch a folder from the beginning of the block to its end."""
        self._folder, self._over, self.most = folder, threading.Event(), 0
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(LOOK):
            sizes = [_size(each) for each in self._folder.glob("crate-*/**/*")]
            self.most = max(self.most, sum(sizes))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End the watch."""
        self._over.set()
        self._thread.join()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it is removed already
        return 0


def run_apart(shards: Path, way: str, count: int, *, backwards: bool) -> Run:
    """Run in a fresh process."""
    command = [sys.executable, __file__, str(shards), "--run", way, str(count), *["--backwards"] * backwards]
    return Run(*json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def table(shards: Path) -> Iterator[str]:
    """Write memory and disk as Markdown; the first way runs once more, in another order and batch size."""
    few, many = COUNTS[0], COUNTS[-1]
    yield table_header("", "photos", "peak", f"/ of {few}", "of it for photos", "temporary folder")
    found: dict[tuple[str, int], Run] = {}
    for way in WAYS:
        for count in COUNTS:
            one = found[way, count] = run_apart(shards, way, count, backwards=False)
            print(way, count, *(f"{each:.1f}" for each in one[:-1]), file=sys.stderr, flush=True)
            yield table_row(
                way,
                f"{count:,}",
                f"{one.peak:.0f} MB",
                f"{one.peak / found[way, few].peak:.2f}",
                f"{one.peak - one.before:.0f} MB",
                f"{one.disk:.1f} MB",
            )
    first = next(iter(WAYS))
    other = run_apart(shards, first, many, backwards=True)
    same = "the same, byte for byte" if other.vocabulary == found[first, many].vocabulary else "ANOTHER"
    yield ""
    yield f"- {many:,} photos, shards in the other order, 3 photos together, not 8: the vocabulary is {same}."


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("--run", nargs=2, metavar=("WAY", "COUNT"), help="do one run and print what it took")
    parser.add_argument("--backwards", action="store_true", help="shards last to first, 3 photos together")
    arguments = parser.parse_args()
    one_thread()
    if arguments.run:
        way, count = arguments.run
        print(json.dumps(run(arguments.data, way, int(count), backwards=arguments.backwards)))
        return
    with TemporaryDirectory() as folder:
        fill_shards(arguments.data, Path(folder))
        publish(list(table(Path(folder))), arguments.write)


if __name__ == "__main__":
    main()
