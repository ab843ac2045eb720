"""A run's folder: its recipe, metrics, checkpoint, and the state from which it is resumed exactly."""

import errno
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from cratecli.errors import InputError, OutputError, UsageError
from cratecli.files import remove_leftovers, replacing
from cratecli.model.engine import out_of_memory
from cratecli.training.recipe import LearningRecipe
from cratecli.training.records import MetricsRow

RECIPE, METRICS, STATE, CHECKPOINT = "recipe.toml", "metrics.jsonl", "state.pt", "model.safetensors"
LOCK = ".lock"  # never removed here: two processes could lock two files of this name

Recipe = TypeVar("Recipe", bound=LearningRecipe)

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems where processes do not see each other's locks


@dataclass
class Progress:
    """How far a run has come: `step` steps, `metrics` bytes of metrics and `seconds` of work.

    `loss` is the sum over the `losses` steps since the last row of metrics, a mean over processes; `measures` are the
    last.
    """

    step: int = 0
    metrics: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    losses: int = 0
    measures: dict[str, float] = field(default_factory=dict)


@dataclass
class RunState:
    """What a run is resumed from.

    `data` and `recipe` identify the run; `conditions` and `workers` are what else the bits depend on; `model`, `ema`
    and `optimizer` are state dicts. There are no random states: every step and every image is seeded by its number.
    """

    progress: Progress
    data: str
    recipe: str
    conditions: dict[str, Any]
    workers: int
    model: dict[str, Any]
    ema: dict[str, Any] | None
    optimizer: dict[str, Any]

    def check(self, recipe: LearningRecipe, data: str) -> None:
        """Check that it is a state of this run. Raises `UsageError`."""
        if self.recipe != recipe.to_toml():
            raise UsageError(
                "the recipe is not the one of the run in the folder: it cannot change on the way"
            )
        if self.data != data:
            raise UsageError("the data set is not the one the run was started with")


class RunFolder:
    """The folder of a run, locked by the process that writes; all files but the metrics are replaced atomically."""

    def __init__(self, path: Path, checkpoint: str = CHECKPOINT, begun: str = STATE) -> None:
        """Take a path, where a folder need not exist yet; a run has begun where the file `begun` is."""
        self.path = path
        self.checkpoint, self.begun = path / checkpoint, path / begun
        self._lock = FileLock(path / LOCK, timeout=0)

    def begin(self, recipe: LearningRecipe) -> None:
        """Lock the folder and start a run in it.

        Raises `UsageError` where a run is already, or files of its names are, or another process trains, `OutputError`.
        """
        self.hold()
        if self.begun.exists():
            raise UsageError(f"{self.path}: holds a run already; --resume goes on with it")
        if not self._left_by_a_run():
            for path in (self.path / RECIPE, self.path / METRICS, self.checkpoint):
                if path.exists():
                    raise UsageError(f"{path}: is in the way of the run's own: name another folder")
        self._write(RECIPE, recipe.to_toml().encode())
        self.start_metrics()

    def _left_by_a_run(self) -> bool:
        """Tell whether the files here are those of a run that was killed before its first state."""
        metrics = self.path / METRICS
        if not ((self.path / RECIPE).is_file() and metrics.is_file()):
            return False
        try:
            return not metrics.stat().st_size or bool(self.last_row())
        except (OSError, InputError):
            return False

    def start_metrics(self) -> None:
        """Empty the metrics. Raises `OutputError`."""
        self._write(METRICS, b"")

    def recipe(self, read: Callable[[str], Recipe]) -> Recipe:
        """Read the recipe of the run in the folder. Raises `UsageError` where there is none."""
        if not ((self.path / RECIPE).exists() and self.begun.exists()):
            raise UsageError(f"{self.path}: holds no run to resume")
        return read(str(self.path / RECIPE))

    def load(self, *, writes: bool) -> RunState:
        """Read the state; the process that writes locks the folder, and cuts off metrics written after the state.

        Raises `InputError` for a damaged state, or metrics that end before it, `UsageError` where another process
        trains, `OutputError`.
        """
        if writes:
            self.hold()
        path, metrics = self.path / STATE, self.path / METRICS
        try:
            with warnings.catch_warnings(action="ignore"):
                stored = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
            state = RunState(progress=Progress(**stored.pop("progress")), **stored)
        except (
            *(UnpicklingError, RuntimeError, EOFError, OSError),
            *(TypeError, ValueError, KeyError, AttributeError),
        ) as error:
            reason = str(error).partition("\n")[0].partition(". ")[0][:120]
            again = f"--init {self.checkpoint} -o ELSEWHERE begins again from its last weights"
            raise InputError(f"{path}: is no state of a run: {reason}; {again}") from None
        if writes:
            try:
                if metrics.stat().st_size < state.progress.metrics:
                    raise InputError(f"{metrics}: ends before the state of the run does")
                os.truncate(metrics, state.progress.metrics)
            except OSError as error:
                raise OutputError(f"{metrics}: cannot be written: {error.strerror or error}") from None
        return state

    def hold(self) -> None:
        """Lock the folder for this process, once, and remove files that a killed one left half written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                if not self._lock.is_locked:
                    self._lock.acquire()
            except Timeout:
                raise UsageError(f"{self.path}: another process trains in it") from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            remove_leftovers(self.path)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def save(self, state: RunState) -> None:
        """Keep the state, and the metrics before it. Raises `OutputError`."""
        try:
            with (self.path / METRICS).open("rb") as stream:
                os.fsync(stream.fileno())
            with replacing(self.path / STATE) as stream:
                torch.save(vars(state) | {"progress": asdict(state.progress)}, stream)
        except (OSError, RuntimeError) as error:  # torch's writer wraps what the disk says
            if out_of_memory(error) or "CUDA" in str(error):
                raise
            reason = getattr(error, "strerror", None) or "the disk is full, or broken"
            raise OutputError(f"{self.path / STATE}: cannot be written: {reason}") from None

    def append(self, row: MetricsRow) -> int:
        """Append a row of metrics, and give the file's length in bytes. Raises `OutputError`."""
        path = self.path / METRICS
        try:
            with path.open("ab") as stream:
                stream.write(row.model_dump_json().encode() + b"\n")
                return stream.tell()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None

    def last_row(self) -> MetricsRow:
        """Read the last whole row of metrics. Raises `InputError` for a line that is none."""
        path = self.path / METRICS
        try:
            whole = path.read_bytes().rpartition(b"\n")[0]  # a full disk may have torn what is behind
            row: MetricsRow = TypeAdapter(MetricsRow).validate_json(whole.splitlines()[-1])
        except (ValueError, IndexError):
            raise InputError(f"{path}: its last line is no row of metrics") from None
        return row

    def _write(self, name: str, content: bytes) -> None:
        try:
            with replacing(self.path / name) as stream:
                stream.write(content)
        except OSError as error:
            raise OutputError(f"{self.path / name}: cannot be written: {error.strerror or error}") from None
