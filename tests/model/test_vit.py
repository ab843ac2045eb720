"""timm's ViTs behind the same `unroll`."""

from dataclasses import dataclass, field
from itertools import islice
from math import sqrt
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.utils import AttentionExtract
from torch import Tensor

from cratecli.geometry import Grid
from cratecli.model.vit import UnrolledViT, build_vit
from tests.support.models import tiny_vit
from tests.support.vits import FAMILIES, family_vit

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
        ("vit_colossal_patch1_1.dreams", "timm has no model 'vit_colossal_patch1_1'"),
        ("vit_tiny_patch61_224", r"no model 'vit_tiny_patch61_224', did you mean vit_tiny_patch16_224\?"),
        ("vit_tiny_patch16_224.dreams", "timm's vit_tiny_patch16_224 has no weights 'dreams'"),
        ("resnet18", "resnet18 of timm is no ViT that can be unrolled"),
        ("test_efficientnet", "test_efficientnet of timm is no ViT that can be unrolled"),
        ("swin_tiny_patch4_window7_224", "is no ViT that can be unrolled"),
        ("vit_base_patch16_18x2_224", "plain blocks"),
        ("vit_small_r26_s32_224", "square patches, each embedded by itself"),
        ("vit_so150m_patch16_reg4_map_256", "leaves out the registers"),
    ],
)
def test_what_cannot_be_unrolled_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_vit(name)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("vit_tiny_patch16_224", {"patch_size": (8, 16)}, "square patches"),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "prr"}, "more than one query"),
        ("eva02_tiny_patch14_224", {"use_post_norm": True}, "plain blocks"),
        (
            "eva02_tiny_patch14_224",
            {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 1},
            "heads share keys",
        ),
        (
            "vit_pe_core_tiny_patch16_384",
            {"class_token": False, "attn_pool_num_heads": 2},
            "pooling head has 2 heads, its layers have 3",
        ),
    ],
)
def test_variants_that_cannot_be_unrolled_are_refused(
    name: str, options: dict[str, Any], reason: str
) -> None:
    sizes: dict[str, Any] = {"embed_dim": 24, "depth": 1, "num_heads": 3}
    vit: Any = timm.create_model(name, dynamic_img_size=True, **sizes, **options)
    with pytest.raises(ValueError, match=reason):
        UnrolledViT(vit)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_timms_own_pass_and_attention(family: str) -> None:
    """Every layer's maps are those that timm computes unfused, for a square image and for a wide one."""
    known, vit = FAMILIES[family], family_vit(family)
    model = UnrolledViT(vit)
    assert (model.heads, model.patch_size, model.has_class_token, model.pooling) == (
        3,
        known.patch_size,
        known.class_token,
        known.pooling,
    )
    for module in vit.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010 - a module's attributes are modules to the checker
    timms = AttentionExtract(vit, names=["*softmax"])
    for rows, cols in ((4, 4), (3, 6)):
        images = torch.randn(2, 3, rows * known.patch_size, cols * known.patch_size)
        *states, last = model.unroll(images)
        assert (last.grid, last.prefix) == (Grid(rows, cols), known.prefix)
        maps = list(timms(images).values())
        assert len(maps) == len(states) == model.depth
        for state, full in zip(states, maps, strict=True):
            asking = full[:, :, 0] if known.class_token else full[:, :, known.prefix :].mean(2)
            expected = asking[:, :, known.prefix :]
            assert expected.max() > 1.3 / expected.shape[-1]  # no map is flat
            torch.testing.assert_close(state.class_attention(), expected, atol=1e-5, rtol=0)
            asked = min(known.prefix + 7, full.shape[2] - 1)  # a pooling head asks once, for every patch
            torch.testing.assert_close(
                state.patch_attention(7), full[:, :, asked, known.prefix :], atol=1e-5, rtol=0
            )
        torch.testing.assert_close(vit.norm(last.tokens), vit.forward_features(images), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(images), vit(images))


@pytest.mark.parametrize("family", ["dinov3", "siglip", "dinov2-registers"])
def test_half_the_bits_give_about_the_same_attention(family: str) -> None:
    """Angles of rotary embeddings stay in float32, whatever the model is in."""
    vit, images = family_vit(family), torch.randn(1, 3, 112, 224)
    images = images[..., : 3 * FAMILIES[family].patch_size, : 6 * FAMILIES[family].patch_size]
    whole = [state.class_attention() for state in islice(UnrolledViT(vit).unroll(images), 2)]
    half = UnrolledViT(vit.bfloat16()).unroll(images.bfloat16())
    for state, expected in zip(islice(half, 2), whole, strict=True):
        assert state.class_attention().dtype == torch.float32
        assert (state.class_attention() - expected).abs().max() < 0.1 * expected.max()


def test_the_mean_over_many_patches_is_added_up_in_pieces() -> None:
    """More queries than attend at once: the mean is that of all rows."""
    vit = family_vit("mean-pooled")
    state = next(UnrolledViT(vit).unroll(torch.randn(1, 3, 16 * 16, 17 * 16)))
    rows = torch.stack([state.patch_attention(patch) for patch in range(16 * 17)])
    torch.testing.assert_close(state.class_attention(), rows.mean(0), atol=1e-6, rtol=0)


def test_a_family_by_name_holds_no_weights_but_what_no_file_has() -> None:
    model = build_vit("vit_small_patch16_dinov3.lvd1689m")
    assert (model.depth, model.heads, model.patch_size, model.image_size) == (12, 6, 16, 256)
    assert all(parameter.is_meta for parameter in model.parameters())
    buffers = dict(model.named_buffers())
    assert buffers
    assert not any(each.is_meta for each in buffers.values())
