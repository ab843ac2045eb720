"""Parity with the released code: random weights in the released layouts, real photos, arrays it computed."""

from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from cratecli.emergence.coding import coding_rate, zero_fraction
from cratecli.model.crate import Crate
from cratecli.model.unroll import LayerState
from cratecli.weights.checkpoint import load_model

ATTENTION, TOKENS = 1e-5, 2e-4  # absolute
FEATURES = 2e-5  # MAE's: the golden array itself is 1.5e-5 from a float64 run, ours 1.05e-5 from it
RATE = 2e-4  # nats, of about 90
WEIGHTS = {
    "crate": "checkpoint_ddp.pth.tar",
    "crate_alpha": "weights.safetensors",
    "crate_demo": "checkpoint.pth",
    "crate_mae": "weights.safetensors",
}


@dataclass
class Family:
    """A model, and the arrays the released code made; those compared are struck off `left`."""

    model: Crate
    expected: dict[str, Tensor]
    left: set[str]

    def compare(self, name: str, actual: Tensor, tolerance: float) -> None:
        assert_close(actual, self.expected[name], tolerance)
        self.left.discard(name)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def load(folder: Path, name: str) -> Crate:
    model = load_model(folder / name, heads=3, device="cpu")
    assert isinstance(model, Crate)
    return model


@pytest.fixture(params=[*WEIGHTS, "crate_alpha_jax"])
def family(request: pytest.FixtureRequest, golden: Path) -> Family:
    folder = golden / request.param
    jax = request.param == "crate_alpha_jax"
    expected = load_file(folder / ("expected_jax.safetensors" if jax else "expected.safetensors"))
    model = load(folder, "weights_jax.npz" if jax else WEIGHTS[request.param])
    return Family(model, expected, set(expected))


def attention_map(state: LayerState) -> Tensor:
    """Compute the full map, `b k n n`, as the paper writes it."""
    query, key, _ = state.projection
    return (query @ key.mT / sqrt(key.shape[-1])).softmax(dim=-1)


def concatenated(state: LayerState) -> Tensor:
    return state.subspaces.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("folded", [True, False])
def test_every_array(family: Family, folded: bool) -> None:
    model = family.model.eval() if folded else family.model.train()
    states = list(model.unroll(family.expected["input"]))
    assert len(states) == model.depth + 1
    zeros = []
    for state in states:
        family.compare(f"tokens.{state.index - 1}" if state.index else "tokens.in", state.tokens, TOKENS)
        if state.index:
            zeros.append(zero_fraction(state.tokens).mean().float())
        if state.index < model.depth and f"attn.{state.index}" in family.expected:
            family.compare(f"attn.{state.index}", attention_map(state), ATTENTION)
            family.compare(f"subspace.{state.index}", concatenated(state), TOKENS)
            class_row = family.expected[f"attn.{state.index}"][:, :, 0, 1:]
            assert_close(state.class_attention(), class_row, ATTENTION)
    features = model.forward_features(family.expected["input"])
    if "features" in family.expected:
        family.compare("features", features, FEATURES)
    else:  # the demo's released forward stops before its classifier
        logits = model.forward_head(features, pre_logits=model.config.pre_logits)
        family.compare("logits", logits, TOKENS)
    if "tokens.last" in family.expected:
        family.compare("tokens.last", states[-1].tokens, TOKENS)
    if "zero_fraction" in family.expected:
        family.compare("zero_fraction", torch.stack(zeros), 1e-6)
        rates = [coding_rate(state.subspaces).mean() for state in states[:-1]]
        family.compare("coding_rate", torch.stack(rates).float(), RATE)
    assert family.left == {"input"}


def test_a_wrong_eps_would_be_seen(golden: Path) -> None:
    right, expected = (
        load(golden / "crate_mae", "weights.safetensors"),
        golden / "crate_mae/expected.safetensors",
    )
    wrong = Crate(replace(right.config, final_norm_eps=1e-5)).eval()
    wrong.load_state_dict(right.state_dict())
    arrays = load_file(expected)
    error = (wrong.forward_features(arrays["input"]) - arrays["features"]).abs().max()
    assert error > 3 * FEATURES


def test_the_demo_gives_class_scores_on_top(golden: Path) -> None:
    model = load(golden / "crate_demo", "checkpoint.pth")
    arrays = load_file(golden / "crate_demo/expected.safetensors")
    assert_close(model(arrays["input"]), model.head(arrays["logits"]), TOKENS)


def released_resize(embedding: Tensor, side: int) -> Tensor:
    """Resize as the notebooks do: the scale is a tenth of a patch too large."""
    native = round((embedding.shape[1] - 1) ** 0.5)
    square = embedding[:, 1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
    scale = (side + 0.1) / native
    larger = functional.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat((embedding[:, :1], larger.flatten(2).mT), dim=1)


def resized_by_hand(model: Crate, side: int, embedding: Tensor) -> Crate:
    """Copy a model into one whose native grid has `side` patches a side."""
    other = Crate(replace(model.config, image_size=side * model.patch_size)).eval()
    other.load_state_dict(model.state_dict() | {"position_embedding": embedding})
    return other.requires_grad_(False)


def correlations(ours: Tensor, theirs: Tensor) -> list[float]:
    """Correlate head by head."""
    heads = zip(ours.flatten(0, -2), theirs.flatten(0, -2), strict=True)
    return [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in heads]


@pytest.fixture
def resized(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "crate/expected_resized.safetensors")


def last_layer(model: Crate, images: Tensor) -> LayerState:
    return list(model.unroll(images))[model.depth - 1]


def test_another_size_with_its_position_embedding_given(golden: Path, resized: dict[str, Tensor]) -> None:
    model = resized_by_hand(load(golden / "crate", WEIGHTS["crate"]), 15, resized["pos_embedding"])
    state = last_layer(model, resized["input"])
    assert_close(attention_map(state), resized["attn_last"], ATTENTION)
    assert_close(state.class_attention(), resized["attn_last"][:, :, 0, 1:], ATTENTION)
    assert_close(concatenated(state)[:, 1:], resized["subspace_last"], TOKENS)


def test_our_own_resize_of_a_random_embedding(golden: Path, resized: dict[str, Tensor]) -> None:
    model = load(golden / "crate", WEIGHTS["crate"])
    assert torch.equal(released_resize(model.position_embedding, 15), resized["pos_embedding"])
    state = last_layer(model, resized["input"])
    both = torch.stack((concatenated(state)[:, 1:].flatten(), resized["subspace_last"].flatten()))
    assert torch.corrcoef(both)[0, 1] > 0.99
    # White noise is the worst embedding to resize: a shift of 0.05 patches costs attention this much.
    assert min(correlations(state.class_attention(), resized["attn_last"][:, :, 0, 1:])) > 0.88


@pytest.mark.parametrize("side", [12, 15, 24])
def test_our_own_resize_of_a_trained_embedding(resized: dict[str, Tensor], side: int) -> None:
    ours = load_model("crate-nano", device="cpu")
    assert isinstance(ours, Crate)
    theirs = resized_by_hand(ours, side, released_resize(ours.position_embedding, side))
    images = functional.interpolate(resized["input"], size=(side * 8, side * 8), mode="bilinear")
    for our_state, their_state in zip(list(ours.unroll(images))[:-1], theirs.unroll(images), strict=False):
        pair = our_state.class_attention(), their_state.class_attention()
        assert min(correlations(*pair)) >= 0.99
