"""ViTs of the families that papers compare with: tiny, with random weights, also under names of their own in timm."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from timm.models import register_model
from torch import nn

from cratecli.model.vit import TimmViT


class Family(NamedTuple):
    """A family: one of its names in timm, and what it has before its patches and behind its blocks."""

    name: str
    patch_size: int
    prefix: int = 1
    class_token: bool = True
    pooling: bool = False
    options: Mapping[str, Any] = {}


FAMILIES: Mapping[str, Family] = {
    "dinov2": Family("vit_small_patch14_dinov2.lvd142m", 14),
    "dinov2-registers": Family("vit_small_patch14_reg4_dinov2.lvd142m", 14, prefix=5),
    "dinov3": Family("vit_small_patch16_dinov3.lvd1689m", 16, prefix=5),
    "dinov3-swiglu": Family("vit_small_plus_patch16_dinov3_qkvb.lvd1689m", 16, prefix=5),
    "deit3": Family("deit3_small_patch16_224.fb_in1k", 16, options={"num_classes": 7}),
    "clip": Family("vit_base_patch16_clip_quickgelu_224.openai", 16, options={"num_classes": 7}),
    "siglip": Family("vit_base_patch16_siglip_224.v2_webli", 16, prefix=0, class_token=False, pooling=True),
    "mean-pooled": Family("vit_little_patch16_reg4_gap_256.sbb_in1k", 16, prefix=4, class_token=False),
    "rotary": Family("vit_small_patch16_rope_mixed_224.naver_in1k", 16, options={"num_classes": 7}),
}

_SIZES = {"embed_dim": 24, "depth": 2, "num_heads": 3, "dynamic_img_size": True}


def family_vit(family: str, seed: int = 0) -> TimmViT:
    """Make a family's ViT of two layers and three heads, for images of four by four patches, with random weights."""
    known = FAMILIES[family]
    options = _SIZES | {"img_size": 4 * known.patch_size, "num_classes": 0} | dict(known.options)
    vit = timm.create_model(known.name, **options)
    torch.manual_seed(seed)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.5)
    assert isinstance(vit, TimmViT)
    return vit.eval().requires_grad_(False)


def register_families() -> None:
    """Let timm make each as `tiny_FAMILY`, so that a row of a registry can name it."""
    for family in FAMILIES:
        name = f"tiny_{family.replace('-', '_')}"

        def build(pretrained: bool = False, *, family: str = family, **options: Any) -> nn.Module:
            assert not pretrained
            known = FAMILIES[family]
            sizes = {"img_size": 4 * known.patch_size, "num_classes": 0} | dict(known.options)
            wanted = {key: each for key, each in options.items() if not key.startswith("pretrained_cfg")}
            wanted.pop("cache_dir", None)
            return timm.create_model(known.name, **(_SIZES | sizes | wanted))

        build.__name__ = name
        build.__module__ = __name__
        if name not in timm.list_models(name):
            register_model(build)
