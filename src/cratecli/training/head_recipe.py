"""How a mask head is trained, as data: a frozen recipe."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cratecli.errors import UsageError
from cratecli.files import read_text_bytes
from cratecli.model.head_inputs import Reads
from cratecli.training.certainty import SURE, Sureness
from cratecli.training.recipe import ClipNorm, Ema, LearningRate, LearningRecipe, Stored, WarmupEpochs


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class HeadRecipe(LearningRecipe):
    """Everything that, with photos, model and seed, decides a mask head.

    A pass over the data shows as many pictures as there are photos and composites. Raises `UsageError` for a setting
    that is out of range or of another type.
    """

    epochs: float = Field(default=12.0, gt=0, le=1e5, description="How often each picture is shown.")
    batch_size: int = Field(default=32, ge=1, le=65_536, description="Pictures a step.")
    learning_rate: LearningRate = 3e-3
    warmup_epochs: WarmupEpochs = 0.2
    clip_norm: ClipNorm = 1.0
    ema: Ema = 0.998
    stored: Stored = "float16"
    size: int = Field(
        default=96,
        ge=1,
        le=1536,
        description="Short side whose patch grid the head works on, px: one of those that the model sees.",
    )
    width: int = Field(
        default=96, ge=32, le=1024, multiple_of=32, description="Channels of the head on the patch grid."
    )
    reads: Reads = Field(
        default="both",
        description="What the head reads: the model's features and its vote, the photo, or both.",
    )
    photos: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the pictures that are the photos with the teacher's masks, not composites.",
    )
    composites: float = Field(
        default=1.0, ge=0, le=1e3, description="Composites that are made, a photo; each takes as long."
    )
    consensus: float = Field(
        default=SURE.consensus,
        ge=0,
        le=1,
        description="Least IoU of the teacher's masks, found by different ways, of a sure object.",
    )
    kept: float = Field(
        default=SURE.kept,
        ge=0,
        le=1,
        description="Least IoU of a sure object's mask before and after refinement.",
    )
    confidence: float = Field(
        default=SURE.confidence, ge=0, le=1, description="Least expected IoU of the vote, of a sure object."
    )

    teacher: str = Field(
        default="chooser",
        description="Who teaches: chooser, or the SHA-256 of a mask head's file.",
    )
    model_sha256: str = Field(default="", description="SHA-256 of the model that the head belongs to.")
    photos_sha256: str = Field(default="", description="SHA-256 of the photos' names.")
    held_out_sha256: str = Field(default="", description="SHA-256 of thumbnails of the photos held out.")

    def settings(self) -> list[str]:
        """Name what can be changed."""
        return [name for name in super().settings() if name not in GIVEN]

    def changed(self, changes: Mapping[str, str]) -> "HeadRecipe":
        """Replace settings by name, but for those that a run's arguments decide."""
        if named := next((name for name in changes if name in GIVEN), None):
            raise UsageError(f"{named} is no setting: an argument decides it")
        return super().changed(changes)

    @property
    def sure(self) -> Sureness:
        """Give what makes an object sure."""
        return Sureness(confidence=self.confidence, consensus=self.consensus, kept=self.kept)


GIVEN = ("teacher", "model_sha256", "photos_sha256", "held_out_sha256")
"""Settings that a run's arguments decide, not `--set`."""


def read_head_recipe(file: str) -> HeadRecipe:
    """Read a recipe that `to_toml` wrote. Raises `UsageError`."""
    try:
        values = tomllib.loads(read_text_bytes(Path(file)).decode())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: is no recipe: {error}") from None
    try:
        return HeadRecipe(**values)
    except (UsageError, TypeError) as error:
        raise UsageError(f"{file}: {error}") from None
