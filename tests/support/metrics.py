"""Rows of metrics, as runs of training write them."""

from cratecli.model.engine import WeightsId
from cratecli.training.recipe import TrainRecipe
from cratecli.training.records import OpeningRow


def opening_row(recipe: TrainRecipe) -> OpeningRow:
    """Make the first row of a run that fine-tunes the built-in model on 36 images."""
    return OpeningRow(
        recipe=recipe,
        images=36,
        left_out=0,
        classes=3,
        data="c0" * 32,
        init=WeightsId("crate-nano", "c0" * 32),
        parameters=5000,
        steps=12,
        dtype="no",
        compiled=False,
        device="cpu",
        processes=1,
        threads=2,
        versions={"torch": "2.6"},
    )
