"""ViTs from timm, unrolled like a CRATE, for the paper's comparisons. Importing it imports timm (seconds)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.models.vision_transformer import (
    Attention,
    Block,
    VisionTransformer,
)
from torch import Tensor, nn

from cratecli.model.blocks import Projection, split_heads
from cratecli.model.unroll import LayerState, WhiteBox, patch_grid


class UnrolledViT(WhiteBox):
    """A timm `VisionTransformer` with a class token, as it is; its subspaces are its keys."""

    def __init__(self, vit: VisionTransformer) -> None:
        """Wrap a model made with `dynamic_img_size=True`. Raises `ValueError` for one we cannot unroll."""
        if vit.cls_token is None:
            raise ValueError("a ViT without a class token has no class attention")
        if not all(isinstance(block, Block) and isinstance(block.attn, Attention) for block in vit.blocks):
            raise ValueError("only ViTs of plain blocks can be unrolled: norm, attention, norm, MLP")
        attention: Any = vit.blocks[0].attn
        data: Any = vit.pretrained_cfg
        super().__init__(
            depth=len(vit.blocks),
            heads=attention.num_heads,
            patch_size=vit.patch_embed.patch_size[0],
            image_size=data["input_size"][-1],
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
        )
        self.vit = vit

    def unroll(self, images: Float[Tensor, "b 3 h w"]) -> Iterator[LayerState]:
        """Yield each block's state before its attention is computed, then one with the final tokens."""
        grid, vit = patch_grid(images, self.patch_size), self.vit
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
        for index, block in enumerate(vit.blocks):
            yield LayerState(index, tokens, grid, vit.num_prefix_tokens, partial(_project, block))
            tokens = block(tokens)
        yield LayerState(self.depth, tokens, grid, vit.num_prefix_tokens)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        """Give the class scores; for a model without classes, the pooled features."""
        for state in self.unroll(images):
            tokens = state.tokens
        return self.classify(tokens)

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b c"]:
        """Turn the final tokens of an unrolling into class scores; without classes, into pooled features."""
        logits: Tensor = self.vit.forward_head(self.vit.norm(tokens))
        return logits


def _project(block: nn.Module, tokens: Tensor) -> Projection:
    norm: Any = block.norm1  # to the type checker every submodule may be a tensor
    attention: Any = block.attn
    parts = attention.qkv(norm(tokens)).chunk(3, dim=-1)
    query, key, value = (split_heads(part, attention.num_heads) for part in parts)
    return Projection(attention.q_norm(query), attention.k_norm(key), value)


def build_vit(name: str) -> UnrolledViT:
    """Make a timm ViT on the meta device, by its tagged name, without weights.

    Raises `ValueError` for a name timm does not know, or of a model we cannot unroll.
    """
    try:
        with torch.device("meta"):
            vit = timm.create_model(name, pretrained=False, dynamic_img_size=True)
    except (RuntimeError, TypeError) as error:  # timm's words for unknown names and for other families
        raise ValueError(f"timm makes no ViT named {name!r}: {error}") from None
    if not isinstance(vit, VisionTransformer):
        raise ValueError(f"{name} is not a ViT but a {type(vit).__name__}")
    return UnrolledViT(vit)
