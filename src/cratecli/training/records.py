"""What programs read of a training run: the rows of `metrics.jsonl`, and the record of `crate train --json`."""

from typing import Annotated

from pydantic import ConfigDict, Discriminator, Field, Tag

from cratecli.model.engine import WeightsId
from cratecli.records import Record
from cratecli.training.head_recipe import HeadRecipe
from cratecli.training.recipe import TrainRecipe


class TrainingRecord(Record):
    """A record of a run; a loss that is no number is written as JSON's readers have it: NaN."""

    model_config = ConfigDict(strict=False, ser_json_inf_nan="constants")


class Measured(TrainingRecord):
    """A record that also holds measures of the model, by name.

    On a validation split they are `accuracy` (0-1) and `validation_loss` (nats); `crate train --evaluate saliency`
    adds `agree IoU`, `mean of heads IoU` and `oracle IoU` (0-1), and `Watch.measure` whatever it gives.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    @property
    def measures(self) -> dict[str, float]:
        """Give the measures by name."""
        return dict(self.__pydantic_extra__)


class Conditions(TrainingRecord):
    """What the weights' last bits depend on, beside recipe, data and machine."""

    dtype: str = Field(description="accelerate's mixed precision: no (float32) or bf16.")
    compiled: bool = Field(description="Whether torch.compile compiled the step.")
    device: str = Field(description="Kind of device: cpu, cuda or mps.")
    processes: int = Field(description="Processes that share a step.")
    threads: int = Field(description="Threads of a process.")


class OpeningRow(Conditions):
    """The first row of metrics: what is trained, on what and how."""

    recipe: TrainRecipe = Field(description="Every setting of the recipe.")
    images: int = Field(description="Images of the training data.")
    left_out: int = Field(description="Files left out: no regular files, or links to others.")
    classes: int = Field(description="Classes that the model tells apart.")
    data: str = Field(description="SHA-256, in hexadecimal, of names and sizes of the training data.")
    init: WeightsId | None = Field(description="The model that is fine-tuned; null for random weights.")
    parameters: int = Field(description="Weights that are trained.")
    steps: int = Field(description="Steps of the whole run.")
    versions: dict[str, str] = Field(description="Versions of cratecli, torch, timm and accelerate.")


class StepRow(TrainingRecord):
    """A row of metrics after a step."""

    step: int = Field(description="Steps taken since the start.")
    epoch: float = Field(description="Passes over the data since the start.")
    seconds: float = Field(description="Time spent in the run, s, without its interruptions.")
    images_per_second: float = Field(description="Images trained on a second, since the start.")


class LossRow(StepRow):
    """A row of metrics after some steps of training, ten times a pass."""

    loss: float = Field(
        description="Mean loss of the steps since the last such row; of classes it is cross-entropy, nats."
    )
    learning_rate: float = Field(description="Of the last step.")


class MeasuresRow(StepRow, Measured):
    """A row of metrics after the model was measured."""

    judged_in: float = Field(description="Time that measuring took, s.")


class LastRow(TrainingRecord):
    """The last row of metrics of a finished run: its checkpoint."""

    step: int = Field(description="Steps taken.")
    seconds: float = Field(description="Time spent in the run, s, without its interruptions.")
    file: str = Field(description="Name of the checkpoint, in the run's folder.")
    sha256: str = Field(description="SHA-256 of the checkpoint, in hexadecimal.")


class HeadOpeningRow(Conditions):
    """The first row of metrics of `crate self-train`: what the head is trained on, and how."""

    recipe: HeadRecipe = Field(description="Every setting of the recipe.")
    model: WeightsId | None = Field(description="The model that the head belongs to.")
    photos: int = Field(description="Photos that the teacher saw.")
    objects: int = Field(description="Sure objects that are pasted.")
    grounds: int = Field(description="Windows without an object that they are pasted on.")
    data: str = Field(description="SHA-256, in hexadecimal, of what the teacher said.")
    parameters: int = Field(description="Weights that are trained.")
    steps: int = Field(description="Steps of the whole run.")
    versions: dict[str, str] = Field(description="Versions of cratecli, torch, timm and accelerate.")


def _learned(row: object) -> str:
    """Tell the opening row of a head from one of classes: each refuses the other's recipe."""
    held = row.keys() if isinstance(row, dict) else getattr(row, "__dict__", {})
    return "head" if "objects" in held else "classes"


OpenedRow = Annotated[
    Annotated[OpeningRow, Tag("classes")] | Annotated[HeadOpeningRow, Tag("head")], Discriminator(_learned)
]
"""The first line of `metrics.jsonl`."""

MetricsRow = OpenedRow | LossRow | MeasuresRow | LastRow
"""A line of `metrics.jsonl`."""


class TrainedRecord(Measured):
    """What `crate train --json` prints: the checkpoint, how far the run came, and the last measures."""

    checkpoint: str = Field(description="Path of the checkpoint.")
    sha256: str = Field(description="SHA-256 of the checkpoint, in hexadecimal.")
    done: bool = Field(description="Whether every step was taken; else --resume goes on.")
    step: int = Field(description="Steps taken.")
    steps: int = Field(description="Steps of the whole run.")
    seconds: float = Field(description="Time spent in the run, s, without its interruptions.")
