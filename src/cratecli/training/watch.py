"""What happens beside the steps of a training run, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cratecli.training.records import MetricsRow


@dataclass(frozen=True)
class Watch:
    """What happens beside the steps of a run.

    `measure` takes a copy of the model, or of the mask head, every `every` passes over the data, and at the end; it
    gives measures by name. `on_row` is called with every row of metrics, `on_step` with the steps taken and the steps
    of the run, `on_note` with a line for people. `stop`, asked before every step, ends the run, as does
    `limit_minutes`.
    """

    measure: Callable[[Any], Mapping[str, float]] | None = None
    every: float = 1.0
    limit_minutes: float | None = None
    on_row: Callable[[MetricsRow], None] = lambda _row: None
    on_step: Callable[[int, int], None] = lambda _step, _steps: None
    on_note: Callable[[str], None] = lambda _text: None
    stop: Callable[[], bool] = lambda: False


UNWATCHED = Watch()


@dataclass(frozen=True)
class Trained:
    """A run that ended or was stopped: its checkpoint, the steps taken of all `steps`, seconds, the last measures."""

    checkpoint: Path
    sha256: str
    step: int
    steps: int
    seconds: float
    measures: Mapping[str, float]

    @property
    def done(self) -> bool:
        """Tell whether every step was taken."""
        return self.step == self.steps
