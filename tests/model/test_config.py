"""The config: plain data and back, and what is refused."""

import json
from dataclasses import replace
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
        ({"colour": 1}, "unknown field colour"),
        ({"heads": 5}, "width 12 is not a multiple of 5 heads"),
        ({"image_size": 15}, "image size 15 is not a multiple of patch size 4"),
        ({"depth": 0}, "depth is 0: too small"),
        ({"classes": -1}, "classes is -1: too small"),
        ({"depth": 1.0}, "depth is 1.0, not a whole number"),
        ({"depth": True}, "depth is True, not a whole number"),
        ({"step_size": "0.1"}, "step_size is '0.1', not a number"),
        ({"sparsity_weight": True}, "sparsity_weight is True, not a number"),
        ({"pre_logits": 1}, "pre_logits is 1, not true or false"),
        ({"stem": "root"}, "stem is 'root', not one of linear, conv"),
        ({"stem": None}, "stem is None, not one of"),
        ({"mean": [0.5, 0.5]}, r"mean is \(0.5, 0.5\), not three numbers"),
        ({"std": "abc"}, "std is 'abc', not three numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean is .*nan.*, not three numbers"),
        ({"mean": [0.5, 0.5, True]}, "mean is .*True.*, not three numbers"),
        ({"std": [0.2, 0, 0.2]}, r"std is \(0.2, 0.0, 0.2\): not positive"),
        ({"step_size": float("nan")}, "step_size is nan, not between 0 and 1e"),
        ({"sparsity_weight": float("inf")}, "sparsity_weight is inf, not between"),
        ({"sparsity_weight": -0.1}, "sparsity_weight is -0.1, not between"),
        ({"step_size": 10**400}, r"step_size is 10+\.\.\.0+, not between"),
        ({"depth": 1025}, "depth is 1025: too large"),
        ({"depth": 10**400}, r"depth is 10+\.\.\.0+: too large"),
        ({"width": 65_538}, "width is 65538: too large"),
        ({"classes": 1_000_001}, "classes is 1000001: too large"),
    ],
)
def test_what_no_forward_pass_could_run_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CrateConfig.from_dict(SMALL | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="heads"):
        CrateConfig.from_dict({name: value for name, value in SMALL.items() if name != "heads"})


def test_whole_numbers_do_for_numbers() -> None:
    weight = CrateConfig.from_dict(SMALL | {"sparsity_weight": 5}).sparsity_weight
    assert (weight, type(weight)) == (5.0, float)


def test_replacing_checks_again() -> None:
    with pytest.raises(ValueError, match="too small"):
        replace(CrateConfig.from_dict(SMALL), heads=0)
