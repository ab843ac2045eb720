"""Extract features from one forward pass: class-token attention and subspace tokens on the patch grid."""

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
    """Holds the features of one image at one input size; those of a mirrored image are mirrored back.

    `attention` is the class token's attention (0–1) per layer and head; `tokens` are the subspace tokens of the same
    layers, all heads concatenated. `coding_rate` (nats) is that of the subspace tokens with the class token,
    `zero_fraction` (0–1) that of the layer's output tokens; both are NaN unless traced. Layers are in the order of
    the call.
    """

    attention: Float[np.ndarray, "layers k rows cols"]
    tokens: Float[np.ndarray, "layers rows cols d"]
    coding_rate: Float[np.ndarray, " layers"]
    zero_fraction: Float[np.ndarray, " layers"]

    @property
    def grid(self) -> Grid:
        """Return the patch grid: rows and columns."""
        return Grid(*self.attention.shape[2:])

    def unit_tokens(self) -> Float[np.ndarray, "rows cols d2"]:
        """Concatenate the layers' tokens, L2-normalised layer by layer; a token of zeros stays zero."""
        unit = self.tokens / np.maximum(np.linalg.norm(self.tokens, axis=-1, keepdims=True), 1e-12)
        return np.concatenate(unit, axis=-1)

    def only(self, *places: int) -> "View":
        """Select layers by their positions in this view."""
        return View(*(part[list(places)] for part in self._parts()))

    def mirrored(self) -> "View":
        """Mirror the features left to right."""
        return View(self.attention[..., ::-1], self.tokens[:, :, ::-1], self.coding_rate, self.zero_fraction)

    @classmethod
    def stack(cls, views: Sequence["View"]) -> "View":
        """Concatenate the layers of several views of one image on one grid."""
        return cls(*(np.concatenate(parts) for parts in zip(*(view._parts() for view in views), strict=True)))

    def _parts(self) -> tuple[np.ndarray, ...]:
        return self.attention, self.tokens, self.coding_rate, self.zero_fraction


def absolute_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Convert layer numbers to count from 0: −1 is the last of `depth`. Raises `ValueError` for one out of range.

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
    """Unroll the model over normalised images, and return one view of the given layers per image.

    `layers` count from 0; the pass stops at the last of them, or with `trace`, which measures coding rate and zero
    fraction, one later. With `mirrored` the model sees each image mirrored left to right, and the features are
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
    parts = [(*kept[layer], zeros.get(layer, unknown)) for layer in layers]
    return [
        View(*(np.stack([part[image] for part in each]) for each in zip(*parts, strict=True)))
        for image in range(len(images))
    ]
