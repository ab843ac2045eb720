"""The layouts of released checkpoints: tables that rename their tensors to ours."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor


class Rule(NamedTuple):
    """Rename tensors whose whole name matches `pattern` to `target`; `None` leaves them out."""

    pattern: str
    target: str | None
    change: Callable[[Tensor], Tensor] | None = None


class Layout(NamedTuple):
    """A layout: `mark`, a tensor that no layout further down has; rules; constants that no shape shows."""

    mark: str
    rules: tuple[Rule, ...]
    constants: Mapping[str, Any] = MappingProxyType({})


_STEM_CONV = (Rule(r"(?:conv1|patch_embed\.proj)\.(weight|bias)", r"stem.convolution.\1"),)
_STEM_LINEAR = (
    Rule(r"to_patch_embedding\.1\.(weight|bias)", r"stem.patch_norm.\1"),
    Rule(r"to_patch_embedding\.2\.(weight|bias)", r"stem.linear.\1"),
    Rule(r"to_patch_embedding\.3\.(weight|bias)", r"stem.token_norm.\1"),
)
_LAYER = r"(?:transformer\.layers\.(\d+)|blocks\.(\d+)\.layers\.0)"
_LAYERS = (
    Rule(_LAYER + r"\.0\.norm\.(weight|bias)", r"layers.\1\2.attention.norm.\3"),
    Rule(_LAYER + r"\.0\.fn\.qkv\.weight", r"layers.\1\2.attention.subspaces.weight"),
    Rule(_LAYER + r"\.0\.fn\.to_out\.0\.(weight|bias)", r"layers.\1\2.attention.output.\3"),
    Rule(_LAYER + r"\.1\.norm\.(weight|bias)", r"layers.\1\2.sparsifier.norm.\3"),
    Rule(_LAYER + r"\.1\.fn\.(?:weight|D)", r"layers.\1\2.sparsifier.dictionary"),
    Rule(_LAYER + r"\.1\.fn\.D1", r"layers.\1\2.sparsifier.decoder"),
    Rule(_LAYER + r"\.1\.fn\.net\.0\.(weight|bias)", r"layers.\1\2.sparsifier.up.\3"),
    Rule(_LAYER + r"\.1\.fn\.net\.3\.(weight|bias)", r"layers.\1\2.sparsifier.down.\3"),
)
_TOKENS = (Rule(r"cls_token", "class_token"), Rule(r"pos_embedding", "position_embedding"))
_HEAD = (
    Rule(r"mlp_head\.0\.(weight|bias)", r"norm.\1"),
    Rule(r"mlp_head\.1\.(weight|bias)", r"head.\1"),
)
_JAX_LAYER = r"params/Transformer/encoderblock_(\d+)"
_JAX_MSSA = _JAX_LAYER + "/MultiHeadDotProductSubspaceAttention_0"

LAYOUTS: Mapping[str, Layout] = {
    "our own": Layout("position_embedding", (Rule(r"(.*)", r"\1"),)),
    "CRATE-α, JAX": Layout(
        "params/embedding/kernel",
        (
            Rule(r"params/embedding/kernel", "stem.convolution.weight", lambda t: t.permute(3, 2, 0, 1)),
            Rule(r"params/embedding/bias", "stem.convolution.bias"),
            Rule(r"params/cls", "class_token"),
            Rule(r"params/pos_embedding", "position_embedding"),
            Rule(_JAX_LAYER + "/LayerNorm_0/scale", r"layers.\1.attention.norm.weight"),
            Rule(_JAX_LAYER + "/LayerNorm_0/bias", r"layers.\1.attention.norm.bias"),
            Rule(
                _JAX_MSSA + "/proj/kernel",
                r"layers.\1.attention.subspaces.weight",
                lambda t: t.flatten(1).transpose(0, 1),
            ),
            Rule(
                _JAX_MSSA + "/out/kernel",
                r"layers.\1.attention.output.weight",
                lambda t: t.flatten(0, 1).transpose(0, 1),
            ),
            Rule(_JAX_LAYER + "/LayerNorm_1/scale", r"layers.\1.sparsifier.norm.weight"),
            Rule(_JAX_LAYER + "/LayerNorm_1/bias", r"layers.\1.sparsifier.norm.bias"),
            Rule(_JAX_LAYER + "/OvercompleteISTABlock_0/D", r"layers.\1.sparsifier.dictionary"),
            Rule(_JAX_LAYER + "/OvercompleteISTABlock_0/D1", r"layers.\1.sparsifier.decoder"),
            Rule(r"params/encoder_norm/scale", "norm.weight"),
            Rule(r"params/encoder_norm/bias", "norm.bias"),
            Rule(r"params/head/kernel", "head.weight", lambda t: t.transpose(0, 1)),
            Rule(r"params/head/bias", "head.bias"),
            Rule(r"(?!params/).*", None),  # optimiser state
        ),
        {"layer_norm_eps": 1e-6, "final_norm_eps": 1e-6},
    ),
    "CRATE-MAE": Layout(
        "decoder_pos_embed",
        (
            *_STEM_CONV,
            *_LAYERS,
            Rule(r"cls_token", "class_token"),
            # The released attention path adds the decoder's fixed sin-cos embedding, not `pos_embed`.
            Rule(r"decoder_pos_embed", "position_embedding"),
            Rule(r"norm\.(weight|bias)", r"norm.\1"),
            Rule(r"pos_embed|mask_token|decoder_.*", None),
        ),
        {"sparsity_weight": 0.5, "final_norm_eps": 1e-6},
    ),
    "CRATE demo": Layout(
        "head.weight",
        (
            *_STEM_LINEAR,
            *_TOKENS,
            *_LAYERS,
            Rule(r"mlp_head\.0\.(weight|bias)", r"norm.\1"),
            Rule(r"mlp_head\.1\.(weight|bias)", r"pre_logits.\1"),
            Rule(r"head\.(weight|bias)", r"head.\1"),
        ),
    ),
    "CRATE-α": Layout("conv1.weight", (*_STEM_CONV, *_TOKENS, *_LAYERS, *_HEAD), {"layer_norm_eps": 1e-6}),
    "CRATE": Layout("to_patch_embedding.2.weight", (*_STEM_LINEAR, *_TOKENS, *_LAYERS, *_HEAD)),
}
"""Every layout by name; a file has the first whose mark is among its tensors."""


def find_layout(names: Mapping[str, object]) -> str | None:
    """Name the layout of released tensors; `None` when it is not known."""
    return next((name for name, layout in LAYOUTS.items() if layout.mark in names), None)


def rename(tensors: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """Rename a layout's tensors to ours, and list the names that no rule of the layout knows."""
    renamed: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        for pattern, target, change in LAYOUTS[layout].rules:
            if match := re.fullmatch(pattern, name):
                if target is not None:
                    renamed[match.expand(target)] = change(tensor) if change else tensor
                break
        else:
            unknown.append(name)
    return renamed, unknown
