"""Observe photos by torch: one unrolling of a white box becomes views."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cratecli.emergence.coding import coding_rate, zero_fraction
from cratecli.emergence.features import View, as_views, clicked_attention
from cratecli.geometry import PatchClicks
from cratecli.model.unroll import LayerState, WhiteBox


def observe(
    model: WhiteBox,
    images: Float[Tensor, "b 3 h w"],
    layers: Sequence[int],
    *,
    mirrored: bool = False,
    trace: bool = False,
    clicks: PatchClicks | None = None,
) -> list[View]:
    """Unroll the model over normalised images, and return one view of the given layers per image.

    `layers` count from 0; the pass stops at the last of them, or with `trace`, which measures coding rate and zero
    fraction, one later. With `mirrored` the model sees each image mirrored left to right, and the features are
    mirrored back. `clicks` are patches of the images as they are given. Raises `FloatingPointError` where attention is
    not finite.
    """
    kept: dict[int, tuple[Tensor, Tensor, np.ndarray]] = {}
    clicked: dict[int, np.ndarray] = {}
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
                kept[state.index] = attention, tokens, rate
                if clicks is not None:
                    clicked[state.index] = clicked_attention(
                        lambda patch, state=state: _attention_of(state, patch),  # type: ignore[misc]
                        state.grid,
                        clicks,
                        mirrored=mirrored,
                    )
            if state.index == max(layers) + trace:
                break
        # Copied behind the last layer: a copy waits for the device, which would idle between layers.
        parts = {
            layer: (attention.cpu().numpy(), tokens.cpu().numpy(), rate, zeros.get(layer, unknown))
            for layer, (attention, tokens, rate) in kept.items()
        }
    return as_views(parts, layers, clicked)


def _attention_of(state: LayerState, patch: int) -> np.ndarray:
    return state.patch_attention(patch).cpu().numpy()
