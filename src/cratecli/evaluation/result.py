"""The result of an evaluation: measures with their confidence intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cratecli.evaluation.records import EvaluationRecord, MeasureRecord, ProtocolName, RowRecord
from cratecli.model.engine import WeightsId

DIGITS = 6  # of a number in a record


@dataclass(frozen=True)
class Measure:
    """One measure, 0–1, with its 95 % confidence interval, NaN where there is none; `paper` is the published value."""

    name: str
    value: float
    low: float
    high: float
    paper: float | None = None

    def as_record(self) -> MeasureRecord:
        """Give the measure as JSON has it: NaN as null."""
        return MeasureRecord(
            value=_rounded(self.value),
            low=_rounded(self.low),
            high=_rounded(self.high),
            paper=_rounded(self.paper),
        )


@dataclass(frozen=True)
class ResultRow:
    """The measures of one way to make masks, objects or parts; of one `layer`, from 0, where the row is of one."""

    name: str
    measures: tuple[Measure, ...]
    layer: int | None = None

    def __getitem__(self, name: str) -> float:
        """Give a measure's value by its name."""
        return next(each.value for each in self.measures if each.name == name)

    def as_record(self) -> RowRecord:
        """Give the row as JSON has it."""
        measures = {each.name: each.as_record() for each in self.measures}
        return RowRecord(name=self.name, layer=self.layer, measures=measures)


@dataclass(frozen=True)
class Evaluation:
    """How good one model is on one data set.

    The measures are of `photos` photos; `failed` more could not be evaluated. `recipe` and `notes` explain how in
    words; `settings` hold everything that decides the measures, by the names of the options. `run` is the finished run
    that was judged, if no model was asked.
    """

    protocol: ProtocolName
    data: Path
    photos: int
    failed: int
    rows: tuple[ResultRow, ...]
    recipe: str
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    weights: WeightsId | None
    run: str | None = None

    def __getitem__(self, name: str) -> ResultRow:
        """Give the first row of a name."""
        return next(row for row in self.rows if row.name == name)

    def as_record(self) -> EvaluationRecord:
        """Give the evaluation as `crate evaluate --json` prints it."""
        return EvaluationRecord(
            protocol=self.protocol,
            data=str(self.data),
            photos=self.photos,
            failed=self.failed,
            weights=self.weights.name if self.weights else None,
            weights_sha256=self.weights.sha256 if self.weights else None,
            run=self.run,
            settings=dict(self.settings),
            notes=list(self.notes),
            rows=[row.as_record() for row in self.rows],
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, DIGITS)
