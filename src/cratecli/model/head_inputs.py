"""What a mask head is and what it reads, as data. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from cratecli.errors import validation_message

CELL = 8  # px of the photo a patch, as the head sees it
VOTE = 4  # of the vote
FINE = 2  # of the finest view
SOFT = "soft"  # the output of a head's graph
Reads = Literal["both", "photo", "model"]
_Count = Annotated[int, Field(strict=True, ge=1, le=65_536)]
_Side = Annotated[int, Field(strict=True, ge=1, le=1536)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MaskHeadConfig:
    """Describe a mask head: the model it belongs to, what it reads of it, and its width.

    `model_sha256` is the hash of the model's checkpoint file. `layers`, from 0, are those whose attention (`heads`
    maps each) and subspace tokens (`token_width` channels each) are read; `sizes` the short sides, px, at which the
    model sees the photo, of which `size` gives the patch grid that the head works on. `reads` leaves out the photo, or
    the model with its vote, to tell what each is worth.
    """

    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    layers: Annotated[tuple[Annotated[int, Field(strict=True, ge=0, le=1023)], ...], Field(min_length=1)]
    heads: _Count
    token_width: _Count
    sizes: Annotated[tuple[_Side, ...], Field(min_length=1)]
    size: _Side
    width: Annotated[int, Field(strict=True, ge=32, le=1024, multiple_of=32)] = 96
    reads: Reads = "both"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MaskHeadConfig":
        """Build from plain data. Raises `ValueError` for unknown, missing or unfit fields."""
        try:
            config = cls(**values)
        except ValidationError as error:
            raise ValueError(validation_message(error)) from None
        if config.size not in config.sizes:
            raise ValueError(f"size {config.size} is none of sizes {config.sizes}")
        return config

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, as stored in the file's metadata."""
        return asdict(self)

    @property
    def place(self) -> int:
        """Give the place among `sizes` of the view on the patch grid."""
        return self.sizes.index(self.size)

    @property
    def finest(self) -> int:
        """Give the place among `sizes` of the finest view."""
        return self.sizes.index(max(self.sizes))

    @property
    def coarse(self) -> tuple[int, ...]:
        """Give the places of the views whose attention is read on the patch grid: all but the finest, or the only."""
        return tuple(place for place in range(len(self.sizes)) if place != self.finest) or (self.finest,)


class HeadInputs(NamedTuple):
    """What a mask head reads of photos: see `emergence.mask_head.head_inputs`.

    `photo` is 0–1 less a half; `vote` the chooser's soft mask, −1 to 1, or zeros. `tokens` are unit tokens of all
    layers, scaled to variance one, `maps` the log-attention of all coarse views, layers and heads, with mean zero, on
    the patch grid; `fine_tokens` and `fine_maps` those of the finest view, on a grid twice as fine.
    """

    photo: Float[np.ndarray, "*b 3 height width"]
    vote: Float[np.ndarray, "*b 1 half_height half_width"]
    tokens: Float[np.ndarray, "*b channels rows cols"]
    maps: Float[np.ndarray, "*b maps rows cols"]
    fine_tokens: Float[np.ndarray, "*b channels fine_rows fine_cols"]
    fine_maps: Float[np.ndarray, "*b fine_maps fine_rows fine_cols"]
