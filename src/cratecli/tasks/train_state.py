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
from cratecli.files import replacing
from cratecli.tasks.train_recipe import TrainRecipe, read_recipe

RECIPE, METRICS, STATE, CHECKPOINT = "recipe.toml", "metrics.jsonl", "state.pt", "model.safetensors"


@dataclass
class State:
    """Where a run stands: after `step` steps, `metrics` bytes of metrics and `seconds` of work.

    `loss` is the sum over the `losses` steps that no row of metrics tells of yet. `model`, `ema` and `optimizer` are
    state dicts; `recipe` and `data` say what the run is of. There are no random states: each step and each image is
    seeded by its number.
    """

    step: int
    metrics: int
    seconds: float
    loss: float
    losses: int
    data: str
    recipe: str
    model: dict[str, Any]
    ema: dict[str, Any] | None
    optimizer: dict[str, Any]

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

    def begin(self, recipe: TrainRecipe) -> None:
        """Start a run in it. Raises `UsageError` where there is one already, `OutputError`."""
        if (self.path / STATE).exists() or (self.path / METRICS).exists():
            raise UsageError(f"{self.path}: holds a run already; --resume goes on with it")
        self._write(RECIPE, recipe.to_toml().encode())
        self._write(METRICS, b"")

    def recipe(self) -> TrainRecipe:
        """Read the recipe of the run that is there. Raises `UsageError` where there is none."""
        if not (self.path / RECIPE).exists():
            raise UsageError(f"{self.path}: holds no run to resume")
        return read_recipe(str(self.path / RECIPE))

    def load(self) -> State | None:
        """Read the state, and forget the metrics written after it; none where the run was not saved yet.

        Raises `InputError` for a damaged state.
        """
        path = self.path / STATE
        state = None
        if path.exists():
            try:
                with warnings.catch_warnings(action="ignore"):
                    told = torch.load(path, map_location="cpu", weights_only=True)
                state = State(**told)
            except (
                UnpicklingError,
                RuntimeError,
                EOFError,
                TypeError,
                ValueError,
                OSError,
                KeyError,
            ) as error:
                reason = str(error).partition("\n")[0][:200]
                raise InputError(f"{path}: is no state of a run: {reason}") from None
        metrics = self.path / METRICS
        try:
            if not metrics.exists():
                self._write(METRICS, b"")
            os.truncate(metrics, min(state.metrics if state else 0, metrics.stat().st_size))
        except OSError as error:
            raise OutputError(f"{metrics}: cannot be written: {error.strerror or error}") from None
        return state

    def save(self, state: State) -> None:
        """Keep the state. Raises `OutputError`."""
        try:
            with replacing(self.path / STATE) as stream:
                torch.save(vars(state), stream)
        except (OSError, RuntimeError) as error:  # torch's writer wraps a full disk
            raise OutputError(f"{self.path / STATE}: cannot be written: {error}") from None

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
