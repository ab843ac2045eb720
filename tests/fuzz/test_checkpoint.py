"""Mutated checkpoints of every container: each loads, or is refused in one line, and no code in it runs."""

import json
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.weights.checkpoint import load_model
from tests.support.checkpoints import released
from tests.support.mutate import mutate
from tests.support.survival import damages, odd_value, slow_count, survive

TINY = CrateConfig(patch_size=2, width=8, heads=2, depth=1, image_size=4, classes=2)


def tensors_of_tiny() -> dict[str, Tensor]:
    """Make one tiny CRATE, under the names of the released files."""
    torch.manual_seed(0)
    return {name: tensor.detach().clone() for name, tensor in released(Crate(TINY)).items()}


def odd_crate(random: np.random.Generator) -> bytes:
    """Write a sound file with an odd value in its config, and an odd tensor or none."""
    config = TINY.to_dict()
    config[str(random.choice(list(config)))] = odd_value(random)
    tensors = dict(SOUND)
    for _ in range(random.integers(3)):
        name = str(random.choice(list(tensors)))
        shape = [int(side) for side in random.integers(0, 5, size=random.integers(5))]
        odd = torch.zeros(shape, dtype=DTYPES[random.integers(len(DTYPES))])
        tensors[name if random.integers(4) else "x" * 5000 + "\x1b[2J"] = odd
    if random.integers(2):
        return to_safetensors(tensors, {"config": json.dumps(config)})
    stream = BytesIO()
    torch.save(tensors, stream)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """Write one tiny CRATE in every container."""
    tensors = SOUND
    written = {"safetensors": to_safetensors(tensors, {"config": json.dumps(TINY.to_dict())})}
    for name, zipped in (("torch zip", True), ("torch legacy", False)):
        stream = BytesIO()
        torch.save({"state_dict": tensors}, stream, _use_new_zipfile_serialization=zipped)
        written[name] = stream.getvalue()
    stream = BytesIO()
    np.savez(stream, **{name: tensor.numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]
    return written | {"npz": stream.getvalue()}


SOUND = tensors_of_tiny()
DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.bool,
    torch.float8_e5m2,
)


def repacked(archive: bytes, random: np.random.Generator) -> bytes:
    """Mutate one record of a zip and pack it anew, so that no checksum stands before the parser."""
    with zipfile.ZipFile(BytesIO(archive)) as old:
        records = {name: old.read(name) for name in old.namelist()}
    chosen = (
        [name for name in records if name.endswith((".pkl", ".npy"))] if random.integers(4) else [*records]
    )
    name = chosen[random.integers(len(chosen))]
    records[name] = mutate(records[name], random)
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as new:
        for name, content in records.items():
            new.writestr(name, content)
    return stream.getvalue()


def attempt(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    load_model(file, heads=2, device="cpu")


def test_the_seeds_themselves_load(tmp_path: Path) -> None:
    for content in seeds().values():
        attempt(tmp_path / "m.pth", content)


@pytest.mark.parametrize("count", [400, pytest.param(slow_count(), marks=pytest.mark.slow)])
def test_a_mutated_checkpoint_loads_or_is_refused(tmp_path: Path, count: int) -> None:
    file = tmp_path / "m.pth"
    whole = seeds()
    inside = {f"{name}, repacked": partial(repacked, whole[name]) for name in ("npz", "torch zip")}
    made = damages(whole) | inside | {"odd crate": odd_crate}
    told = survive(made, lambda content: attempt(file, content), count)
    print(f"{count} mutated checkpoints: {told}")  # noqa: T201
    assert told["refused"] > count // 4
    assert told["taken"] > 0
