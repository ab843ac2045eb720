"""Small models with random weights: a CRATE that counts what it is shown, and a ViT."""

from collections.abc import Iterator
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.unroll import LayerState

CONFIG = CrateConfig(patch_size=4, width=12, heads=3, depth=3, image_size=16, classes=0)


class Counting(Crate):
    """A CRATE that counts the images it is shown."""

    shown = 0

    def unroll(self, images: Tensor, kept: Tensor | None = None) -> Iterator[LayerState]:
        self.shown += len(images)
        return super().unroll(images, kept)


def small_crate(config: CrateConfig = CONFIG, seed: int = 0) -> Counting:
    torch.manual_seed(seed)
    model = Counting(config)
    model.fold()
    return model


def tiny_vit(**options: Any) -> VisionTransformer:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
    vit = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, **(sizes | options))
    assert isinstance(vit, VisionTransformer)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.2)
    return vit.eval().requires_grad_(False)
