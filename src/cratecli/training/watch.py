"""What happens beside the steps of a training run, and what it comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cratecli.model.crate import Crate

Row = dict[str, Any]
Judge = Callable[[Crate], Mapping[str, float]]


@dataclass(frozen=True)
class Watch:
    """What happens beside the steps of a run.

    `judge` is asked what the model sees at every `every` passes, and at the end; `told` hears every row of metrics,
    `stepped` of every step done, `noted` what people should know. `stop` ends the run after the step in hand, as do
    `limit_minutes`.
    """

    judge: Judge | None = None
    every: float = 1.0
    limit_minutes: float | None = None
    told: Callable[[Row], None] = lambda _row: None
    stepped: Callable[[int, int], None] = lambda _step, _steps: None
    noted: Callable[[str], None] = lambda _text: None
    stop: Callable[[], bool] = lambda: False


UNWATCHED = Watch()


@dataclass(frozen=True)
class Trained:
    """What a run came to: its checkpoint, if it is `done`, else where it stands; the last measures by name."""

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
