"""A user's machine: a home of its own, the installed `crate`, both streams and the exit code."""

import io
import json
import logging
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import typer.main
from PIL import Image

from cratecli.cli.app import main
from cratecli.errors import InputError
from cratecli.model.crate import Crate
from cratecli.model.graph import GraphModel
from cratecli.runs.manifest import MANIFEST
from cratecli.weights import checkpoint, loading
from tests.support.environment import environment
from tests.support.once import get_command, load_graph_once, load_once
from tests.support.photos import photo
from tests.support.runs import read_rows
from tests.support.waiting import PATIENCE
from tests.support.warm import warm_crate

CRATE = str(Path(sysconfig.get_path("scripts")) / "crate")
"""The script that installing made."""

TO_STDOUT = "crate: the output went to standard output; -o FILE writes it into a file\n"
"""The note that stands on stderr where nobody asked for bytes on stdout."""


@dataclass(frozen=True)
class Done:
    """How a run ended, and what it said."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """Give the lines of stdout."""
        return self.out.decode().splitlines()


class Machine:
    """A user's machine, with a working folder that is not the checkout."""

    def __init__(self, folder: Path) -> None:
        self.home, self.desk = folder / "home", folder / "desk"
        self.desk.mkdir(parents=True)
        self.user_registry = self.home / "config/crate/weights.toml"
        self.cache = self.home / "cache/crate"
        self.environment = environment(self.home) | {
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "HF_ENDPOINT": "http://127.0.0.1:1",
            "PYTHONWARNINGS": "error",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def crate(
        self,
        *arguments: str | Path,
        stdin: bytes = b"",
        stdout: int | IO[bytes] = subprocess.PIPE,
        installed: bool = False,
        **more: str,
    ) -> Done:
        """Run `crate` in a process of its own; `more` is added to its environment.

        It is the installed one if that is asked for, or if variables of Python's are given; else it starts warm.
        """
        installed = installed or any(name.startswith("PYTHON") for name in more)
        done = subprocess.run(
            [CRATE if installed else warm_crate(), *arguments],
            cwd=self.desk,
            env=self.environment | more,
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout or b"", done.stderr.decode())

    def start(
        self,
        *arguments: str | Path,
        stdin: int = subprocess.DEVNULL,
        program: Sequence[str | Path] = (CRATE,),
        **more: str,
    ) -> subprocess.Popen[str]:
        """Start the installed `crate`, or another program; its streams are pipes of text, `more` more variables."""
        return subprocess.Popen(
            [*program, *arguments],
            cwd=self.desk,
            env=self.environment | more,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def launch(self, *arguments: str | Path, stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the installed `crate`, what it says going to files: no pipe to fill up."""
        return subprocess.Popen(
            [CRATE, *arguments],
            cwd=self.desk,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

    def shell(self, script: str) -> Done:
        """Run a script of bash, for which `crate` is a program that starts warm."""
        if sys.platform == "win32":
            pytest.skip("a script of a POSIX shell")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.desk,
            env=self.environment | {"PATH": f"{warm_crate().parent}:{self.environment['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def register(self, row: str) -> None:
        """Write the user's own registry."""
        self.user_registry.parent.mkdir(parents=True, exist_ok=True)
        self.user_registry.write_text(row)

    def photo(self, name: str, size: tuple[int, int] = (48, 36), seed: int = 0) -> Path:
        """Put a photo on the desk: a bright disc on a dark, grainy ground; `size` is width, height in px."""
        path = self.desk / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(size[1], size[0], seed)).save(path)
        return path

    def files(self) -> list[str]:
        """List the files on the desk, but for manifests and their locks."""
        return sorted(
            path.relative_to(self.desk).as_posix()
            for path in self.desk.rglob("*")
            if path.is_file() and not path.name.endswith((MANIFEST, f"{MANIFEST}.lock"))
        )


def picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def failed(done: Done, code: int, reason: str) -> None:
    """Check that a run failed as it should: one line on stderr, on stdout at most a record of it."""
    assert done.code == code
    assert all(set(json.loads(line)) == {"input", "error"} for line in done.lines)
    assert reason in done.err
    assert done.err.startswith("crate: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")


def never(*_arguments: object, **_options: object) -> None:
    """Stand in for the model where it must not run."""
    raise InputError("looked at again")


def see_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no model run any more, whatever its engine."""
    monkeypatch.setattr(Crate, "unroll", never)
    monkeypatch.setattr(GraphModel, "states", never)


def inputs(done: Done) -> list[str]:
    """List the photos of which lines of records tell."""
    return [json.loads(line)["input"] for line in done.lines]


def outputs(folder: Path) -> list[str]:
    """Check a run's folder, and list its outputs: each has one row, is what its row says, and can be read."""
    rows = list(read_rows(folder))
    names = sorted(str(row.output) for row in rows)
    assert len(set(names)) == len(rows) == len((folder / "manifest.jsonl").read_bytes().splitlines())
    for row in rows:
        assert row.output
        with Image.open(folder / row.output) as mask:
            mask.load()
            assert mask.size == (row.annotated.width, row.annotated.height)
        shown = np.asarray(Image.open(folder / row.output)) > 0
        np.testing.assert_array_equal(shown, row.annotated.mask)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert sorted(path.relative_to(folder).as_posix() for path in files) == sorted([*names, "manifest.jsonl"])
    assert not list(folder.rglob(".crate-*"))
    return names


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Give a fresh machine."""
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Give one machine to all tests of a module, for what costs seconds to run."""
    return Machine(tmp_path_factory.mktemp("shared"))


Here = Callable[..., Done]


@pytest.fixture
def here(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Here]:
    """Run `crate` in this process, on the fresh machine: the same streams and codes, no start-up."""
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(machine.desk)
    monkeypatch.setattr(typer.main, "get_command", get_command)
    monkeypatch.setattr(checkpoint, "load_model", load_once)
    monkeypatch.setattr(loading, "load_graph", load_graph_once)

    def run(*arguments: str | Path, stdin: bytes = b"", **more: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in more.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["crate", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            capfdbinary.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err.decode())

    yield run
    for name in ("cratecli", "timm"):  # which `--quiet` silences for as long as the process lasts
        logging.getLogger(name).setLevel(logging.NOTSET)
