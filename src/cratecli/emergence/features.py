"""What one forward pass leaves behind for every question: attention and subspace tokens, on the patch grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cratecli.emergence.coding import coding_rate, zero_fraction
from cratecli.geometry import Grid
from cratecli.model.unroll import WhiteBox


@dataclass(frozen=True, eq=False)
class View:
    """One image as one input size showed it to the model, turned back upright if it was mirrored.

    `attention` is the class token's attention per layer and head, 0–1; `tokens` the subspace tokens of the
    same layers, all heads concatenated. `coding_rate`, in nats, is of these with the class token; `zero_fraction`,
    0–1, of the tokens that the layer hands on: NaN unless traced. Layers are in the order asked for.
    """

    attention: Float[np.ndarray, "layers k rows cols"]
    tokens: Float[np.ndarray, "layers rows cols d"]
    coding_rate: Float[np.ndarray, " layers"]
    zero_fraction: Float[np.ndarray, " layers"]

    @property
    def grid(self) -> Grid:
        """Give the patch grid."""
        return Grid(*self.attention.shape[2:])

    def unit_tokens(self) -> Float[np.ndarray, "rows cols d2"]:
        """Put the layers' tokens side by side, each of unit length; one of zeros stays zero."""
        unit = self.tokens / np.maximum(np.linalg.norm(self.tokens, axis=-1, keepdims=True), 1e-12)
        return np.concatenate(unit, axis=-1)

    def only(self, *places: int) -> "View":
        """Keep some of the layers, by their places in this view."""
        return View(*(part[list(places)] for part in self._parts()))

    @classmethod
    def stack(cls, views: Sequence["View"]) -> "View":
        """Put the layers of several views of one image on one grid into one."""
        return cls(*(np.concatenate(parts) for parts in zip(*(view._parts() for view in views), strict=True)))

    def _parts(self) -> tuple[np.ndarray, ...]:
        return self.attention, self.tokens, self.coding_rate, self.zero_fraction


def absolute_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Count layers from 0: −1 is the last of `depth`. Raises `ValueError` for one that is not there.

    >>> absolute_layers([-2, 0], depth=12)
    (10, 0)
    """
    if absent := [layer for layer in layers if not -depth <= layer < depth]:
        raise ValueError(f"layer {absent[0]} of a model with {depth} layers, 0 to {depth - 1}")
    return tuple(layer % depth for layer in layers)


def observe(
    model: WhiteBox,
    images: Float[Tensor, "b 3 h w"],
    layers: Sequence[int],
    *,
    mirrored: bool = False,
    trace: bool = False,
) -> list[View]:
    """Unroll the model over normalised images, and stop at the last layer asked for; to `trace` it, after it.

    `layers` count from 0. With `mirrored` the model sees each image mirrored left to right; what it saw is
    mirrored back. Raises `FloatingPointError` where attention is not finite.
    """
    kept: dict[int, tuple[np.ndarray, ...]] = {}
    zeros: dict[int, np.ndarray] = {}
    unknown = np.full(len(images), np.nan, np.float32)
    with torch.inference_mode():
        for state in model.unroll(images.flip(-1) if mirrored else images):
            if trace and state.index - 1 in layers:
                zeros[state.index - 1] = zero_fraction(state.tokens).float().numpy()
            if state.index in layers:
                attention = torch.unflatten(state.class_attention(), -1, tuple(state.grid))
                tokens = state.subspaces.transpose(1, 2).flatten(2)[:, state.prefix :]
                tokens = torch.unflatten(tokens, 1, tuple(state.grid)).float()
                if mirrored:
                    attention, tokens = attention.flip(-1), tokens.flip(2)
                rate = coding_rate(state.subspaces).float().numpy() if trace else unknown
                kept[state.index] = attention.cpu().numpy(), tokens.cpu().numpy(), rate
            if state.index == max(layers) + trace:
                break
    if not all(np.isfinite(attention).all() for attention, _, _ in kept.values()):
        raise FloatingPointError("the model's attention is not finite")
    found = [(*kept[layer], zeros.get(layer, unknown)) for layer in layers]
    return [
        View(*(np.stack([part[image] for part in each]) for each in zip(*found, strict=True)))
        for image in range(len(images))
    ]
