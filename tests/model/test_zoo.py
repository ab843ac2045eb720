"""Named sizes: known to timm, and as large as the published files."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

import cratecli.model.zoo  # noqa: F401 - registers every name with timm
from cratecli.model.config import ARCHITECTURES
from cratecli.model.crate import Crate
from cratecli.weights.registry import load_registry

PUBLISHED = [
    "crate-alpha-b16-in1k",
    "crate-alpha-l14-in1k",
    "crate-alpha-b32-in21k",
    "crate-alpha-l32-in21k",
    "crate-b32-in21k",
]


def create(name: str, **options: Any) -> Crate:
    with torch.device("meta"):
        model = timm.create_model(name, **options)
    assert isinstance(model, Crate)
    return model


def bytes_of(model: nn.Module) -> int:
    return 4 * sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_timm_makes_every_name(name: str) -> None:
    assert timm.is_model(name)
    model = create(name)
    assert model.config == ARCHITECTURES[name]
    assert model.pretrained_cfg["num_classes"] == model.config.classes
    assert model.pretrained_cfg["input_size"] == (3, model.config.image_size, model.config.image_size)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_timms_own_words_change_classes_and_size(name: str) -> None:
    config = ARCHITECTURES[name]
    side = 4 * config.patch_size
    model = create(name, num_classes=3, img_size=side, step_size=0.2)
    assert (model.config.classes, model.config.image_size, model.config.step_size) == (3, side, 0.2)
    assert model.position_embedding.shape == (1, 17, config.width)
    assert model.head(torch.zeros(1, config.width, device="meta")).shape == (1, 3)
    assert isinstance(create(name, num_classes=0).head, nn.Identity)


def test_what_a_named_crate_cannot_be_is_refused() -> None:
    name = "crate_tiny_patch16_224"
    with pytest.raises(ValueError, match=r"cratecli\.load_model"):
        timm.create_model(name, pretrained=True)
    with pytest.raises(ValueError, match="reads 3 channels, not 1"):
        timm.create_model(name, in_chans=1)
    with pytest.raises(ValueError, match="not a multiple"):
        create(name, img_size=100)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_the_published_file_has_bytes(name: str) -> None:
    row = load_registry().find(name)
    assert row.config is not None
    assert row.bytes is not None
    with torch.device("meta"):
        container = row.bytes - bytes_of(Crate(row.config))
    assert 0 < container < 100_000


def test_the_reference_counts_of_the_paper() -> None:
    millions = {"tiny": 6, "small": 13, "base": 23, "large": 78}  # 2306.01129, table 1: encoders, /16
    for size, count in millions.items():
        assert round(bytes_of(create(f"crate_{size}_patch16_224")) / 4e6) == pytest.approx(count, abs=1)
