"""`crate models` as its user meets it: a process with its own home, its streams and its exit code."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import cratecli.errors
from cratecli.model.config import ARCHITECTURES, CrateConfig
from cratecli.weights.registry import load_registry

RUN = """
import atexit, pathlib, sys
from cratecli.cli.models import app
from cratecli.errors import CrateError
try:
    heavy = lambda: " ".join({"torch", "timm"} & sys.modules.keys())
    atexit.register(lambda: pathlib.Path("heavy").write_text(heavy()))
    app(prog_name="crate models")
except CrateError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Home:
    """A user's machine: a home folder of its own, and `crate models` run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user_registry = folder / "config/crate/weights.toml"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(cratecli.errors.__file__).parents[1]),
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HF_ENDPOINT": "http://127.0.0.1:1",
        }

    def models(self, *arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUN, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def register(self, row: str) -> None:
        self.user_registry.parent.mkdir(parents=True, exist_ok=True)
        self.user_registry.write_text(row)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder at an address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    folder = tmp_path / "shelf"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as http:
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


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


def test_list_is_a_table_that_loads_no_model(home: Home) -> None:
    code, out, err = home.models("list")
    assert (code, err) == (0, "")
    assert (home.folder / "heavy").read_text() == ""
    for name in load_registry().names:
        assert f" {name} " in out
    row = next(line for line in out.splitlines() if " crate-alpha-b16-in1k " in line)
    assert row.split() == ["crate-alpha-b16-in1k", "289.3", "MB", "Apache-2.0", "yes", "-", "alpha_base_16"]
    assert out.count("*") == 1


def test_list_json_is_one_record_a_model(home: Home) -> None:
    home.register('[models.zz]\narchitecture = "crate_tiny_patch16_224"\nnote = "[red]:boom:[/red]"\n')
    code, out, _ = home.models("list", "--json", CRATE_MODEL="zz")
    records: list[dict[str, Any]] = json.loads(out)
    assert code == 0
    assert [record["name"] for record in records if record["default"]] == ["zz"]
    assert records[-1]["note"] == "[red]:boom:[/red]"
    assert records[-1]["path"] is None
    assert "zz: [red]:boom:[/red]" in home.models("list")[1]


def test_pull_path_verify(home: Home, shelf: tuple[Path, str]) -> None:
    folder, address = shelf
    body = b"PK weights" * 99
    sha = hashlib.sha256(body).hexdigest()
    source = f'url = "{address}/far.pth"\nsha256 = "{sha}"\n'
    home.register(f'[models.far]\narchitecture = "crate_tiny_patch16_224"\n{source}')
    assert home.models("path", "far") == (4, "", "far is not on this machine; run: crate models pull far\n")
    assert home.models("pull", "far")[0] == 4
    (folder / "far.pth").write_bytes(body)
    path = home.folder / "cache/crate/models/far/weights"
    assert home.models("pull", "far") == (0, f"{path}\n", "")
    assert path.read_bytes() == body
    assert home.models("path", "far") == (0, f"{path}\n", "")
    assert home.models("verify", "far") == (0, f"far\t{sha}\tok\n", "")
    code, out, _ = home.models("verify")
    assert (code, [line.split("\t")[0] for line in out.splitlines()]) == (0, ["crate-nano", "far"])

    path.write_bytes(b"PK?weights" * 99)
    code, out, err = home.models("verify")
    assert code == 4
    assert "crate-nano" in out
    assert f"not {sha}" in out
    assert err == "not as registered: far; run: crate models pull far\n"


def test_a_name_nobody_knows_is_a_usage_error_with_a_hint(home: Home) -> None:
    for command in ("path", "verify", "pull", "default"):
        code, out, err = home.models(command, "crate-nani")
        assert (code, out) == (2, "")
        assert "did you mean crate-nano?" in err


def test_a_broken_user_registry_is_named_with_its_line(home: Home) -> None:
    home.register('[models.x]\narchitecture = "?"\n')
    code, out, err = home.models("list")
    assert (code, out) == (2, "")
    assert err.startswith(f"{home.user_registry}:2: models.x: unknown architecture")


def test_add_a_new_name_by_its_heads(home: Home, small: Path) -> None:
    code, out, err = home.models("add", small, "--as", "mine", "--heads", "3", "--sparsity-weight", "5")
    path = home.folder / "cache/crate/models/mine/weights.pth"
    assert (code, out, err) == (0, f"{path}\n", "")
    row = load_registry([home.user_registry]).find("mine")
    assert row.config is not None
    assert (row.config.heads, row.config.width, row.config.classes) == (3, 12, 5)
    assert (row.config.step_size, row.config.sparsity_weight) == (0.1, 5.0)
    assert (row.bytes, row.sha256) == (small.stat().st_size, hashlib.sha256(small.read_bytes()).hexdigest())
    assert home.models("verify", "mine")[0] == 0
    code, _, err = home.models("add", small, "--as", "mine", "--heads", "3")
    assert code == 2
    assert "mine is registered" in err


def test_add_a_new_name_by_its_architecture(home: Home, small: Path) -> None:
    named = ARCHITECTURES["crate_nano_patch8_64"]
    file = home.folder / "trained.safetensors"
    changed = CrateConfig(patch_size=8, width=192, heads=6, depth=8, image_size=32, classes=7)
    save_file(released_crate(changed), file)
    assert home.models("add", file, "--as", "mine", "--architecture", "crate_nano_patch8_64")[0] == 0
    row = load_registry([home.user_registry]).find("mine")
    assert row.architecture == "crate_nano_patch8_64"
    assert row.config == changed
    assert named.classes != 7
    code, _, err = home.models("add", small, "--as", "other", "--architecture", "crate_nano_patch8_64")
    assert code == 4
    assert "is no crate_nano_patch8_64: patch_size 2, not 8; width 12, not 192; depth 1, not 8" in err


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
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
    ],
)
def test_add_refuses_and_leaves_nothing(
    home: Home, small: Path, options: tuple[str, ...], code: int, reason: str
) -> None:
    got, out, err = home.models("add", small, *options)
    assert (got, out) == (code, "")
    assert reason in err
    assert not home.user_registry.exists()
    assert not [path for path in home.folder.glob("cache/**/*") if path.is_file()]


def test_default_is_printed_and_chosen(home: Home) -> None:
    assert home.models("default") == (0, "crate-nano\n", "")
    assert home.models("default", "crate-mae-b16") == (
        0,
        "crate-mae-b16\n",
        "crate-mae-b16 is not on this machine yet; run: crate models pull crate-mae-b16\n",
    )
    assert home.models("default") == (0, "crate-mae-b16\n", "")
    code, out, err = home.models("default", "crate-nano", CRATE_MODEL="zz")
    assert (code, out, err) == (0, "zz\n", "CRATE_MODEL is set and goes before: zz\n")
