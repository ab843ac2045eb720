"""Features of one forward pass: class-token attention and subspace tokens on the patch grid. Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from cratecli.geometry import Grid, Patch, PatchClicks

PRECISION = 0.01  # ε of the rate distortion (2306.01129), wherever a coding rate is measured


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


def as_views(
    kept: Mapping[int, Sequence[np.ndarray]],
    layers: Sequence[int],
    clicked: Mapping[int, Float[np.ndarray, "b k rows cols"]],
) -> list[View]:
    """Put what was kept of each layer (the parts of a `View`, each with an axis of images first) into views.

    Raises `FloatingPointError` where attention is not finite.
    """
    maps = [*(parts[0] for parts in kept.values()), *clicked.values()]
    if not all(np.isfinite(each).all() for each in maps):
        raise FloatingPointError("the model's attention is not finite")
    parts = [kept[layer] for layer in layers]
    views = [
        View(*(np.stack([part[image] for part in each]) for each in zip(*parts, strict=True)))
        for image in range(len(maps[0]))
    ]
    if not clicked:
        return views
    together = np.stack([clicked[layer] for layer in layers], axis=1)
    return [replace(view, clicked=own) for view, own in zip(views, together, strict=True)]


def clicked_attention(
    attention_of: Callable[[int], Float[np.ndarray, "b k m"]],
    grid: Grid,
    clicks: PatchClicks,
    *,
    mirrored: bool = False,
) -> Float[np.ndarray, "b k rows cols"]:
    """Combine the attention of clicked patches, counted row by row, per head: see `together`.

    With `mirrored` it is that of the mirror image; the clicks and the result are not.
    """

    def maps(patches: Sequence[Patch]) -> list[np.ndarray]:
        return [
            attention_of(row * grid.cols + (grid.cols - 1 - col if mirrored else col)) for row, col in patches
        ]

    joined = together(maps(clicks.on), maps(clicks.off))
    joined = joined.reshape(*joined.shape[:2], *grid)
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
