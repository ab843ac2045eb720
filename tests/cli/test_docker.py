"""The Dockerfile and its page, as far as a machine without Docker can try them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cratecli.cli.app import app
from tests.cli.conftest import Here, Machine, picture
from tests.support.once import get_command
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
COPIED = [
    word.rstrip("/")
    for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.M)
    for word in line.split()
]
RUNS = [
    (found[1], shlex.split(found[2]))
    for found in re.finditer(
        r"^docker run (?:.*?) (crate(?::\w+)?) ([^<>\n]*)", (ROOT / "docs/docker.md").read_text(), re.M
    )
]
"""What the page runs: the image, and the words behind it."""


def test_the_page_runs_every_kind_of_command() -> None:
    assert {words[0] for _, words in RUNS} == {"segment", "export", "parts", "models", "doctor", "train"}
    assert {image for image, _ in RUNS} == {"crate", "crate:cuda"}
    assert 'ENTRYPOINT ["crate"]' in DOCKERFILE


@pytest.mark.parametrize("words", [words for _, words in RUNS], ids=" ".join)
def test_every_command_of_the_page_is_one(words: list[str]) -> None:
    command = get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("crate", list(words))  # raises for an option that there is not


def test_the_commands_of_the_page_run(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables of the image: the questions, but for those that need a GPU or a download."""
    (line,) = re.findall(r"^ENV (.*)$", DOCKERFILE, re.M)
    for name, value in (word.split("=", 1) for word in line.split()):
        monkeypatch.setenv(name, value.replace("/cache", str(machine.desk / "cache")).replace("/tmp", "home"))
    photo = machine.photo("photo.jpg").read_bytes()
    machine.photo("photos/sub/a.png")
    machine.photo("photos/b.png", seed=1)
    ran = []
    for image, words in RUNS:
        if image == "crate" and words[0] not in ("models", "doctor") and "-m" not in words:
            done = here(*words, stdin=photo)
            assert done.code == 0, done.err
            ran.append(words[0])
            if words[1:2] == ["-"]:
                assert picture(done.out).size == (48, 36)
    assert ran == ["segment", "segment", "export", "segment", "parts"]
    made = {"mask.png", "masks/sub/a.png", "masks/b.png", "masks.json", "parts/sheet.png"}
    assert made <= set(machine.files())


def test_the_image_gets_what_the_wheel_needs(tmp_path: Path) -> None:
    """The wheel is built from what is copied, and nothing that is copied is kept out of the image."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    source = tmp_path / "source"
    source.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, source], check=True, cwd=tmp_path, timeout=PATIENCE)
    assert len(list(tmp_path.glob("cratecli-*.whl"))) == 1
    ignored, *kept = (ROOT / ".dockerignore").read_text().split()
    assert ignored == "*"
    assert {name.removeprefix("!") for name in kept if name.startswith("!")} == set(COPIED)
