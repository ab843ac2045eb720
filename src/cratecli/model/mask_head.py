"""A mask head: a small convolutional network that draws a mask from a frozen model's features, its vote and the photo.

It is trained by the model on its own sure masks (`crate self-train`). It begins with the mask that the model's heads
vote for, and learns where the vote is wrong. Features lie on the patch grid, those of the finest view on one twice as
fine; the photo comes with 8 px a patch, whatever the model's patch size. A U-Net's way down reads the photo and the
vote, the features join on their grids, where residual blocks of growing dilation and a mean over the photo see it
whole, and the way up follows the photo's edges (2015: 1505.04597; residual blocks: 1603.05027; dilation: 1511.07122).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cratecli.model.head_inputs import MaskHeadConfig

_GROUPS = 8  # of group normalisation: a photo's mask hangs on no other of its batch
_DILATIONS = (1, 2, 4, 1)
_TRUST = 2.0  # in the vote, at first: its logit where it is sure


class HeadTensors(NamedTuple):
    """What `HeadInputs` holds, of a batch of photos, as tensors."""

    photo: Float[Tensor, "b 3 height width"]
    vote: Float[Tensor, "b 1 half_height half_width"]
    tokens: Float[Tensor, "b channels rows cols"]
    maps: Float[Tensor, "b maps rows cols"]
    fine_tokens: Float[Tensor, "b fine_channels fine_rows fine_cols"]
    fine_maps: Float[Tensor, "b fine_maps fine_rows fine_cols"]


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
    """The network: what a head reads in, logits of the mask out."""

    def __init__(self, config: MaskHeadConfig, *, channels: tuple[int, int] | None = None) -> None:
        """Make a head with random weights; `channels` are those of tokens and fine tokens that were projected."""
        super().__init__()
        self.config = config
        layers, width = len(config.layers), config.width
        fine, middle = width // 4, width // 2
        tokens, fine_tokens = channels or (layers * config.token_width,) * 2
        self.tokens = nn.Conv2d(tokens, width, 1, bias=False)
        self.maps = nn.Conv2d(len(config.coarse) * layers * config.heads, width, 1)
        self.fine_tokens = nn.Conv2d(fine_tokens, middle, 1, bias=False)
        self.fine_maps = nn.Conv2d(layers * config.heads, middle, 1)
        self.vote = nn.Conv2d(1, fine, 3, padding=1, bias=False)
        self.trust = nn.Parameter(torch.tensor(_TRUST))
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

    def forward(self, inputs: HeadTensors) -> MaskLogits:
        """Draw masks."""
        photo = torch.zeros_like(inputs.photo) if self.config.reads == "model" else inputs.photo
        seen = self.config.reads != "photo"
        high = self.down[0](photo)
        if seen:
            high = high + self.vote(inputs.vote)
        middle = self.down[1](functional.relu(high))
        if seen:
            middle = middle + self.fine_tokens(inputs.fine_tokens) + self.fine_maps(inputs.fine_maps)
        middle = self.detail(middle)
        body = self.down[2](functional.relu(middle))
        if seen:
            body = body + self.tokens(inputs.tokens) + self.maps(inputs.maps)
        for block in self.blocks:
            body = block(body)
            body = body + self.whole(body.mean(dim=(-2, -1)))[..., None, None]
        coarse = self.coarse(body)
        for up, skip, join in zip(self.up, (middle, high), self.join, strict=True):
            body = join(_enlarged(up(body), skip) + skip)
        drawn = self.fine(functional.relu(body))
        if seen:
            drawn = drawn + self.trust * inputs.vote
        return MaskLogits(drawn[:, 0], coarse[:, 0])


def _enlarged(values: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(values, size=like.shape[-2:], mode="bilinear", align_corners=False)
