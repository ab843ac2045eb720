"""`crate train`, killed where it hurts most, and launched as several processes: minutes, for `pytest -m slow`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.conftest import CRATE, Machine
from tests.support.toy import TOML, metrics, same_end, sharded, toy

pytestmark = pytest.mark.slow
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--cpu")
LONGER = ("--recipe", "toy.toml", "--set", "epochs=40", "--every", "4")

# Kills itself in the middle of the third state that it writes.
KILLED_IN_A_SAVE = """
import io, os, signal, torch
from cratecli.training import folder
from cratecli.cli.app import main

saved, save = [], torch.save

def half(state, stream):
    whole = io.BytesIO()
    save(state, whole)
    saved.append(state)
    if len(saved) == 3:
        stream.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    stream.write(whole.getvalue())

folder.torch.save = half
main()
"""

# The first of several processes thinks that it is always time to save, the others that it never is.
APART = """
import os
from cratecli.training import run
from cratecli.cli.app import main

if __name__ == "__main__":
    run._SAVE_SECONDS = -1.0 if os.environ["RANK"] == "0" else 1e9
    main()
"""


@pytest.fixture
def desk(machine: Machine) -> Machine:
    """Lay out data and a recipe."""
    toy(machine.desk / "data")
    (machine.desk / "toy.toml").write_text(TOML)
    return machine


def run(machine: Machine, *command: str, code: int = 0) -> str:
    done = subprocess.run(
        command,
        cwd=machine.desk,
        env=machine.environment | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stderr.decode()
    return done.stderr.decode()


def kill_after(machine: Machine, rows: int, *command: str) -> None:
    """Start a command that trains in `run`, and kill it and its children once there are so many rows."""
    process = subprocess.Popen(
        command,
        cwd=machine.desk,
        env=machine.environment | {"PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    written = machine.desk / "run/metrics.jsonl"
    while not (written.exists() and written.read_bytes().count(b"\n") >= rows):
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    for child in _of_the_session(process.pid):  # torchrun's workers have groups of their own
        os.kill(child, signal.SIGKILL)
    process.communicate()


def _of_the_session(session: int) -> list[int]:
    """List the processes of a session."""
    processes = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == session:
                processes.append(int(path.name))
        except OSError:
            continue
    return processes


def test_killed_while_it_saves(desk: Machine) -> None:
    run(desk, CRATE, "train", "data", "-o", "whole", *LONGER)
    killed = (sys.executable, "-c", KILLED_IN_A_SAVE, "train", "data", "-o", "run", *LONGER)
    run(desk, *killed, code=-signal.SIGKILL)
    assert list((desk.desk / "run").glob(".crate-*.part"))
    run(desk, CRATE, "train", "data", "-o", "run", "--resume", "--every", "4")
    assert same_end(desk.desk / "run", desk.desk / "whole")
    assert not list((desk.desk / "run").glob(".crate-*"))


def test_processes_agree_when_to_save(desk: Machine) -> None:
    """Whose clock says that it is time, the others follow: all of them take part in what is added up."""
    (desk.desk / "clocks.py").write_text(APART)
    command = ("clocks.py", "train", "data", "-o", "run", "--recipe", "toy.toml", "--device", "cpu")
    run(desk, *TWO, *command, "--every", "9")
    assert "sha256" in metrics(desk.desk / "run")[-1]


def test_a_fine_tune_is_killed(desk: Machine) -> None:
    run(desk, CRATE, "train", "data", "-o", "first", "--recipe", "toy.toml")
    tuned = (
        "--init",
        "first/model.safetensors",
        "--set",
        "batch_size=8",
        "--set",
        "epochs=40",
        "--every",
        "4",
    )
    run(desk, CRATE, "train", "data", "-o", "whole", *tuned)
    kill_after(desk, 60, CRATE, "train", "data", "-o", "run", *tuned)
    run(desk, CRATE, "train", "data", "-o", "run", "--resume", "--every", "4")
    assert same_end(desk.desk / "run", desk.desk / "whole")
    assert metrics(desk.desk / "run")[0]["init"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")
def test_two_processes_are_killed(desk: Machine) -> None:
    command = (*TWO, "-m", "cratecli", "train", "data", "--device", "cpu", "--every", "4", "-o")
    recipe = ("--recipe", "toy.toml", "--set", "epochs=40")
    run(desk, *command, "whole", *recipe)
    kill_after(desk, 60, *command, "run", *recipe)
    run(desk, *command, "run", "--resume")
    assert same_end(desk.desk / "run", desk.desk / "whole")


def test_accelerate_launches_it(desk: Machine) -> None:
    """On the CPU it starts one process alone."""
    command = ("-m", "cratecli", "train", "data", "--recipe", "toy.toml", "-o")
    run(desk, sys.executable, *command, "one")
    run(desk, *ACCELERATE, *command, "two")
    one, two = (load_file(desk.desk / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_compiled_and_taken_up(desk: Machine) -> None:
    """The compiled step has bits of its own, the same ones after a stop."""
    command = (CRATE, "train", "data", "--compile", "-o")
    run(desk, *command, "whole", "--recipe", "toy.toml")
    run(desk, *command, "run", "--recipe", "toy.toml", "--limit-minutes", "0")
    run(desk, *command, "run", "--resume")
    assert same_end(desk.desk / "run", desk.desk / "whole")
    run(desk, CRATE, "train", "data", "-o", "plain", "--recipe", "toy.toml")
    ours, plain = (load_file(desk.desk / name / "model.safetensors") for name in ("run", "plain"))
    assert all(torch.allclose(ours[name], plain[name], atol=1e-3) for name in ours)


def test_a_stream_on_two_processes(desk: Machine) -> None:
    """Every process has a shard of its own: each picture of a pass is seen by one of them."""
    sharded(desk.desk / "data", desk.desk / "shards")
    command = (*TWO, "-m", "cratecli", "train", "shards", "--dataset", "wds/", "--device", "cpu", "-o", "run")
    err = run(desk, *command, "--recipe", "toy.toml", *("--set", "epochs=6", "--set", "classes=3"))
    assert "36 images of 3 classes" in err
    rows = metrics(desk.desk / "run")
    assert (rows[0]["processes"], rows[0]["images"], rows[-1]["step"]) == (2, 36, 24)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
