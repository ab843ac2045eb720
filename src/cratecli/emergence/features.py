"""Extract features from one forward pass: class-token attention and subspace tokens on the patch grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cratecli.emergence.coding import coding_rate, zero_fraction
from cratecli.geometry import Grid, PatchClicks
from cratecli.model.unroll import LayerState, WhiteBox


@dataclass(frozen=True, eq=False)
class View:
    """Holds the features of one image at one input size; those of a mirrored image are mirrored back.

    `attention` is the class token's attention (0–1) per layer and head; `tokens` are the subspace tokens of the same
    layers, all heads concatenated. `coding_rate` (nats) is that of the subspace tokens with the class token,
    `zero_fraction` (0–1) that of the layer's output tokens; both are NaN unless traced. Layers are in the order of
    the call. `clicked` is the attention of the patches that were clicked on, if any were: see `clicked_attention`.
    """

    attention: Float[np.ndarray, "layers k rows cols"]
    tokens: Float[np.ndarray, "layers rows cols d"]
    coding_rate: Float[np.ndarray, " layers"]
    zero_fraction: Float[np.ndarray, " layers"]
    clicked: Float[np.ndarray, "layers k rows cols"] | None = None

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

    def as_clicked(self) -> "View":
        """Put the attention of the clicked patches in the class token's place. Raises `ValueError` without any."""
        if self.clicked is None:
            raise ValueError("nothing was clicked on")
        return replace(self, attention=self.clicked, clicked=None)

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
    clicks: PatchClicks | None = None,
) -> list[View]:
    """Unroll the model over normalised images, and return one view of the given layers per image.

    `layers` count from 0; the pass stops at the last of them, or with `trace`, which measures coding rate and zero
    fraction, one later. With `mirrored` the model sees each image mirrored left to right, and the features are
    mirrored back. `clicks` are patches of the images as they are given. Raises `FloatingPointError` where attention is
    not finite.
    """
    kept: dict[int, tuple[np.ndarray, ...]] = {}
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
                kept[state.index] = attention.cpu().numpy(), tokens.cpu().numpy(), rate
                if clicks is not None:
                    clicked[state.index] = clicked_attention(state, clicks, mirrored=mirrored)
            if state.index == max(layers) + trace:
                break
    maps = [*(attention for attention, _, _ in kept.values()), *clicked.values()]
    if not all(np.isfinite(each).all() for each in maps):
        raise FloatingPointError("the model's attention is not finite")
    parts = [(*kept[layer], zeros.get(layer, unknown)) for layer in layers]
    views = [
        View(*(np.stack([part[image] for part in each]) for each in zip(*parts, strict=True)))
        for image in range(len(images))
    ]
    if clicks is None:
        return views
    together = np.stack([clicked[layer] for layer in layers], axis=1)
    return [replace(view, clicked=own) for view, own in zip(views, together, strict=True)]


def clicked_attention(
    state: LayerState, clicks: PatchClicks, *, mirrored: bool = False
) -> Float[np.ndarray, "b k rows cols"]:
    """Combine the attention of clicked patches per head: see `together`; with `mirrored` the tokens are of the mirror
    image, the clicks and the result are not.
    """
    rows, cols = state.grid

    def maps(patches: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        places = [row * cols + (cols - 1 - col if mirrored else col) for row, col in patches]
        return [state.patch_attention(place).cpu().numpy() for place in places]

    joined = together(maps(clicks.on), maps(clicks.off)).reshape(
        -1, state.projection.key.shape[1], rows, cols
    )
    return joined[..., ::-1] if mirrored else joined


def together(
    on: Sequence[Float[np.ndarray, "*heads m"]], off: Sequence[Float[np.ndarray, "*heads m"]]
) -> Float[np.ndarray, "*heads m"]:
    """Combine the attention maps of clicks: the mean of those `on` what is meant, divided by that of those `off` it.

    Every map keeps its sum. One click alone is its attention as it is.
    """
    wanted = np.mean(on, axis=0)
    if not off:
        return np.asarray(wanted)
    against = wanted / (np.mean(off, axis=0) + 1e-8)
    return np.asarray(against * (wanted.sum(axis=-1, keepdims=True) / against.sum(axis=-1, keepdims=True)))
