"""The JSON of `crate evaluate --json`: one record a model, as users' programs read it."""

from typing import Literal

from pydantic import Field, JsonValue

from cratecli.records import Record

ProtocolName = Literal["voc", "coco", "saliency", "parts"]


class MeasureRecord(Record):
    """One measure over all photos, rounded to six digits."""

    value: float | None = Field(description="The measure, 0–1; null where it is undefined.")
    low: float | None = Field(
        description="Lower end of its 95 % confidence interval; null without intervals."
    )
    high: float | None = Field(description="Upper end of the interval; null without intervals.")
    paper: float | None = Field(
        description="The published number, 0–1, where model, data and settings are the paper's; else null."
    )


class RowRecord(Record):
    """One way to make masks, objects or parts, and its measures."""

    name: str = Field(
        description="Which way, as in the table: `auto`, `oracle`, `best head, top 60 %`, `k 4`."
    )
    layer: int | None = Field(
        description="The layer, counted from 0; null where the row is of no single layer."
    )
    measures: dict[str, MeasureRecord] = Field(description="The measures by name, in the order of the table.")


class EvaluationRecord(Record):
    """How good one model is on one data set, under one protocol."""

    protocol: ProtocolName = Field(description="The evaluation protocol: the subcommand of `crate evaluate`.")
    data: str = Field(description="The data set's folder, as it was given.")
    photos: int = Field(description="How many photos the measures are of.")
    failed: int = Field(description="How many photos could not be evaluated, and are left out.")
    weights: str | None = Field(description="The model's name or file; null for a model without a name.")
    weights_sha256: str | None = Field(description="SHA-256 of the weights file, in hexadecimal; or null.")
    run: str | None = Field(
        default=None, description="The finished run whose masks were judged; null where the model was asked."
    )
    settings: dict[str, JsonValue] = Field(
        description="Everything that decides the measures, by option; nothing left to a default."
    )
    notes: list[str] = Field(description="How the measures are computed, a sentence each.")
    rows: list[RowRecord] = Field(description="The results, in the order of the table.")
