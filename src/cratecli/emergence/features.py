"""What one forward pass leaves behind for every question: attention and subspace tokens, on the patch grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cratecli.geometry import Grid
from cratecli.model.unroll import WhiteBox


@dataclass(frozen=True, eq=False)
class View:
    """One image as one input size showed it to the model, turned back upright if it was mirrored.

    `attention` is the class token's attention per layer and head, 0–1; `tokens` the subspace tokens of the
    same layers, all heads concatenated. Layers are in the order asked for.
    """

    attention: Float[np.ndarray, "layers k rows cols"]
    tokens: Float[np.ndarray, "layers rows cols d"]

    @property
    def grid(self) -> Grid:
        """Give the patch grid."""
        return Grid(*self.attention.shape[2:])


def absolute_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Count layers from 0: −1 is the last of `depth`. Raises `ValueError` for one that is not there.

    >>> absolute_layers([-2, 0], depth=12)
    (10, 0)
    """
    if absent := [layer for layer in layers if not -depth <= layer < depth]:
        raise ValueError(f"layer {absent[0]} of a model with {depth} layers, 0 to {depth - 1}")
    return tuple(layer % depth for layer in layers)


def observe(
    model: WhiteBox, images: Float[Tensor, "b 3 h w"], layers: Sequence[int], mirrored: bool = False
) -> list[View]:
    """Unroll the model over normalised images, and stop at the last layer asked for.

    `layers` count from 0. With `mirrored` the model sees each image mirrored left to right; what it saw is
    mirrored back. Raises `FloatingPointError` where attention is not finite.
    """
    kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    with torch.inference_mode():
        for state in model.unroll(images.flip(-1) if mirrored else images):
            if state.index in layers:
                attention = torch.unflatten(state.class_attention(), -1, tuple(state.grid))
                tokens = state.subspaces.transpose(1, 2).flatten(2)[:, state.prefix :]
                tokens = torch.unflatten(tokens, 1, tuple(state.grid)).float()
                if mirrored:
                    attention, tokens = attention.flip(-1), tokens.flip(2)
                kept[state.index] = attention.cpu().numpy(), tokens.cpu().numpy()
            if state.index == max(layers):
                break
    if not all(np.isfinite(attention).all() for attention, _ in kept.values()):
        raise FloatingPointError("the model's attention is not finite")
    return [
        View(*(np.stack([kept[layer][part][image] for layer in layers]) for part in (0, 1)))
        for image in range(len(images))
    ]
