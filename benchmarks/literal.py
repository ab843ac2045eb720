"""A layer of CRATE by the equations as they are written (2306.01129): nothing folded, the whole map held."""

from typing import cast

import torch
from torch import Tensor, nn

from cratecli.model.blocks import ISTA, MSSA, split_heads
from cratecli.model.crate import Layer


def attend(layer: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Give the attention map `softmax(w wᵀ)`, `b k n n`, and the tokens that MSSA adds, `b n d`."""
    block = cast(MSSA, cast(Layer, layer).attention)
    w = split_heads(block.subspaces(block.norm(tokens)), block.heads)
    weights = (w @ w.transpose(-1, -2) * w.shape[-1] ** -0.5).softmax(dim=-1)
    return weights, block.output((weights @ w).transpose(1, 2).flatten(2))


def sparsify(layer: nn.Module, tokens: Tensor) -> Tensor:
    """Take one step of ISTA, in three matrix products."""
    block = cast(ISTA, cast(Layer, layer).sparsifier)
    x, dictionary = block.norm(tokens), block.dictionary
    gradient = x @ dictionary - (x @ dictionary.T) @ dictionary
    return torch.relu(x + block.step_size * gradient - block.step_size * block.sparsity_weight)
