"""What programs read of a training run: strict records, and measures by any name."""

import json
import math

import pytest
from pydantic import TypeAdapter, ValidationError

from cratecli.training.records import LastRow, LossRow, MeasuresRow, MetricsRow, OpeningRow, TrainedRecord
from tests.support.metrics import opening_row
from tests.support.toy import RECIPE

ROWS: TypeAdapter[MetricsRow] = TypeAdapter(MetricsRow)
PLACE = {"step": 4, "epoch": 1.0, "seconds": 0.5, "images_per_second": 64.0}
OPENING = opening_row(RECIPE)


@pytest.mark.parametrize(
    "row",
    [
        OPENING,
        OPENING.model_copy(update={"init": None}),
        LossRow.model_validate(PLACE | {"loss": 1.0, "learning_rate": 1e-5}),
        MeasuresRow.model_validate(PLACE | {"judged_in": 0.1, "accuracy": 0.5, "agree IoU": 0.25}),
        LastRow(step=12, seconds=0.5, file="model.safetensors", sha256="c0" * 32),
    ],
)
def test_a_row_reads_back(row: MetricsRow) -> None:
    assert ROWS.validate_json(row.model_dump_json()) == row


def test_the_recipe_is_that_of_the_file() -> None:
    assert json.loads(OPENING.model_dump_json())["recipe"] == json.loads(json.dumps(RECIPE.to_dict()))


def test_measures_have_any_name_and_are_numbers() -> None:
    row = MeasuresRow.model_validate(PLACE | {"judged_in": 0.1, "agree IoU": 0.25, "odd": math.nan})
    assert row.measures.keys() == {"agree IoU", "odd"}
    assert math.isnan(json.loads(row.model_dump_json())["odd"])
    with pytest.raises(ValidationError, match="agree IoU"):
        MeasuresRow.model_validate(PLACE | {"judged_in": 0.1, "agree IoU": "much"})


@pytest.mark.parametrize(
    "row", [{}, PLACE, PLACE | {"loss": 1.0}, {"step": 3, "sha256": "c0"}, {"step": "x"}]
)
def test_what_is_no_row(row: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ROWS.validate_python(row)


def test_every_field_says_what_it_is() -> None:
    for record in (OpeningRow, LossRow, MeasuresRow, LastRow, TrainedRecord):
        for name, field in record.model_fields.items():
            assert field.description, f"{record.__name__}.{name}"
