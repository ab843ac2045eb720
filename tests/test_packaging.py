"""What travels: the wheel does the main job from another folder, and CI runs every check."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.support.environment import environment
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/chelsea.jpg"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the checkout, with no network."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True, cwd=folder, timeout=PATIENCE)
    (built,) = folder.glob("cratecli-*.whl")
    return built


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt")))
        assert archive.read("cratecli/weights.toml") == (ROOT / "weights.toml").read_bytes()
    nano = [
        f"data/crate-nano/{name}"
        for name in ("model.safetensors", "model.onnx", "head.safetensors", "head.onnx", "README.md")
    ]
    for name in ("py.typed", "__main__.py", *nano):
        assert f"cratecli/{name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert b"crate = cratecli.cli.app:main" in entry_points
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cratecli", next(top for top in tops if top.endswith(".dist-info"))}
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def crate(package: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run `crate` out of the folder `package` that holds cratecli, before any that is installed."""
    return subprocess.run(
        [sys.executable, "-m", "cratecli", *arguments],
        cwd=folder,
        env=environment(folder) | {"PYTHONPATH": str(package)},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )


def check_the_model(package: Path, folder: Path) -> None:
    """The model that comes along is found in `package` from another folder."""
    nano = package / "cratecli/data/crate-nano/model.safetensors"
    assert crate(package, folder, "models", "path", "crate-nano").stdout.decode() == f"{nano}\n"


def test_the_wheel_does_the_main_job(wheel: Path, tmp_path: Path) -> None:
    package, folder = tmp_path / "package", tmp_path
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(package)
    check_the_model(package, folder)
    done = crate(package, folder, "segment", PHOTO, "-o", "mask.png")
    assert (done.stdout, done.stderr.count(b"\n")) == (b"mask.png\n", 1)
    with Image.open(folder / "mask.png") as mask, Image.open(PHOTO) as photo:
        assert mask.size == photo.size
        assert mask.getextrema() == (0, 255)


def test_the_checkout_has_its_model(tmp_path: Path) -> None:
    """As an editable install does: `weights.toml` is read from the top of the checkout."""
    check_the_model(ROOT / "src", tmp_path)


README = """
# A project

```sh
exit 9
```

Tests:

<!-- test -->
```sh
mkdir -p .venv/bin && cp tools/* .venv/bin && echo "1 passed" && exit {code}
```

```sh
exit 8
```
"""
TOOLS = {
    "pip": "pip install -e .[dev]",
    "ruff": "ruff check --quiet",
    "mypy": "mypy",
    "lint-imports": "lint-imports --no-cache",
    "pytest": "pytest -n 0 -m slow tests/cli/test_explore_browser.py",
}


@pytest.mark.parametrize(
    ("tests", "types", "imports", "code"),
    [(0, 0, 0, 0), (3, 0, 0, 3), (0, 4, 5, 4), (0, 0, 5, 5), (3, 4, 0, 3)],
)
def test_ci_runs_the_readmes_own_command_then_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: int, types: int, imports: int, code: int
) -> None:
    """The first failure is the exit code, and the others are run all the same."""
    for name in ("check", ".ci/run"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    ends = {"mypy": types, "lint-imports": imports}
    for name in TOOLS:
        tool = tmp_path / "tools" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/sh\necho "{name} $*"\nexit {ends.get(name, 0)}\n')
        tool.chmod(0o755)
    (tmp_path / "README.md").write_text(README.format(code=tests))
    shutil.copy(tool, tmp_path / "chromium")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run(
        ["bash", tmp_path / ".ci/run"], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == code
    said = [line.strip() for line in done.stdout.splitlines()]
    assert "1 passed" in said
    assert set(TOOLS.values()) <= set(said)
    assert "ruff format --check --quiet" in said
    assert "pytest" not in said
    assert "exit 9" not in done.stdout
    for name, end in ends.items():
        assert (f"{name} failed with exit code {end}" in done.stderr) is (end > 0)


def test_ci_needs_the_readmes_command(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "README.md").write_text("# No command\n")
    done = subprocess.run(["bash", tmp_path / ".ci/run"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "README.md has no" in done.stderr
