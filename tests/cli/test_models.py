"""`crate models` as its user meets it: a home of its own, its streams and its exit code."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from cratecli.model.config import ARCHITECTURES, CrateConfig
from cratecli.model.vit import UnrolledViT
from cratecli.weights.checkpoint import load_model
from cratecli.weights.fetch import present
from cratecli.weights.registry import load_registry
from tests.cli.conftest import Here, Machine
from tests.support.server import Answer, Server

Models = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(here: Here) -> Models:
    """Run `crate models`, and give exit code, stdout and stderr."""

    def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        done = here("models", *arguments, **environment)
        return done.code, done.out.decode(), done.err

    return run


def released_crate(config: CrateConfig) -> dict[str, Tensor]:
    """Make a CRATE of zeros under the names of the released files."""
    d, inputs = config.width, 3 * config.patch_size**2
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "to_patch_embedding.1.weight": (inputs,),
        "to_patch_embedding.1.bias": (inputs,),
        "to_patch_embedding.2.weight": (d, inputs),
        "to_patch_embedding.2.bias": (d,),
        "to_patch_embedding.3.weight": (d,),
        "to_patch_embedding.3.bias": (d,),
        "cls_token": (1, 1, d),
        "pos_embedding": (1, tokens, d),
        "mlp_head.0.weight": (d,),
        "mlp_head.0.bias": (d,),
        "mlp_head.1.weight": (config.classes, d),
        "mlp_head.1.bias": (config.classes,),
    }
    for i in range(config.depth):
        layer = f"transformer.layers.{i}"
        shapes |= {f"{layer}.{j}.norm.{name}": (d,) for j in (0, 1) for name in ("weight", "bias")}
        shapes |= {f"{layer}.{name}.weight": (d, d) for name in ("0.fn.qkv", "0.fn.to_out.0", "1.fn")}
        shapes[f"{layer}.0.fn.to_out.0.bias"] = (d,)
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


SMALL = CrateConfig(patch_size=2, width=12, heads=3, depth=1, image_size=8, classes=5)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write a tiny CRATE in the released layout."""
    file = tmp_path / "small.pth"
    torch.save(released_crate(SMALL), file)
    return file


def test_list_is_a_table_that_loads_no_model(machine: Machine) -> None:
    done = machine.crate("models", "list")
    assert (done.code, done.err) == (0, "")
    out = done.out.decode()
    for name in load_registry().names:
        assert f" {name} " in out
    row = next(line for line in out.splitlines() if " crate-alpha-b16-in1k " in line)
    assert row.split() == ["crate-alpha-b16-in1k", "289.3", "MB", "Apache-2.0", "yes", "-", "alpha_base_16"]
    assert out.count("*") == 1


def test_list_json_is_one_record_a_model(machine: Machine, models: Models) -> None:
    machine.register('[models.zz]\narchitecture = "crate_tiny_patch16_224"\nnote = "[red]:boom:[/red]"\n')
    code, out, _ = models("list", "--json", CRATE_MODEL="zz")
    records: list[dict[str, Any]] = json.loads(out)
    assert code == 0
    assert [record["name"] for record in records if record["default"]] == ["zz"]
    assert records[-1]["note"] == "[red]:boom:[/red]"
    assert records[-1]["path"] is None
    assert "zz: [red]:boom:[/red]" in models("list")[1]


def test_pull_path_verify(machine: Machine, models: Models, server: Server) -> None:
    body = b"PK weights" * 99
    sha = hashlib.sha256(body).hexdigest()
    source = f'url = "{server.address}/far.pth"\nsha256 = "{sha}"\n'
    machine.register(f'[models.far]\narchitecture = "crate_tiny_patch16_224"\n{source}')
    assert models("path", "far") == (4, "", "crate: far is not on this machine; run: crate models pull far\n")
    assert models("pull", "far")[0] == 4
    server.answers["/far.pth"] = Answer(body)
    path = machine.cache / "models/far/weights"
    assert models("pull", "far") == (0, f"{path}\n", "")
    assert path.read_bytes() == body
    assert models("path", "far") == (0, f"{path}\n", "")
    assert models("verify", "far") == (0, f"far\t{sha}\tok\n", "")
    code, out, _ = models("verify")
    assert (code, [line.split("\t")[0] for line in out.splitlines()]) == (0, ["crate-nano", "far"])

    path.write_bytes(b"PK?weights" * 99)
    code, out, err = models("verify")
    assert code == 4
    assert "crate-nano" in out
    assert f"not {sha}" in out
    assert err == "crate: not as registered: far; run: crate models pull far\n"


def test_a_name_nobody_knows_is_a_usage_error_with_a_hint(machine: Machine, models: Models) -> None:
    for command in ("path", "verify", "pull", "default"):
        code, out, err = models(command, "crate-nani")
        assert (code, out) == (2, "")
        assert "did you mean crate-nano?" in err


def test_a_broken_user_registry_is_named_with_its_line(machine: Machine, models: Models) -> None:
    machine.register('[models.x]\narchitecture = "?"\n')
    code, out, err = models("list")
    assert (code, out) == (2, "")
    assert err.startswith(f"crate: {machine.user_registry}:2: models.x: architecture is '?': unknown")


def test_add_a_new_name_by_its_heads(machine: Machine, models: Models, small: Path) -> None:
    code, out, err = models("add", small, "--as", "mine", "--heads", "3", "--sparsity-weight", "5")
    path = machine.cache / "models/mine/weights.pth"
    assert (code, out, err) == (0, f"{path}\n", "")
    row = load_registry([machine.user_registry]).find("mine")
    assert row.config is not None
    assert (row.config.heads, row.config.width, row.config.classes) == (3, 12, 5)
    assert (row.config.step_size, row.config.sparsity_weight) == (0.1, 5.0)
    assert (row.bytes, row.sha256) == (small.stat().st_size, hashlib.sha256(small.read_bytes()).hexdigest())
    assert models("verify", "mine")[0] == 0
    code, _, err = models("add", small, "--as", "mine", "--heads", "3")
    assert code == 2
    assert "mine is registered" in err


def test_add_a_new_name_by_its_architecture(machine: Machine, models: Models, small: Path) -> None:
    named = ARCHITECTURES["crate_nano_patch8_64"]
    file = machine.desk / "trained.safetensors"
    changed = CrateConfig(patch_size=8, width=192, heads=6, depth=8, image_size=32, classes=7)
    save_file(released_crate(changed), file)
    assert models("add", file, "--as", "mine", "--architecture", "crate_nano_patch8_64")[0] == 0
    row = load_registry([machine.user_registry]).find("mine")
    assert row.architecture == "crate_nano_patch8_64"
    assert row.config == changed
    assert named.classes != 7
    code, _, err = models("add", small, "--as", "other", "--architecture", "crate_nano_patch8_64")
    assert code == 4
    assert "is no crate_nano_patch8_64: patch_size 2, not 8; width 12, not 192; depth 1, not 8" in err


def test_add_a_vit_of_timms(machine: Machine, models: Models) -> None:
    file = machine.desk / "vit.safetensors"
    save_file(timm.create_model("test_vit.r160_in1k").state_dict(), file)
    code, out, err = models("add", file, "--as", "vit", "--architecture", "timm:test_vit.r160_in1k")
    assert (code, out, err) == (0, f"{machine.cache / 'models/vit/weights.safetensors'}\n", "")
    row = load_registry([machine.user_registry]).find("vit")
    assert (row.architecture, row.config) == ("timm:test_vit.r160_in1k", None)
    assert row.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert isinstance(load_model("vit", device="cpu"), UnrolledViT)
    assert models("verify", "vit")[0] == 0


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--as", "vit", "--architecture", "timm:test_vit.r160_in1k"), 4, "does not fit its architecture"),
        (
            ("--as", "vit", "--architecture", "timm:resnet18"),
            2,
            "vit: resnet18 of timm is no ViT that can be unrolled",
        ),
        (("--as", "vit", "--architecture", "timm:hf-hub:a/b"), 2, "should be timm: and a name of timm's own"),
        (("--as", "vit", "--architecture", "timm:test_vit", "--heads", "2"), 2, "leave their options out"),
        (("--as", "mine"), 4, "how many heads"),
        (("--as", "mine", "--heads", "5"), 4, "not a multiple of 5 heads"),
        (("--as", "mine", "--architecture", "resnet"), 2, "no architecture 'resnet'"),
        (
            ("--as", "mine", "--architecture", "crate_tiny_patch16_224", "--heads", "3"),
            2,
            "leave out --heads",
        ),
        (("--as", "mine", "--heads", "3", "--step-size", "nan"), 2, "--step-size"),
        (("--as", "mine", "--heads", "3", "--step-size", "inf"), 2, "--step-size is inf"),
        (("--as", "../mine", "--heads", "3"), 2, "cannot name a model"),
        (("--as", "crate-nano"), 2, "built in"),
        (("--as", "crate-alpha-b16-in1k", "--heads", "3"), 2, "is registered"),
        (("--as", "crate-alpha-b16-in1k"), 4, "bytes, not 289348353: refused as crate-alpha-b16-in1k"),
        (("--as", "vit-small-patch14-dinov2"), 4, "does not fit its architecture"),  # not pinned
        (("--as", "crate-base-demo-b8"), 4, "does not fit its architecture"),
    ],
)
def test_add_refuses_and_leaves_nothing(
    machine: Machine, models: Models, small: Path, options: tuple[str, ...], code: int, reason: str
) -> None:
    got, out, err = models("add", small, *options)
    assert (got, out) == (code, "")
    assert reason in err
    assert not machine.user_registry.exists()
    left = [path for path in machine.cache.glob("**/*") if path.is_file()]
    assert all(path.suffix == ".lock" for path in left)


def test_default_is_printed_and_chosen(machine: Machine, models: Models) -> None:
    assert models("default") == (0, "crate-nano\n", "")
    assert models("default", "crate-mae-b16") == (
        0,
        "crate-mae-b16\n",
        "crate: crate-mae-b16 is not on this machine yet; run: crate models pull crate-mae-b16\n",
    )
    assert models("default") == (0, "crate-mae-b16\n", "")
    code, out, err = models("default", "crate-nano", CRATE_MODEL="zz")
    assert (code, out, err) == (0, "zz\n", "crate: CRATE_MODEL is set and goes before: zz\n")


def test_a_rehearsed_push_prints_the_card_and_asks_nobody(models: Models, here: Here) -> None:
    built_in = load_registry().find("crate-nano")
    code, out, err = models(
        "push", present(built_in), "lab/nano", "--dry-run", HF_ENDPOINT="http://127.0.0.1:9"
    )
    assert (code, out.splitlines()[0]) == (0, "---")
    assert err.startswith("crate: hf:lab/nano would get model.safetensors (2.0 MB), config.json (")
    code, out, err = models("push", present(built_in), "lab/nano", "--dry-run", "--json")
    assert json.loads(out)["model"] == "hf:lab/nano"
    assert models("push", "nothing", "lab/nano")[0] == 2
