"""ViTs as their authors released them, brought to timm's tensor names by timm's own converters. Imports timm."""

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from timm.models import eva, vision_transformer
from torch import Tensor

from cratecli.errors import WeightsError
from cratecli.model.vit import TimmViT

_MARKS = ("mask_token", "storage_tokens", "visual.", "blocks.0.gamma_1")
"""How a tensor's name begins in files of DINOv2 and DINOv3, of OpenCLIP, and of DeiT III."""
_PATCHES = ("patch_embed.proj.weight", "visual.conv1.weight", "visual.trunk.patch_embed.proj.weight")
_POSITIONS = ("pos_embed", "visual.positional_embedding", "visual.trunk.pos_embed")


def to_timms(vit: TimmViT, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Rename the tensors of a file that is not in timm's layout; text towers and what only training uses are left out.

    Raises `WeightsError` for a file of another patch or image size, which timm would resize, and for biases that the
    architecture has not, which it would drop.
    """
    given = dict(tensors)
    if given.keys() == vit.state_dict().keys() or not any(name.startswith(_MARKS) for name in given):
        return given
    _refuse_other_sizes(vit, given, path)
    if isinstance(vit, eva.Eva):
        _refuse_lost_biases(vit, given, path)
        with redirect_stdout(StringIO()):  # it prints the biases it drops
            return dict(eva.checkpoint_filter_fn(given, vit))
    return dict(vision_transformer.checkpoint_filter_fn(given, vit, adapt_layer_scale=True))


def _refuse_other_sizes(vit: TimmViT, tensors: Mapping[str, Tensor], path: Path) -> None:
    embed: Any = vit.patch_embed
    positions = None if vit.pos_embed is None else vit.pos_embed.shape[-2]
    for name, tensor in tensors.items():
        if name in _PATCHES:
            fits = tensor.shape[-2:] == embed.proj.weight.shape[-2:]
        else:  # where the class token has no position, timm adds the one it had to the token
            fits = name not in _POSITIONS or tensor.shape[-2] in (positions, (positions or 0) + 1)
        if not fits:
            raise WeightsError(
                f"{path}: does not fit its architecture; misshapen: {name} {tuple(tensor.shape)}"
            )


def _refuse_lost_biases(vit: eva.Eva, tensors: Mapping[str, Tensor], path: Path) -> None:
    if any(name.endswith(".q_bias") for name in vit.state_dict()):
        return
    for name, tensor in tensors.items():
        query, _, value = tensor.chunk(3) if name.endswith(".qkv.bias") else (tensor[:0],) * 3
        if query.any() or value.any():
            raise WeightsError(
                f"{path}: does not fit its architecture; unexpected: {name}; take the one of timm's with qkvb"
            )
