"""What a teacher said of every photo, kept as lines of JSON: a run goes on behind the last whole chunk of them."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from cratecli.arrays import Mask
from cratecli.errors import InputError, OutputError
from cratecli.geometry import Grid
from cratecli.io.formats.record import annotate, decode_rle
from cratecli.training.certainty import Taught

TAUGHT = "taught.jsonl"
CHUNK = 64  # photos that are shown to the teacher together: their masks hang on no other photo


class MaskRle(TypedDict):
    """A mask as COCO's RLE: `[height, width]`, and its runs."""

    size: list[int]
    counts: str


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class TaughtPhoto:
    """A photo's row: its path and SHA-256, the mask as RLE and how certain it is; or why the photo was passed over.

    The mask is of the photo squeezed into a frame, whose patch grid (rows and columns) is `grid`; `pooled` are photos
    that a head learns from. A near-duplicate of a photo that is held out has its name.
    """

    photo: str
    sha256: str = ""
    rle: MaskRle | None = None
    confidence: float = 0.0
    consensus: float = 0.0
    kept: float = 0.0
    grid: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    pooled: bool = False
    error: str | None = None
    duplicate_of: str | None = None

    @classmethod
    def of(cls, photo: str, sha256: str, taught: Taught, grid: Grid, *, pooled: bool) -> "TaughtPhoto":
        """Make a row of what was taught."""
        confidence, consensus, kept = (
            round(float(each), 4) for each in (taught.confidence, taught.consensus, taught.kept)
        )
        rle = annotate(taught.mask, 1.0).rle
        mask = MaskRle(size=rle["size"], counts=rle["counts"])
        return cls(photo, sha256, mask, confidence, consensus, kept, list(grid), pooled)

    def taught(self, mask: Mask) -> Taught:
        """Give what was taught of a photo that was not passed over, by its mask."""
        return Taught(mask, self.confidence, self.consensus, self.kept)

    def mask(self) -> Mask:
        """Decode the mask. Raises `InputError` for a row without one, or a broken one."""
        try:
            return decode_rle(self.rle or {})
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{TAUGHT}: the mask of {self.photo} is broken: begin again") from None


class TaughtFile:
    """The rows of a run's photos, in their order; only whole chunks count, and are there after a crash."""

    def __init__(self, folder: Path) -> None:
        """Take the run's folder."""
        self.path = folder / TAUGHT

    def start(self) -> None:
        """Make the file, empty. Raises `OutputError`."""
        self._write("xb", b"")

    def append(self, rows: Sequence[TaughtPhoto]) -> None:
        """Append the rows of a chunk. Raises `OutputError`."""
        self._write("ab", b"".join(json.dumps(asdict(row)).encode() + b"\n" for row in rows))

    def read(self, photos: int) -> list[TaughtPhoto]:
        """Read the rows of whole chunks of a run over so many photos, and cut off what is behind them.

        Raises `InputError` for a file of anything else, `OutputError`.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or error}") from None
        lines = content.splitlines(keepends=True)
        whole = len(lines) if content.endswith(b"\n") or not content else len(lines) - 1
        count = whole if whole == photos else whole // CHUNK * CHUNK
        length = sum(map(len, lines[:count]))
        try:
            rows = [TaughtPhoto(**json.loads(line)) for line in lines[:count]]
        except (ValueError, TypeError, RecursionError):
            raise InputError(
                f"{self.path}: is not what a teacher said: remove {self.path.parent} to begin again"
            ) from None
        if length != len(content):
            try:
                os.truncate(self.path, length)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        return rows

    def _write(self, how: str, content: bytes) -> None:
        try:
            with self.path.open(how) as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from None


def digest(rows: Sequence[TaughtPhoto]) -> str:
    """Hash what was taught: SHA-256, in hexadecimal; where the photos lie is no part of it."""
    together = hashlib.sha256()
    for row in rows:
        together.update(json.dumps(asdict(row) | {"photo": ""}, sort_keys=True).encode())
    return together.hexdigest()
