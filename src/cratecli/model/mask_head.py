"""A mask head: a small convolutional network that draws a mask from a frozen model's features and the photo.

It is trained by the model on its own sure masks (`crate self-train`). Features lie on the patch grid; the photo comes
with 8 px a patch, whatever the model's patch size. A U-Net's way down reads the photo, the features join on the patch
grid, where residual blocks of growing dilation and a mean over the photo see it whole, and the way up follows the
photo's edges (2015: 1505.04597; residual blocks: 1603.05027; dilation: 1511.07122).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from cratecli.errors import validation_message

CELL = 8  # px of the photo a patch, as the head sees it
Reads = Literal["both", "photo", "model"]
_Count = Annotated[int, Field(strict=True, ge=1, le=65_536)]
_GROUPS = 8  # of group normalisation: a photo's mask hangs on no other of its batch
_DILATIONS = (1, 2, 4, 1)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MaskHeadConfig:
    """Describe a mask head: the model it belongs to, what it reads of it, and its width.

    `model_sha256` is the hash of the model's checkpoint file. `layers`, from 0, are those whose attention (`heads`
    maps each) and subspace tokens (`token_width` channels each) are read, of the photo at the short side `size`, px.
    `reads` leaves out the photo or the model's features, to tell what each is worth.
    """

    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    layers: tuple[Annotated[int, Field(strict=True, ge=0, le=1023)], ...]
    heads: _Count
    token_width: _Count
    size: Annotated[int, Field(strict=True, ge=1, le=1536)] = 96
    width: Annotated[int, Field(strict=True, ge=16, le=1024, multiple_of=32)] = 64
    reads: Reads = "both"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MaskHeadConfig":
        """Build from plain data. Raises `ValueError` for unknown, missing or unfit fields."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ValueError(validation_message(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, as stored in the file's metadata."""
        return asdict(self)


class HeadInputs(NamedTuple):
    """What a mask head reads of photos: see `emergence.mask_features`.

    `photo` is 0–1 less a half; `tokens` are unit tokens of all layers, scaled to variance one; `maps` the log-attention
    of all layers and heads, with mean zero.
    """

    photo: Float[Tensor, "b 3 height width"]
    tokens: Float[Tensor, "b channels rows cols"]
    maps: Float[Tensor, "b maps rows cols"]


class MaskLogits(NamedTuple):
    """A mask as logits: at half the photo's size, and, for the loss, on the patch grid."""

    fine: Float[Tensor, "b half_height half_width"]
    coarse: Float[Tensor, "b rows cols"]


class Residual(nn.Module):
    """A residual block: `x + conv(relu(norm(conv(relu(norm(x))))))` (1603.05027), the second half starting at zero."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        """Make a block with random weights."""
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for _ in range(2))
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, values: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add what the block sees."""
        inner = self.first(functional.relu(self.norms[0](values)))
        added: Tensor = self.second(functional.relu(self.norms[1](inner)))
        return values + added


class MaskHead(nn.Module):
    """The network: photo and features in, logits of the mask out."""

    def __init__(self, config: MaskHeadConfig) -> None:
        """Make a head with random weights."""
        super().__init__()
        self.config = config
        layers, width = len(config.layers), config.width
        fine, middle = width // 4, width // 2
        self.tokens = nn.Conv2d(layers * config.token_width, width, 1, bias=False)
        self.maps = nn.Conv2d(layers * config.heads, width, 1)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in ((3, fine), (fine, middle), (middle, width))
        )
        self.detail = Residual(middle)
        self.blocks = nn.ModuleList(Residual(width, dilation) for dilation in _DILATIONS)
        self.whole = nn.Linear(width, width)
        self.coarse = nn.Conv2d(width, 1, 1)
        self.up = nn.ModuleList(
            nn.Conv2d(before, after, 1, bias=False) for before, after in ((width, middle), (middle, fine))
        )
        self.join = nn.ModuleList(Residual(each) for each in (middle, fine))
        self.fine = nn.Conv2d(fine, 1, 1)

    def forward(self, inputs: HeadInputs) -> MaskLogits:
        """Draw masks."""
        reads = self.config.reads
        photo = torch.zeros_like(inputs.photo) if reads == "model" else inputs.photo
        high = self.down[0](photo)
        middle = self.detail(self.down[1](functional.relu(high)))
        body = self.down[2](functional.relu(middle))
        if reads != "photo":
            body = body + self.tokens(inputs.tokens) + self.maps(inputs.maps)
        for block in self.blocks:
            body = block(body)
            body = body + self.whole(body.mean(dim=(-2, -1)))[..., None, None]
        coarse = self.coarse(body)
        for up, skip, join in zip(self.up, (middle, high), self.join, strict=True):
            body = join(_enlarged(up(body), skip) + skip)
        return MaskLogits(self.fine(functional.relu(body))[:, 0], coarse[:, 0])


def _enlarged(values: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(values, size=like.shape[-2:], mode="bilinear", align_corners=False)
