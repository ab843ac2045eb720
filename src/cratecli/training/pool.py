"""Pictures as a head reads them: each seen once by the model and its chooser, kept on disk, shown many times.

Pictures are squeezed into one of five frames, so that those of a step lie on one patch grid. Tokens are projected onto
their principal components, and all features rounded to 8 bits: a picture takes about 0.15 MB.
"""

import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cratecli.arrays import Mask, Soft
from cratecli.emergence import chooser
from cratecli.emergence.chooser import Judged, Ranker
from cratecli.emergence.mask_head import fitted_vote
from cratecli.errors import InputError, OutputError
from cratecli.files import sweep
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.model.head_inputs import CELL, FINE, VOTE, HeadInputs, MaskHeadConfig
from cratecli.training.projection import AGAIN, PROJECTION, Projection

ASPECTS = (Size(2, 3), Size(3, 4), Size(1, 1), Size(4, 3), Size(3, 2))  # of frames
SEEN = 256  # px of the longer side, at most, at which a teacher sees pictures
OPINIONS = 5  # votes of a picture: the chooser's, that without the frame, and some that may be wrong
_TOKEN_STEP, _MAP_STEP = 1 / 16, 1 / 30  # of the 8 bits
_DOUBT, _BLUR, _DROPPED = (
    0.7,
    0.2,
    0.4,
)  # noise of a cue's weight, in parts of it and beside; candidates left out

_OWN = re.compile(r"(photos|composites)-\d+x\d+")  # names of files of pictures
_CHECKSUM = np.dtype("<u4")


def frame_grid(size: Size, config_size: int, patch_size: int) -> Grid:
    """Choose the frame whose aspect is nearest to a photo's: its patch grid."""
    aspect = np.log(size.height / size.width)
    nearest = min(ASPECTS, key=lambda each: abs(aspect - np.log(each.height / each.width)))
    return fit_grid(nearest, config_size, patch_size)


def frame_size(grid: Grid) -> Size:
    """Give the size at which the model and the teacher see a picture of a frame, px."""
    return Size(*grid.pixels(max(1, SEEN // max(grid))))


def opinions(
    judged: Judged, with_frame: Ranker, without_frame: Ranker, random: np.random.Generator
) -> list[Soft]:
    """Give the chooser's vote, that without the frame, and votes of rankers that are off the track, 0–1.

    What a head learns to mend are votes that may be wrong: cues weigh more or less than they should, and a part of the
    candidates does not stand.
    """
    scores = [chooser.score(judged, each) for each in (with_frame, without_frame)]
    for _ in range(OPINIONS - 2):
        ranker = {
            name: weight * random.normal(1, _DOUBT) + random.normal(0, _BLUR)
            for name, weight in sorted(with_frame.items())
        }
        doubted = chooser.score(judged, ranker)
        left_out = random.random(len(doubted)) < _DROPPED
        left_out[doubted.argmax()] = False
        scores.append(np.where(left_out, -np.inf, doubted))
    return [chooser.soft_mask(judged, chooser.votes(each), judged.size) for each in scores]


@dataclass(frozen=True, eq=False)
class Pool:
    """The pictures of a run, in its folder: photos that were taught, and composites, by frame.

    Files only grow; each holds the records of one frame, one behind the other.
    """

    folder: Path
    config: MaskHeadConfig
    patch_size: int
    projection: Projection

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """Give the frames: their patch grids."""
        return tuple(fit_grid(each, self.config.size, self.patch_size) for each in ASPECTS)

    def record(self, grid: Grid) -> np.dtype:
        """Describe a picture of a frame."""
        config, (rows, cols) = self.config, grid
        maps = len(config.layers) * config.heads
        half = VOTE * rows, VOTE * cols
        fine = FINE * rows, FINE * cols
        return np.dtype(
            [
                ("photo", "u1", (3, CELL * rows, CELL * cols)),
                ("votes", "u1", (OPINIONS, *half)),
                ("tokens", "i1", (self.projection.tokens.shape[1], rows, cols)),
                ("maps", "i1", (len(config.coarse) * maps, rows, cols)),
                ("fine_tokens", "i1", (self.projection.fine_tokens.shape[1], *fine)),
                ("fine_maps", "i1", (maps, *fine)),
                ("mask", "u1", half),
                ("weight", "<f4"),
                ("checksum", _CHECKSUM),  # CRC-32 of all before it
            ]
        )

    def squeeze(
        self, inputs: HeadInputs, votes: Sequence[Soft], mask: Mask, weight: float
    ) -> tuple[Grid, np.ndarray]:
        """Make the record of a picture, and give its frame."""
        grid = Grid(*inputs.tokens.shape[1:])
        record = np.zeros((), self.record(grid))
        record["photo"] = np.rint(255 * (inputs.photo + 0.5))
        record["votes"] = [np.rint(127.5 * (fitted_vote(each, grid)[0] + 1)) for each in votes]
        for name in ("tokens", "fine_tokens"):
            basis, values = getattr(self.projection, name), getattr(inputs, name)
            record[name] = _rounded(np.einsum("dc,dhw->chw", basis, values, optimize=True), _TOKEN_STEP)
        for name in ("maps", "fine_maps"):
            record[name] = _rounded(getattr(inputs, name), _MAP_STEP)
        record["mask"] = np.rint(127.5 * (fitted_vote(mask.astype(np.float32), grid)[0] + 1))
        record["weight"] = weight
        seal(record)
        return grid, record

    def append(self, kind: str, records: Mapping[Grid, Sequence[np.ndarray]]) -> None:
        """Append pictures, by frame. Raises `OutputError`."""
        for grid, some in records.items():
            path = self._path(kind, grid)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as stream:
                    stream.write(np.stack(some).tobytes())
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None

    def cut(self, kind: str, counts: Mapping[Grid, int]) -> None:
        """Cut off what is behind so many pictures of each frame. Raises `InputError` where there are fewer."""
        for grid in self.grids:
            path, length = self._path(kind, grid), counts.get(grid, 0) * self.record(grid).itemsize
            held = path.stat().st_size if path.exists() else 0
            if held < length:
                raise InputError(f"{path}: has lost pictures: remove {self.folder.parent} to begin again")
            if held > length:
                try:
                    os.truncate(path, length)
                except OSError as error:
                    raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None

    def count(self, kind: str) -> dict[Grid, int]:
        """Count the whole pictures of each frame."""
        paths = {grid: self._path(kind, grid) for grid in self.grids}
        return {
            grid: path.stat().st_size // self.record(grid).itemsize if path.exists() else 0
            for grid, path in paths.items()
        }

    def read(self, kind: str) -> dict[Grid, np.ndarray]:
        """Map the pictures of each frame that has any into memory. Raises `InputError` for damaged ones."""
        found: dict[Grid, np.ndarray] = {
            grid: np.memmap(self._path(kind, grid), self.record(grid), "r", shape=(count,))
            for grid, count in self.count(kind).items()
            if count
        }
        for grid, pictures in found.items():
            if any(each["checksum"] != _checksum(each) for each in pictures):
                raise InputError(f"{self._path(kind, grid)}: is damaged: {AGAIN}")
        return found

    def _path(self, kind: str, grid: Grid) -> Path:
        return self.folder / f"{kind}-{grid.rows}x{grid.cols}"


def seal(record: np.ndarray) -> None:
    """Give a record the checksum of what it holds."""
    record["checksum"] = _checksum(record)


def _checksum(record: np.ndarray) -> int:
    return zlib.crc32(memoryview(record.tobytes())[: -_CHECKSUM.itemsize])


def clear_pool(folder: Path) -> None:
    """Remove a pool's own files, and its folder if nothing else is in it."""
    sweep([folder])
    for path in folder.glob("*"):
        if path.name == PROJECTION or (_OWN.fullmatch(path.name) and path.is_file()):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _rounded(values: np.ndarray, step: float) -> np.ndarray:
    return np.clip(np.rint(values / step), -127, 127).astype(np.int8)


@dataclass(frozen=True)
class Window:
    """Where a picture is cut: corner and size in patches, and whether it is mirrored."""

    top: int
    left: int
    rows: int
    cols: int
    mirrored: bool

    def cut(self, values: np.ndarray, cells: int) -> np.ndarray:
        """Cut out of maps with so many cells a patch."""
        down, right = (
            slice(cells * start, cells * (start + length))
            for start, length in ((self.top, self.rows), (self.left, self.cols))
        )
        part = values[..., down, right]
        return part[..., ::-1] if self.mirrored else part


def widen(
    records: Sequence[np.ndarray], votes: Sequence[int | None], windows: Sequence[Window]
) -> HeadInputs:
    """Give what a head reads of windows of pictures, each with one of its votes, or none."""
    cells = {"photo": CELL, "tokens": 1, "maps": 1, "fine_tokens": FINE, "fine_maps": FINE}
    steps = {"photo": 1 / 255, "tokens": _TOKEN_STEP, "fine_tokens": _TOKEN_STEP}
    read = {
        name: np.stack(
            [window.cut(record[name], each) for record, window in zip(records, windows, strict=True)]
        )
        * np.float32(steps.get(name, _MAP_STEP))
        for name, each in cells.items()
    }
    read["photo"] -= np.float32(0.5)
    read["vote"] = np.stack(list(_votes(records, votes, windows)))
    return HeadInputs(**read)


def _votes(
    records: Sequence[np.ndarray], votes: Sequence[int | None], windows: Sequence[Window]
) -> Iterator[np.ndarray]:
    for record, vote, window in zip(records, votes, windows, strict=True):
        told = window.cut(record["votes"][vote or 0][None], VOTE) / np.float32(127.5) - 1
        yield told if vote is not None else np.zeros_like(told)
