"""The config: plain data and back, and what is refused."""

import json
import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from cratecli.model.config import ARCHITECTURES, CrateConfig

SMALL: dict[str, Any] = {"patch_size": 4, "width": 12, "heads": 3, "depth": 1, "image_size": 16}


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_plain_data_and_back(config: CrateConfig) -> None:
    assert CrateConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"colour": 1}, "unknown field 'colour'"),
        ({"heads": 5}, "width 12 is not a multiple of 5 heads"),
        ({"image_size": 15}, "image size 15 is not a multiple of patch size 4"),
        ({"depth": 0}, "depth is 0: should be greater than or equal to 1"),
        ({"classes": -1}, "classes is -1: should be greater than or equal to 0"),
        ({"depth": 1.0}, "depth is 1.0: should be a valid integer"),
        ({"depth": True}, "depth is True: should be a valid integer"),
        ({"step_size": "0.1"}, "step_size is '0.1': should be a valid number"),
        ({"sparsity_weight": True}, "sparsity_weight is True: should be a valid number"),
        ({"pre_logits": 1}, "pre_logits is 1: should be a valid boolean"),
        ({"stem": "root"}, "stem is 'root': should be 'linear' or 'conv'"),
        ({"stem": None}, "stem is None: should be 'linear' or 'conv'"),
        ({"mean": [0.5, 0.5]}, "mean[2] is missing"),
        ({"std": "abc"}, "std is 'abc': should be a valid tuple"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean[2] is nan: should be less than or equal to 1000000000"),
        ({"mean": [0.5, 0.5, True]}, "mean[2] is True: should be a valid number"),
        ({"std": [0.2, 0, 0.2]}, "std[1] is 0: should be greater than 0"),
        ({"step_size": float("nan")}, "step_size is nan: should be less than or equal to 1000000000"),
        ({"sparsity_weight": float("inf")}, "sparsity_weight is inf: should be less than or equal to"),
        ({"sparsity_weight": -0.1}, "sparsity_weight is -0.1: should be greater than or equal to 0"),
        ({"step_size": 10**400}, f"step_size is 1{'0' * 17}...{'0' * 19}: should be a valid number"),
        ({"depth": 1025}, "depth is 1025: should be less than or equal to 1024"),
        ({"depth": 10**400}, f"depth is 1{'0' * 17}...{'0' * 19}: should be less than or equal to 1024"),
        ({"width": 65_538}, "width is 65538: should be less than or equal to 65536"),
        ({"classes": 1_000_001}, "classes is 1000001: should be less than or equal to 1000000"),
    ],
)
def test_what_no_forward_pass_could_run_is_refused(change: dict[str, Any], reason: str) -> None:
    """By one clear line."""
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}[^\n]*$"):
        CrateConfig.from_dict(SMALL | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"^heads is missing$"):
        CrateConfig.from_dict({name: value for name, value in SMALL.items() if name != "heads"})


def test_whole_numbers_do_for_numbers() -> None:
    weight = CrateConfig.from_dict(SMALL | {"sparsity_weight": 5}).sparsity_weight
    assert (weight, type(weight)) == (5.0, float)


def test_replacing_checks_again() -> None:
    with pytest.raises(ValueError, match=r"^heads is 0: "):
        replace(CrateConfig.from_dict(SMALL), heads=0)


def test_a_config_is_a_frozen_record() -> None:
    one, two = CrateConfig(**SMALL), CrateConfig(**SMALL)
    assert (one, hash(one)) == (two, hash(two))
    assert one != replace(one, depth=2)
    with pytest.raises(FrozenInstanceError):
        one.depth = 2  # type: ignore[misc]
