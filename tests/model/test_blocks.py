"""Each block against its equation, written slowly: a loop over heads, literal products, torch's modules."""

import copy
import pickle
from collections.abc import Callable
from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cratecli.model.blocks import ISTA, MHSA, MLP, MSSA, ODL, ConvStem, LinearStem

WIDTH, HEADS, ETA, LAMBDA = 12, 3, 0.1, 0.7


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 5, WIDTH)


def randomise(module: nn.Module) -> None:
    """Give every parameter, also those that start as ones and zeros, a value of its own."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


def ista(*, soft: bool = False) -> ISTA:
    block = ISTA(WIDTH, step_size=ETA, sparsity_weight=LAMBDA, soft=soft).eval()
    randomise(block)
    return block


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)


def gradient_step(block: ISTA, tokens: Tensor) -> Tensor:
    """Compute `x + η(xW − xWᵀW)` by three products."""
    x, W = block.norm(tokens), block.dictionary
    step: Tensor = x + ETA * (x @ W - x @ W.T @ W)
    return step


def is_folded(block: ISTA) -> bool:
    return block.folded is not None


def forgotten_by_training(block: ISTA) -> None:
    block.train()


def forgotten_by_new_weights(block: ISTA) -> None:
    block.load_state_dict(block.state_dict())


@pytest.mark.parametrize("bias", [True, False])
def test_mssa_is_its_equation_head_by_head(tokens: Tensor, bias: bool) -> None:
    block = MSSA(WIDTH, HEADS, output_bias=bias, eps=1e-3)
    randomise(block)
    normed = functional.layer_norm(tokens, (WIDTH,), block.norm.weight, block.norm.bias, eps=1e-3)
    mixed = []
    for basis in block.subspaces.weight.chunk(HEADS):  # U_k*, p × d
        w = normed @ basis.T
        mixed.append((w @ w.mT / sqrt(WIDTH // HEADS)).softmax(dim=-1) @ w)
    expected = tokens + torch.cat(mixed, dim=-1) @ block.output.weight.T
    if bias:
        expected = expected + block.output.bias
    assert_same(block(tokens, block.project(tokens)), expected)


def test_mhsa_is_torchs_own(tokens: Tensor) -> None:
    block = MHSA(WIDTH, HEADS)
    randomise(block)
    reference = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": block.subspaces.weight,
            "in_proj_bias": torch.zeros(3 * WIDTH),
            "out_proj.weight": block.output.weight,
            "out_proj.bias": block.output.bias,
        }
    )
    normed = block.norm(tokens)
    attended, attention = reference(normed, normed, normed, average_attn_weights=False)
    projection = block.project(tokens)
    assert_same(block(tokens, projection), tokens + attended)
    scores = projection.query @ projection.key.mT / sqrt(WIDTH // HEADS)
    assert_same(scores.softmax(dim=-1), attention)


@pytest.mark.parametrize("kind", [MSSA, MHSA])
def test_bfloat16_attends_and_learns_as_float32_does(tokens: Tensor, kind: type[MSSA] | type[MHSA]) -> None:
    block = kind(WIDTH, HEADS)

    def step(*, bfloat16: bool) -> list[Tensor]:
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            update = block(tokens, block.project(tokens))
        update.square().sum().backward()
        gradients = [parameter.grad for parameter in block.parameters()]
        return [
            update.detach().float(),
            *(gradient.clone() for gradient in gradients if gradient is not None),
        ]

    for half, full in zip(step(bfloat16=True), step(bfloat16=False), strict=True):
        assert (half - full).norm() < 0.02 * full.norm()


@pytest.mark.parametrize("learns", [True, False])
def test_no_map_is_held_where_nothing_learns(
    tokens: Tensor, monkeypatch: pytest.MonkeyPatch, *, learns: bool
) -> None:
    calls = []
    fused = functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        calls.append(query)
        return fused(query, key, value)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    block = MSSA(WIDTH, HEADS).to(torch.bfloat16).requires_grad_(learns)
    half = tokens.to(torch.bfloat16)
    block(half, block.project(half))
    assert bool(calls) is not learns


def test_ista_is_its_equation_folded_or_not(tokens: Tensor) -> None:
    block = ista()
    expected = (gradient_step(block, tokens) - ETA * LAMBDA).clamp(min=0)
    assert (expected == 0).any()
    unfolded = block(tokens)
    block.fold()
    assert_same(unfolded, expected)
    assert_same(block(tokens), expected)


def test_soft_ista_shrinks_both_signs(tokens: Tensor) -> None:
    block = ista(soft=True)
    step = gradient_step(block, tokens)
    expected = step.sign() * (step.abs() - ETA * LAMBDA).clamp(min=0)
    assert (expected < 0).any()
    assert_same(block(tokens), expected)


@pytest.mark.parametrize("forget", [forgotten_by_training, forgotten_by_new_weights])
def test_what_was_folded_is_forgotten(tokens: Tensor, forget: Callable[[ISTA], None]) -> None:
    block = ista()
    block.fold()
    assert is_folded(block)
    forget(block)
    assert not is_folded(block)
    block(tokens).sum().backward()
    assert block.dictionary.grad is not None


def test_a_copy_forgets_its_own_fold_only(tokens: Tensor) -> None:
    block = ista()
    block.fold()
    other = copy.deepcopy(block)
    other.load_state_dict({name: 2 * tensor for name, tensor in block.state_dict().items()})
    assert is_folded(block)
    assert not is_folded(other)
    assert_same(other(tokens), (gradient_step(other, tokens) - ETA * LAMBDA).clamp(min=0))
    assert torch.equal(pickle.loads(pickle.dumps(block))(tokens), block(tokens))


def test_a_fold_is_not_saved() -> None:
    block = ista()
    block.fold()
    assert block.state_dict().keys() == {"norm.weight", "norm.bias", "dictionary"}


def test_odl_is_its_two_steps(tokens: Tensor) -> None:
    block = ODL(WIDTH, step_size=ETA, sparsity_weight=LAMBDA, eps=1e-3)
    randomise(block)
    x = functional.layer_norm(tokens, (WIDTH,), block.norm.weight, block.norm.bias, eps=1e-3)
    D, code = block.dictionary, torch.zeros(2, 5, 4 * WIDTH)
    for _ in range(2):  # proximal gradient of ½‖x − aDᵀ‖² + λ‖a‖₁, a ≥ 0
        code = (code - ETA * (code @ D.T - x) @ D - ETA * LAMBDA).clamp(min=0)
    assert 0 < (code == 0).float().mean() < 1
    assert_same(block(tokens), tokens + code @ block.decoder.T)


def test_mlp_is_torchs_own(tokens: Tensor) -> None:
    block = MLP(WIDTH)
    randomise(block)
    reference = nn.Sequential(block.norm, block.up, nn.GELU(), block.down)
    assert_same(block(tokens), tokens + reference(tokens))


def patches(images: Tensor, side: int) -> list[Tensor]:
    """Cut images of 6 × 4 px, row by row."""
    return [images[:, :, r : r + side, c : c + side] for r in range(0, 6, side) for c in range(0, 4, side)]


def test_linear_stem_reads_pixel_rows_then_columns_then_colours() -> None:
    stem, images = LinearStem(WIDTH, patch_size=2), torch.randn(2, 3, 6, 4)
    randomise(stem)
    read = nn.Sequential(stem.patch_norm, stem.linear, stem.token_norm)
    expected = []
    for patch in patches(images, 2):
        pixels = [patch[:, colour, row, col] for row in (0, 1) for col in (0, 1) for colour in range(3)]
        expected.append(read(torch.stack(pixels, dim=1)))
    assert_same(stem(images), torch.stack(expected, dim=1))


def test_conv_stem_reads_the_same_patches() -> None:
    stem, images = ConvStem(WIDTH, patch_size=2), torch.randn(2, 3, 6, 4)
    randomise(stem)
    kernel, bias = stem.convolution.weight.flatten(1), stem.convolution.bias
    expected = [functional.linear(patch.flatten(1), kernel, bias) for patch in patches(images, 2)]
    assert_same(stem(images), torch.stack(expected, dim=1))
