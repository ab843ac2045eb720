"""Files of mask heads: what is stored is loaded, for the model it belongs to; anything else is refused in a line."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cratecli.errors import UsageError, WeightsError
from cratecli.model.engine import WeightsId
from cratecli.weights.mask_heads import load_head
from cratecli.weights.store import store_model
from tests.support.mask_heads import head_config, stored_head
from tests.support.models import CONFIG, small_crate

MODEL = small_crate()
HEAD = head_config(MODEL, token_width=12)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    stored_head(tmp_path / "head.safetensors", HEAD)
    return tmp_path / "head.safetensors"


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    head = stored_head(tmp_path / "a.safetensors", HEAD)
    loaded = load_head(tmp_path / "a.safetensors", MODEL)
    assert loaded.config == HEAD
    assert all(
        torch.equal(tensor, head.state_dict()[name]) for name, tensor in loaded.network.state_dict().items()
    )
    assert not any(each.requires_grad for each in loaded.network.parameters())


def test_a_head_belongs_to_its_model(file: Path) -> None:
    with pytest.raises(UsageError, match="belongs to a model whose sha256 is"):
        load_head(file, small_crate(seed=1))
    named = small_crate()
    named.weights = WeightsId("mine", "1" * 64)
    with pytest.raises(UsageError, match="not to mine"):
        load_head(file, named)
    assert named.weights_digest() == "1" * 64


def test_tensors_are_checked_one_by_one(file: Path) -> None:
    tensors = load_file(file)
    metadata = {"mask_head": json.dumps(HEAD.to_dict())}
    short = {name: each for name, each in tensors.items() if name != "whole.bias"}
    save_file(short, file, metadata)
    with pytest.raises(WeightsError, match=r"missing: whole\.bias"):
        load_head(file, MODEL)
    save_file(tensors | {"whole.bias": torch.full((32,), torch.nan)}, file, metadata)
    with pytest.raises(WeightsError, match=r"not finite: whole\.bias"):
        load_head(file, MODEL)
    save_file(tensors, file, {"mask_head": json.dumps(HEAD.to_dict() | {"width": 64})})
    with pytest.raises(WeightsError, match="misshapen"):
        load_head(file, MODEL)


@pytest.mark.parametrize("lie", [{"heads": MODEL.heads + 1}, {"layers": (0, 1, 99)}])
def test_a_head_of_more_than_the_model_has_is_refused(tmp_path: Path, lie: dict[str, object]) -> None:
    stored_head(tmp_path / "head", head_config(MODEL, token_width=12, **lie))
    with pytest.raises(WeightsError, match="reads heads or layers that the model has not"):
        load_head(tmp_path / "head", MODEL)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 64, pickle.dumps({"a": 1}), b"\xff" * 8 + b"{"])
def test_what_is_no_head_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(WeightsError, match="is no mask head"):
        load_head(tmp_path / "x", MODEL)


def test_a_model_is_no_head_and_a_missing_file_is_said_to_be(tmp_path: Path) -> None:
    store_model(tmp_path / "model.safetensors", CONFIG, MODEL.state_dict())
    with pytest.raises(WeightsError, match="is no mask head"):
        load_head(tmp_path / "model.safetensors", MODEL)
    with pytest.raises(WeightsError, match="no such file"):
        load_head(tmp_path / "none", MODEL)
    with pytest.raises(WeightsError, match="is no file"):
        load_head(tmp_path, MODEL)
