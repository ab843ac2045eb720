"""ViTs from timm, unrolled like a CRATE, for comparisons. Importing it imports timm (seconds).

timm's `VisionTransformer` is DINO's and DINOv2's, DeiT's, CLIP's and SigLIP's, its `Eva` DINOv3's.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.layers import AttentionPoolLatent, AttentionRope, PatchEmbed, apply_rot_embed_cat
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor

from cratecli.model.blocks import Projection, embed_patches, split_heads
from cratecli.model.unroll import LayerState, WhiteBox, patch_grid
from cratecli.wording import nearest

TimmViT = VisionTransformer | Eva


class UnrolledViT(WhiteBox):
    """A ViT of timm's as it is; its subspaces are its keys.

    A model that has no class token but a pooling head, as SigLIP, counts the head as its last layer: the learned query
    attends to the patches. A model with neither, pooled by the mean of its patches, has the mean of their attention.
    """

    def __init__(self, vit: TimmViT) -> None:
        """Wrap a model made with `dynamic_img_size=True`. Raises `ValueError` for one we cannot unroll."""
        heads = _heads_of(vit)
        pooling = _is_pooled_by_attention(vit, heads)
        data: Any = vit.pretrained_cfg
        embed: Any = vit.patch_embed
        super().__init__(
            depth=len(vit.blocks) + pooling,
            heads=heads,
            patch_size=embed.patch_size[0],
            image_size=data["input_size"][-1],
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
        )
        self.vit = vit
        self.architecture: str = data["architecture"]
        self.has_class_token = vit.cls_token is not None
        self.pooling = pooling

    @property
    def constants(self) -> Mapping[str, Any]:
        """Name the architecture: one file may fit two that differ, in an activation, say."""
        return {"heads": self.heads, "architecture": self.architecture}

    def unroll(self, images: Float[Tensor, "b 3 h w"]) -> Iterator[LayerState]:
        """Yield each block's state before its attention is computed, the pooling head's, and the final tokens."""
        grid, vit, prefix = patch_grid(images, self.patch_size), self.vit, self.vit.num_prefix_tokens
        embed: Any = vit.patch_embed
        embedded: Any = vit._pos_embed(embed.norm(embed_patches(images, embed.proj)))
        tokens, rope = embedded if isinstance(vit, Eva) else (embedded, None)
        tokens = vit.norm_pre(tokens)
        each_its_own: bool = rope is not None and getattr(vit, "rope_mixed", False)
        ropes: Any = rope if each_its_own else [rope] * len(vit.blocks)
        for index, (block, rope) in enumerate(zip(vit.blocks, ropes, strict=True)):
            project = partial(_project, block, rope)
            yield LayerState(index, tokens, grid, prefix, project, self.has_class_token)
            tokens = block(tokens) if rope is None else block(tokens, rope=rope)
        if self.pooling:
            project = partial(_project_for_pooling, vit)
            yield LayerState(self.depth - 1, tokens, grid, prefix, project, self.has_class_token)
        yield LayerState(self.depth, tokens, grid, prefix, class_token=self.has_class_token)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        """Give the class scores; for a model without classes, the pooled features."""
        for state in self.unroll(images):
            tokens = state.tokens
        return self.classify(tokens)

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b c"]:
        """Turn the final tokens of an unrolling into class scores; without classes, into pooled features."""
        logits: Tensor = self.vit.forward_head(self.vit.norm(tokens))
        return logits


def _heads_of(vit: TimmViT) -> int:
    """Count the heads of every block. Raises `ValueError` for blocks that we cannot unroll."""
    embed: Any = vit.patch_embed
    if not isinstance(embed, PatchEmbed) or len(set(embed.patch_size)) != 1:
        raise ValueError("only ViTs of square patches, each embedded by itself, can be unrolled")
    blocks: Any = vit.blocks
    plain = all(isinstance(each, Block) and isinstance(each.attn, Attention) for each in blocks) or all(
        isinstance(each, EvaBlock) and isinstance(each.attn, EvaAttention | AttentionRope) for each in blocks
    )
    if not plain:
        raise ValueError("only ViTs of plain blocks can be unrolled: norm, attention, norm, MLP")
    if any(getattr(each.attn, "num_kv_groups", 1) != 1 for each in blocks):
        raise ValueError("a ViT whose heads share keys cannot be unrolled")
    heads: int = blocks[0].attn.num_heads
    return heads


def _is_pooled_by_attention(vit: TimmViT, heads: int) -> bool:
    """Tell whether a pooling head stands for the class token. Raises `ValueError` for one we cannot unroll."""
    pool: Any = vit.attn_pool
    if vit.cls_token is not None or pool is None:
        return False
    plain = type(pool) is AttentionPoolLatent
    if not plain or pool.latent_len != 1 or pool.pos_embed is not None:
        raise ValueError("a pooling head of more than one query, or with positions, cannot be unrolled")
    if pool.num_heads != heads:
        raise ValueError(f"its pooling head has {pool.num_heads} heads, its layers have {heads}")
    if vit.num_prefix_tokens and not getattr(vit, "pool_include_prefix", True):
        raise ValueError("a pooling head that leaves out the registers cannot be unrolled")
    return True


def _project(block: Any, rope: Tensor | None, tokens: Tensor) -> Projection:
    """Project tokens to queries, keys and values; those of patches are turned by their rotary embedding."""
    attention = block.attn
    query, key, value = (
        split_heads(each, attention.num_heads) for each in _linear(attention, block.norm1(tokens))
    )
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is not None:
        query, key = (_turned(each, rope, attention).type_as(value) for each in (query, key))
    return Projection(query, key, value)


def _linear(attention: Any, tokens: Tensor) -> tuple[Tensor, ...]:
    """Apply one linear map that gives all three, or three; in `Eva` biases may stand beside it, none for keys."""
    if attention.qkv is None:
        return attention.q_proj(tokens), attention.k_proj(tokens), attention.v_proj(tokens)
    together: Tensor = attention.qkv(tokens)
    if (bias := getattr(attention, "q_bias", None)) is not None:
        together = together + torch.cat((bias, attention.k_bias, attention.v_bias))
    return together.chunk(3, dim=-1)


def _turned(tokens: Tensor, rope: Tensor, attention: Any) -> Tensor:
    prefix, half = attention.num_prefix_tokens, attention.rotate_half
    patches = apply_rot_embed_cat(tokens[:, :, prefix:], rope, half=half)
    return torch.cat((tokens[:, :, :prefix], patches), dim=2)


def _project_for_pooling(vit: TimmViT, tokens: Tensor) -> Projection:
    """Project the final tokens to the pooling head's keys and values; its one query is every token's."""
    pool: Any = vit.attn_pool
    key, value = (split_heads(part, pool.num_heads) for part in pool.kv(vit.norm(tokens)).chunk(2, dim=-1))
    query = pool.q_norm(split_heads(pool.q(pool.latent), pool.num_heads))
    return Projection(query.expand_as(key), pool.k_norm(key), value)


def build_vit(name: str) -> UnrolledViT:
    """Make a ViT of timm's by its tagged name, its weights on the meta device, buffers that no file holds ready.

    Raises `ValueError` for a name timm does not know, or of a model we cannot unroll.
    """
    try:
        with torch.device("meta"):
            vit = timm.create_model(name, pretrained=False, dynamic_img_size=True)
    except (RuntimeError, TypeError):  # of unknown names, and of other families, which take no other sizes
        raise ValueError(_unknown(name)) from None
    if not isinstance(vit, TimmViT):
        raise ValueError(_unknown(name))
    model = UnrolledViT(vit)
    for module in vit.modules():
        _make_buffers(module)
    return model


def _unknown(name: str) -> str:
    """Say why timm makes no ViT of a name."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        return f"timm has no model {architecture!r}{nearest(architecture, timm.list_models())}"
    if tag and name not in timm.list_pretrained(f"{architecture}.*"):
        return f"timm's {architecture} has no weights {tag!r}{nearest(name, timm.list_pretrained(f'{architecture}.*'))}"
    return f"{architecture} of timm is no ViT that can be unrolled"


def _make_buffers(module: Any) -> None:
    """Compute what no file of weights holds, such as the frequencies of rotary embeddings, on the CPU."""
    made = [name for name in module._non_persistent_buffers_set if getattr(module, name) is not None]
    for name in made:
        setattr(module, name, torch.empty_like(getattr(module, name), device="cpu"))
    if made:
        module.init_non_persistent_buffers()
