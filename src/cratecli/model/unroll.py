"""The base of every model: it can be unrolled, one `LayerState` a layer."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cratecli.geometry import Grid
from cratecli.model.blocks import Projection
from cratecli.model.engine import Model, Place

_ROWS = 256  # queries that attend at once, where all patches do


@dataclass(frozen=True, eq=False)
class LayerState:
    """The state before the attention of layer `index`: its tokens, and on demand their projection.

    `tokens` is `b n d` entering the layer, `grid` the patches behind them, `prefix` the tokens that are not
    patches (the class token first, if the model has one). The last state of an unrolling has tokens only: asking it
    for subspaces or attention raises `ValueError`.
    """

    index: int
    tokens: Float[Tensor, "b n d"]
    grid: Grid
    prefix: int = 1
    project: Callable[[Tensor], Projection] | None = None
    class_token: bool = True

    @cached_property
    def projection(self) -> Projection:
        """Project the tokens to queries, keys and values, once. Raises `ValueError` on the last state."""
        if self.project is None:
            raise ValueError("the last state holds the final tokens only: no layer follows it")
        return self.project(self.tokens)

    @property
    def subspaces(self) -> Float[Tensor, "b k n p"]:
        """Give the subspace tokens `U_k* z` per head, the class token included; for a ViT, its keys."""
        return self.projection.key

    def class_attention(self) -> Float[Tensor, "b k m"]:
        """Attend from the class token to the patches: one row per head, softmax over all tokens.

        Values are in 0–1, float32; a row sums to one less the attention the class token pays to itself and
        other prefix tokens (2308.16271, B.1). Without a class token it is the mean over all patches: the share
        that each has in the layer's update of the mean of all patches, which such models classify by.
        """
        return self._attention_of(0) if self.class_token else self._mean_attention()

    def patch_attention(self, patch: int) -> Float[Tensor, "b k m"]:
        """Attend from one patch, counted row by row from 0, as `class_attention` does from the class token."""
        return self._attention_of(self.prefix + patch)

    def _attention_of(self, token: int) -> Float[Tensor, "b k m"]:
        """Attend from one token: `softmax(q kᵀ / √p)` over all tokens, the prefix dropped; no n × n map is made."""
        query = self.projection.query[:, :, token : token + 1].float()
        key = self.projection.key.float()
        scores = (query * key).sum(dim=-1) / sqrt(key.shape[-1])
        return scores.softmax(dim=-1)[:, :, self.prefix :]

    def _mean_attention(self) -> Float[Tensor, "b k m"]:
        """Attend from all patches, `_ROWS` at once, and average."""
        query = self.projection.query[:, :, self.prefix :]
        key = self.projection.key.float()
        total = torch.zeros_like(key[..., 0])
        for some in torch.split(query, _ROWS, dim=2):
            total += (some.float() @ key.mT / sqrt(key.shape[-1])).softmax(dim=-1).sum(dim=2)
        return total[:, :, self.prefix :] / query.shape[2]


class WhiteBox(nn.Module, Model):
    """Any model of torch's that `unroll` can walk through layer by layer; see `Model` for what it tells of itself."""

    def __init__(
        self,
        *,
        depth: int,
        heads: int,
        patch_size: int,
        image_size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        """Record the sizes and constants with which callers prepare an image."""
        super().__init__()
        self.depth, self.heads, self.patch_size, self.image_size = depth, heads, patch_size, image_size
        self.mean, self.std = mean, std

    @property
    def place(self) -> Place:
        """Tell where the parameters are, and in which number format."""
        parameter = next(self.parameters())
        return Place("torch", str(parameter.device), str(parameter.dtype).removeprefix("torch."))

    def weights_digest(self) -> str:
        """Name the weights by the SHA-256 of their file, or, where they have none, of their numbers."""
        if self.weights:
            return self.weights.sha256
        together = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            together.update(name.encode() + tensor.detach().cpu().double().numpy().tobytes())
        return together.hexdigest()

    @abstractmethod
    def unroll(self, images: Float[Tensor, "b 3 h w"]) -> Iterator[LayerState]:
        """Yield each layer's state before its attention is computed, then one with the final tokens."""

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b c"]:
        """Turn the final tokens of an unrolling into class scores; without a classifier, the class token."""
        return tokens[:, 0]


def patch_grid(images: Float[Tensor, "b 3 h w"], patch_size: int) -> Grid:
    """Give the patch grid of images. Raises `ValueError` when a side is no multiple of `patch_size`."""
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size or not (height and width):
        raise ValueError(f"image of {height} × {width} px does not lie on a grid of {patch_size}-px patches")
    return Grid(height // patch_size, width // patch_size)
