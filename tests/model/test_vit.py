"""timm's ViTs behind the same `unroll`."""

from dataclasses import dataclass, field
from itertools import islice
from math import sqrt
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from cratecli.geometry import Grid
from cratecli.model.vit import UnrolledViT, build_vit
from tests.support.models import tiny_vit

WIDE = (2, 3, 24, 40)  # a grid of 3 × 5


@dataclass
class Case:
    """A kind of ViT: how timm is asked for it, and how many tokens are not patches."""

    prefix: int = 1
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "plain": Case(),
    "no classes": Case(options={"num_classes": 0}),
    "registers": Case(prefix=3, options={"reg_tokens": 2, "no_embed_class": True}),
    "normed queries": Case(options={"qk_norm": True, "init_values": 0.1, "pre_norm": True}),
}


def literal_attention(vit: VisionTransformer, index: int, tokens: Tensor) -> Tensor:
    """Compute softmax(q kᵀ / √p), `b k n n`, from the released tensors by name."""
    block: Any = vit.blocks[index]
    b, n, d = tokens.shape
    query, key, _ = block.attn.qkv(block.norm1(tokens)).reshape(b, n, 3, 3, d // 3).permute(2, 0, 3, 1, 4)
    query, key = block.attn.q_norm(query), block.attn.k_norm(key)
    attention: Tensor = (query @ key.mT / sqrt(d // 3)).softmax(dim=-1)
    return attention


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("size", [(2, 3, 32, 32), WIDE])
def test_unrolled_is_timms_own_forward(case: Case, size: tuple[int, ...]) -> None:
    vit, images = tiny_vit(**case.options), torch.randn(size)
    model = UnrolledViT(vit)
    assert (model.depth, model.heads, model.patch_size, model.paper_layer) == (2, 3, 8, -1)
    torch.testing.assert_close(model(images), vit(images))
    *_, last = model.unroll(images)
    assert last.grid == Grid(size[2] // 8, size[3] // 8)
    assert last.tokens.shape[1] == case.prefix + last.grid.patches
    torch.testing.assert_close(vit.norm(last.tokens), vit.forward_features(images))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_class_attention_is_the_class_tokens_query_with_the_keys(case: Case) -> None:
    vit, images = tiny_vit(**case.options), torch.randn(WIDE)
    for state in islice(UnrolledViT(vit).unroll(images), 2):
        full = literal_attention(vit, state.index, state.tokens)
        assert state.class_attention().shape == (2, 3, 15)
        torch.testing.assert_close(state.class_attention(), full[:, :, 0, case.prefix :])
        assert torch.equal(state.subspaces, state.projection.key)


def test_who_stops_early_runs_no_block() -> None:
    vit, ran = tiny_vit(), []
    for block in vit.blocks:
        block.register_forward_hook(lambda *_: ran.append(1))
    next(UnrolledViT(vit).unroll(torch.randn(WIDE))).class_attention()
    assert not ran


def test_build_knows_timms_preprocessing_and_holds_no_weights() -> None:
    model = build_vit("vit_small_patch16_224.augreg_in21k")
    assert (model.depth, model.heads, model.patch_size, model.image_size) == (12, 6, 16, 224)
    assert model.mean == model.std == (0.5, 0.5, 0.5)
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_colossal_patch1_1.dreams", "timm makes no ViT named"),
        ("resnet18", "timm makes no ViT named"),
        ("test_efficientnet", "timm makes no ViT named"),
        ("vit_little_patch16_reg1_gap_256.sbb_in12k_ft_in1k", "without a class token"),
        ("eva02_tiny_patch14_224", "is not a ViT but a Eva"),
        ("vit_base_patch16_18x2_224", "plain blocks"),
    ],
)
def test_what_cannot_be_unrolled_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_vit(name)
