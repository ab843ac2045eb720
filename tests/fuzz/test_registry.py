"""Mutated registries: each loads, or is refused in one line that names the file."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from cratecli.errors import RegistryError
from cratecli.model.config import CrateConfig
from cratecli.weights.registry import load_registry
from cratecli.weights.rows import Hub, RegistryRow
from tests.support.survival import damages, odd_value, slow_count, survive

SMALL = f"""
[models.m]
architecture = "custom"
patch_size = 4
width = 8
heads = 2
depth = 1
image_size = 16
step_size = 0.1
mean = [0.5, 0.5, 0.5]
stem = "conv"
output_bias = false
bytes = 1000
sha256 = "{"ab" * 32}"
url = ["https://a.example/m", "http://b.example:8080/m"]
[models.n]
architecture = "crate_tiny_patch16_224"
normalisation = "imagenet"
hub = {{ repository = "a/b", revision = "{"c0" * 20}", file = "f/g.pth" }}
[models.o]
architecture = "timm:vit_small_patch16_224"
drive = "abc-1"
unverified = true
note = "ü \\u0041 \\t"
""".encode()
PACKAGED = (Path(__file__).parents[2] / "weights.toml").read_text()
SEEDS = {"small": SMALL, "packaged": "\n[models.".join(PACKAGED.split("\n[models.")[:4]).encode()}


def odd_rows(random: np.random.Generator) -> bytes:
    """Write sound TOML with one to three odd values."""
    content = tomllib.loads(SMALL.decode())
    for _ in range(random.integers(1, 4)):
        row = content["models"][str(random.choice(["m", "n", "o"]))]
        table = row["hub"] if isinstance(row.get("hub"), dict) and random.integers(2) else row
        table[str(random.choice(FIELDS))] = odd_value(random)
    return tomli_w.dumps(content).encode(errors="replace")


FIELDS = sorted(
    {field.name for kind in (CrateConfig, Hub) for field in fields(kind)}
    | set(RegistryRow.model_fields)
    | {"name", "config", "source", "\x1b[2J\n", "x" * 5000}
)


def attempt(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        load_registry([file])
    except RegistryError as error:
        assert re.match(rf"{re.escape(str(file))}:\d+: ", str(error)), str(error)
        raise


def test_the_seeds_themselves_load(tmp_path: Path) -> None:
    for content in SEEDS.values():
        attempt(tmp_path / "weights.toml", content)


@pytest.mark.parametrize("count", [400, pytest.param(slow_count(), marks=pytest.mark.slow)])
def test_a_mutated_registry_loads_or_is_refused(tmp_path: Path, count: int) -> None:
    file = tmp_path / "weights.toml"
    told = survive(damages(SEEDS) | {"odd rows": odd_rows}, lambda content: attempt(file, content), count)
    print(f"{count} mutated registries: {told}")  # noqa: T201
    assert told["refused"] > count // 4
    assert told["taken"] > 0
