"""Containers and services: a home that cannot be written, no home at all, no folder for temporary files."""

import os
import pwd
import subprocess
import sys
import tempfile
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import CRATE, Here, Machine
from tests.support.photos import photo
from tests.support.waiting import PATIENCE

NOWHERE = "/dev/null"
"""A file: nobody can make a folder in it, not even root."""

FAST = ("--size", "32", "--heads", "agree", "--refine", "none", "-q")
HINT = "set TMPDIR to a folder with room, that can be written\n"
NO_FILES = 'ulimit -f 0; exec "$@"'
"""Runs a program that may not write into any file, so that no folder will do for temporary ones."""


@pytest.fixture
def read_only(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Give a home whose folders cannot be made."""
    machine.photo("photo.png")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, NOWHERE)
    return here


def test_photos_need_no_home(machine: Machine, read_only: Here) -> None:
    assert read_only("segment", "photo.png", "-o", "mask.png", *FAST).code == 0
    assert read_only("models", "list").code == 0
    assert machine.files() == ["mask.png", "photo.png"]


def test_the_default_model_cannot_be_saved(read_only: Here) -> None:
    """FAULTS 31: 1, since it is an output that cannot be written, and the variable."""
    done = read_only("models", "default", "crate-nano")
    reason = f"crate: {NOWHERE}/crate/default-model: cannot be written: Not a directory; set XDG_CONFIG_HOME"
    assert (done.code, done.out) == (1, b"")
    assert done.err == f"{reason} to a folder that can be, or CRATE_MODEL=crate-nano\n"


def test_a_model_cannot_be_copied(machine: Machine, read_only: Here) -> None:
    file = read_only("models", "path", "crate-nano").lines[0]
    done = read_only("models", "add", file, "--as", "mine")
    assert done.code == 4
    assert done.err.endswith("/crate/models: cannot be written: Not a directory; set CRATE_CACHE_DIR\n")
    done = read_only("models", "add", file, "--as", "mine", CRATE_CACHE_DIR=str(machine.desk / "cache"))
    assert done.code == 1
    assert done.err.endswith(
        "weights.toml: cannot be written: Not a directory; set XDG_CONFIG_HOME to a folder that can be\n"
    )


def test_an_evaluation_goes_on_without_its_scores(machine: Machine, read_only: Here) -> None:
    (machine.desk / "set/masks").mkdir(parents=True)
    for seed in range(2):
        machine.photo(f"set/images/{seed}.png", seed=seed)
        disc = photo(36, 48, seed).mean(axis=-1) > 128
        Image.fromarray(disc.astype(np.uint8) * 255).save(machine.desk / f"set/masks/{seed}.png")
    command = ("evaluate", "saliency", "set", "--resamples", "0", *FAST[:-1])
    done = read_only(*command)
    assert done.code == 0
    assert done.lines[0].split()[0] == "model"
    fault = f"crate: {NOWHERE}/crate/evaluate: scores cannot be written: Not a directory; "
    hint = "--scores DIR, or CRATE_CACHE_DIR, names another folder"
    assert f"{fault}{hint}; without, --resume will have none\n" in done.err
    done = read_only(*command, "--resume", "-q")
    assert (done.code, done.err) == (1, f"{fault}{hint}\n")
    assert read_only(*command, "--scores", "scores", "-q").err == ""


def test_a_user_that_the_system_does_not_know(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `docker run --user 12345`, and no HOME."""

    def unknown(_user: object) -> NoReturn:
        raise KeyError("uid not found")

    machine.photo("photo.png")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert here("segment", "photo.png", "-o", "mask.png", *FAST).code == 0
    done = here("models", "default", "crate-nano")
    assert (done.code, f"{os.devnull}/crate/default-model: cannot be written" in done.err) == (1, True)
    assert here("models", "list").code == 0
    assert machine.files() == ["mask.png", "photo.png"]


def test_no_folder_for_temporary_files(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 31: what is wrong is not standard output."""
    machine.photo("photo.png")
    assert here("segment", "photo.png", "-o", "out/", *FAST).code == 0
    with monkeypatch.context() as patch:  # pytest needs the folder, too
        patch.setattr(tempfile, "tempdir", NOWHERE)
        parts = here("parts", "photo.png", "-o", "parts", "-k", "2", "--size", "32", "-q")
        export = here("export", "out", "--as", "coco", "-o", "-", "-q")
    assert parts.code == export.code == 1
    assert parts.err.startswith(f"crate: {NOWHERE}/crate-")
    assert parts.err.endswith(f": cannot be written: Not a directory: {HINT}")
    assert export.err.startswith("crate: a temporary file: cannot be written: Not a directory; set TMPDIR ")


def test_no_folder_for_temporary_files_at_all(machine: Machine) -> None:
    """Libraries ask for one too, as they are imported."""
    machine.photo("photo.png")
    command = ["bash", "-c", NO_FILES, "bash", CRATE, "parts", "photo.png", "-k", "2", "-q"]
    done = subprocess.run(
        command,
        cwd=machine.desk,
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr[-len(HINT) :]) == (1, "", HINT)
    assert done.stderr.startswith("crate: No usable temporary directory found in [")
    assert done.stderr.count("\n") == 1


def test_curves_need_a_folder(machine: Machine) -> None:
    """That matplotlib keeps files is nothing that people know."""
    script = """
import numpy as np
from cratecli.errors import OutputError
from cratecli.io.plot import Curve, plot_layers
try:
    plot_layers([Curve("rate", np.zeros((1, 2)))], [0, 1], "title")
except OutputError as error:
    print(error)
"""
    done = subprocess.run(
        ["bash", "-c", NO_FILES, "bash", sys.executable, "-c", script],
        cwd=machine.desk,
        env=machine.environment | {"HOME": NOWHERE, "XDG_CONFIG_HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.endswith("set MPLCONFIGDIR or TMPDIR to a folder that can be written\n"), done.stderr


def test_a_working_folder_that_is_gone(machine: Machine) -> None:
    done = machine.shell("mkdir gone; cd gone; rmdir ../gone; crate segment ../photo.png")
    assert done.code == 1
    assert done.err.startswith("crate: the working folder: no longer there")


def test_the_doctor_finds_it(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: [NOWHERE])
        done = here("doctor")
    (found,) = (line for line in done.lines if "temporary files" in line)
    assert found.split()[0] == "problem"
    assert found.endswith("set TMPDIR to a folder that is yours")
