"""Observe photos by an ONNX graph: one run of it becomes views. Imports no torch."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cratecli.emergence.features import View, as_views, clicked_attention
from cratecli.errors import UsageError
from cratecli.geometry import PatchClicks
from cratecli.model.graph import GraphModel


def observe_graph(
    model: GraphModel,
    images: Float[np.ndarray, "b 3 h w"],
    layers: Sequence[int],
    *,
    mirrored: bool = False,
    trace: bool = False,
    clicks: PatchClicks | None = None,
) -> list[View]:
    """Run the graph over normalised images, and return one view of the given layers per image; see `observe`.

    Coding rate and zero fraction are not in a graph. Raises `UsageError` where they are to be traced, or for a layer
    that the graph does not give, `InputError` for a size that it does not take, and `FloatingPointError` where
    attention is not finite.
    """
    if trace:
        raise UsageError(
            f"{model.named} is an ONNX graph, which holds no trace of its layers: name the model itself"
        )
    unknown = np.full(len(images), np.nan, np.float32)
    kept: dict[int, tuple[np.ndarray, ...]] = {}
    clicked: dict[int, np.ndarray] = {}
    for state in model.states(images[..., ::-1] if mirrored else images, layers, queries=clicks is not None):
        attention = state.class_attention().reshape(len(images), -1, *state.grid)
        tokens = state.tokens().reshape(len(images), *state.grid, -1)
        if mirrored:
            attention, tokens = attention[..., ::-1], tokens[:, :, ::-1]
        kept[state.index] = attention, tokens, unknown, unknown
        if clicks is not None:
            clicked[state.index] = clicked_attention(
                state.patch_attention, state.grid, clicks, mirrored=mirrored
            )
    return as_views(kept, layers, clicked)
