"""A run's folder: its recipe, its metrics, its checkpoint, and the state from which it goes on exactly."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from cratecli.errors import InputError, OutputError, UsageError
from cratecli.files import ORPHAN, replacing
from cratecli.locks import ByteLocks
from cratecli.model.device import out_of_memory
from cratecli.training.recipe import TrainRecipe, read_recipe

RECIPE, METRICS, STATE, CHECKPOINT = "recipe.toml", "metrics.jsonl", "state.pt", "model.safetensors"


@dataclass
class State:
    """Where a run stands: after `step` steps, `metrics` bytes of metrics and `seconds` of work.

    `loss` is the sum over the `losses` steps that no row of metrics tells of yet, a mean over processes; `measures`
    are the last. `how` names what else the bits depend on: number format, threads and the like. `model`, `ema` and
    `optimizer` are state dicts; `recipe` and `data` say what the run is of. There are no random states: each step and
    each image is seeded by its number.
    """

    step: int
    metrics: int
    seconds: float
    loss: float
    losses: int
    measures: dict[str, float]
    data: str
    recipe: str
    model: dict[str, Any]
    ema: dict[str, Any] | None
    optimizer: dict[str, Any]
    how: dict[str, Any]

    def fits(self, recipe: TrainRecipe, data: str) -> None:
        """Check that it is a state of this run. Raises `UsageError`."""
        if self.recipe != recipe.to_toml():
            raise UsageError(
                "the recipe is not the one of the run in the folder: it cannot change on the way"
            )
        if self.data != data:
            raise UsageError("the data set is not the one the run was started with")


class RunFolder:
    """The folder that a run writes into. All but the metrics is replaced whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Name it; it need not be there yet."""
        self.path = path
        self.checkpoint = path / CHECKPOINT
        self._locks: ByteLocks | None = None

    def begin(self, recipe: TrainRecipe) -> None:
        """Start a run in it. Raises `UsageError` where there is one already, or just now, `OutputError`."""
        self._lock()
        if (self.path / STATE).exists():
            raise UsageError(f"{self.path}: holds a run already; --resume goes on with it")
        self._write(RECIPE, recipe.to_toml().encode())
        self._write(METRICS, b"")

    def recipe(self) -> TrainRecipe:
        """Read the recipe of the run that is there. Raises `UsageError` where there is none."""
        if not ((self.path / RECIPE).exists() and (self.path / STATE).exists()):
            raise UsageError(f"{self.path}: holds no run to resume")
        return read_recipe(str(self.path / RECIPE))

    def load(self, *, writes: bool) -> State:
        """Read the state; the process that writes takes the folder, and forgets metrics written after the state.

        Raises `InputError` for a damaged state, or metrics that end before it, `UsageError` where the run is under way.
        """
        if writes:
            self._lock()
        path, metrics = self.path / STATE, self.path / METRICS
        try:
            with warnings.catch_warnings(action="ignore"):
                told = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
            state = State(**told)
        except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError, OSError, KeyError) as error:
            reason = str(error).partition("\n")[0].partition(". ")[0][:120]
            again = f"--init {self.checkpoint} -o ELSEWHERE begins again from its last weights"
            raise InputError(f"{path}: is no state of a run: {reason}; {again}") from None
        if writes:
            try:
                if metrics.stat().st_size < state.metrics:
                    raise InputError(f"{metrics}: ends before the state of the run does")
                os.truncate(metrics, state.metrics)
            except OSError as error:
                raise OutputError(f"{metrics}: cannot be written: {error.strerror or error}") from None
        return state

    def _lock(self) -> None:
        """Take the folder for this process, and sweep what a killed one left half written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            locks = ByteLocks(self.path / f"{METRICS}.lock")
            if not locks.take(0):
                locks.close()  # the file is the other's: it stays
                raise UsageError(f"{self.path}: another process trains in it")
            self._locks = locks
            for orphan in self.path.glob(ORPHAN):
                orphan.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def close(self) -> None:
        """Let go of the folder."""
        if self._locks:
            self._locks.close()
            (self.path / f"{METRICS}.lock").unlink(missing_ok=True)
            self._locks = None

    def save(self, state: State) -> None:
        """Keep the state, and the metrics before it. Raises `OutputError`."""
        try:
            with (self.path / METRICS).open("rb") as stream:
                os.fsync(stream.fileno())
            with replacing(self.path / STATE) as stream:
                torch.save(vars(state), stream)
        except (OSError, RuntimeError) as error:  # torch's writer wraps what the disk says
            if out_of_memory(error) or "CUDA" in str(error):
                raise
            reason = getattr(error, "strerror", None) or "the disk is full, or broken"
            raise OutputError(f"{self.path / STATE}: cannot be written: {reason}") from None

    def note(self, row: dict[str, Any]) -> int:
        """Append a row of metrics, and give the file's length. Raises `OutputError`."""
        path = self.path / METRICS
        try:
            with path.open("ab") as stream:
                stream.write(json.dumps(row).encode() + b"\n")
                return stream.tell()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None

    def rows(self) -> list[dict[str, Any]]:
        """Read the metrics."""
        return [json.loads(line) for line in (self.path / METRICS).read_bytes().splitlines()]

    def _write(self, name: str, content: bytes) -> None:
        try:
            with replacing(self.path / name) as stream:
                stream.write(content)
        except OSError as error:
            raise OutputError(f"{self.path / name}: cannot be written: {error.strerror or error}") from None
