"""What is stored is loaded again, config and all, and the same model makes the same file."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cratecli.errors import OutputError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.weights.checkpoint import load_model
from cratecli.weights.store import store_model

SMALL = CrateConfig(patch_size=4, width=24, heads=3, depth=2, image_size=16, classes=5)
FAMILIES = {
    "crate": SMALL,
    "soft": replace(SMALL, sparsifier="soft-ista"),
    "alpha": replace(SMALL, stem="conv", sparsifier="odl", output_bias=False, layer_norm_eps=1e-6),
    "mae": replace(SMALL, stem="conv", classes=0, sparsity_weight=0.5),
    "demo": replace(SMALL, pre_logits=True),
    "mssa-mlp": replace(SMALL, sparsifier="mlp"),
    "mhsa-ista": replace(SMALL, attention="mhsa"),
    "vit": replace(SMALL, attention="mhsa", sparsifier="mlp"),
}


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_every_family_comes_back(tmp_path: Path, config: CrateConfig) -> None:
    model = Crate(config).eval()
    digest = store_model(tmp_path / "m.safetensors", config, model.state_dict())
    loaded = load_model(tmp_path / "m.safetensors")
    assert isinstance(loaded, Crate)
    assert loaded.config == config
    assert loaded.weights is not None
    assert (
        loaded.weights.sha256
        == digest
        == hashlib.sha256((tmp_path / "m.safetensors").read_bytes()).hexdigest()
    )
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(images), model.fold()(images))


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    tensors = Crate(SMALL).state_dict()
    labels = [f"class {number}" for number in range(5)]
    files = {
        store_model(
            tmp_path / f"{turn}",
            SMALL,
            dict(reversed(tensors.items())) if turn % 2 else tensors,
            labels=labels,
        )
        for turn in range(6)
    }
    assert len(files) == 1
    with safe_open(tmp_path / "0", "pt") as stored:
        assert json.loads(stored.metadata()["labels"]) == labels


def test_half_the_size(tmp_path: Path) -> None:
    tensors = Crate(SMALL).state_dict()
    store_model(tmp_path / "whole", SMALL, tensors)
    store_model(tmp_path / "half", SMALL, tensors, dtype="float16")
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "whole").stat().st_size
    loaded = load_model(tmp_path / "half").state_dict()
    assert all(torch.equal(loaded[name], tensor.half().float()) for name, tensor in tensors.items())


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        store_model(tmp_path / "file" / "m.safetensors", SMALL, Crate(SMALL).state_dict())
