"""`crate train` as its user meets it: killed and resumed, stopped by a signal, on two processes, watched on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cratecli.training.train import train
from cratecli.training.watch import Watch
from tests.cli.conftest import CRATE, Done, Here, Machine
from tests.support.toy import TOML, toy

# timm leaves the closing of files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
LENIENT = "error,ignore::ResourceWarning"
LONG = ("--set", "epochs=400", "--every", "100")


@pytest.fixture
def desk(machine: Machine) -> Machine:
    """Lay out data and a recipe."""
    toy(machine.desk / "data")
    (machine.desk / "toy.toml").write_text(TOML)
    return machine


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    clock = {"seconds", "images_per_second", "judged_in"}
    return [{name: value for name, value in row.items() if name not in clock} for row in metrics(folder)]


def start(machine: Machine, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [CRATE, "train", "data", *arguments],
        cwd=machine.desk,
        env=machine.environment | {"PYTHONWARNINGS": LENIENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_rows(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run has written so many rows."""
    for _ in range(6000):
        if (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").read_bytes().count(
            b"\n"
        ) >= count:
            return
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    raise AssertionError("the run wrote nothing in a minute")


def test_trained_and_used_at_once(desk: Machine, here: Here) -> None:
    done = desk.crate("train", "data", "--recipe", "toy.toml", "-o", "run", PYTHONWARNINGS=LENIENT)
    assert (done.code, done.lines) == (0, ["run/model.safetensors"])
    assert "36 images of 3 classes" in done.err
    assert done.err.count("accuracy") == 3
    desk.photo("photo.png")
    used = here("segment", "photo.png", "-m", "run/model.safetensors", "-o", "mask.png")
    assert used.code == 0, used.err
    assert Image.open(desk.desk / "mask.png").size == (48, 36)
    assert here("models", "add", "run/model.safetensors", "--as", "toy").code == 0


def test_killed_and_resumed(desk: Machine) -> None:
    """kill -9 in the middle, several times: the end is that of a run that was left alone."""
    recipe = ("--recipe", "toy.toml", "--set", "epochs=24", "--every", "2")
    whole = {"epochs": "24"}
    train(
        desk.desk / "data",
        desk.desk / "whole",
        str(desk.desk / "toy.toml"),
        changes=whole,
        watch=Watch(every=2),
    )
    folder = desk.desk / "run"
    arguments = ["-o", "run", "-q", *recipe]
    for rows in (20, 70):
        process = start(desk, *arguments)
        wait_for_rows(folder, rows, process)
        process.kill()
        process.communicate()
        arguments = ["-o", "run", "-q", "--resume", "--every", "2"]
    done = desk.crate("train", "data", *arguments, PYTHONWARNINGS=LENIENT)
    assert (done.code, done.err) == (0, "")
    assert timeless(folder) == timeless(desk.desk / "whole")
    assert (folder / "model.safetensors").read_bytes() == (desk.desk / "whole/model.safetensors").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.jsonl",
        "model.safetensors",
        "recipe.toml",
        "state.pt",
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_well(desk: Machine, here: Here, number: signal.Signals, code: int) -> None:
    """Sent to the whole group, as shells, `timeout` and `torchrun` do: the workers leave it to the one that trains.

    While it trains, nobody else trains in its folder.
    """
    process = start(desk, "--recipe", "toy.toml", "-o", "run", *LONG, "--workers", "1")
    wait_for_rows(desk.desk / "run", 5, process)
    for second in (["--resume"], ["--recipe", "toy.toml"]):
        refused = here("train", "data", "-o", "run", *second)
        assert (refused.code, "run: another process trains in it" in refused.err) == (2, True)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err.decode()
    assert out == b"run/model.safetensors\n"
    assert "--resume goes on from here" in err.decode()
    assert "Traceback" not in err.decode()
    steps = metrics(desk.desk / "run")[-1]["step"]
    again = here("train", "data", "-o", "run", "--resume", "--limit-minutes", "0", "--json")
    (record,) = json.loads(again.out)
    assert record["step"] >= steps
    assert not record["done"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_a_killed_worker_is_said(desk: Machine) -> None:
    process = start(desk, "--recipe", "toy.toml", "-o", "run", *LONG, "--workers", "1")
    wait_for_rows(desk.desk / "run", 5, process)
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err.decode()
    assert "a process that reads images was killed" in err.decode()
    assert "Traceback" not in err.decode()


def test_two_processes_train_one_model(desk: Machine) -> None:
    """As `torchrun` starts them: the weights are those of one process, but for the order of sums."""
    alone = desk.crate("train", "data", "--recipe", "toy.toml", "-o", "one", "-q", PYTHONWARNINGS=LENIENT)
    assert alone.code == 0
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "cratecli",
    ]
    command = ["train", "data", "--recipe", "toy.toml", "-o", "two", "--device", "cpu", "--json"]
    done = subprocess.run(
        [*launch, *command],
        cwd=desk.desk,
        env=desk.environment | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)[0]["done"]  # the first process alone speaks
    assert metrics(desk.desk / "two")[0]["processes"] == 2
    one, two = (load_file(desk.desk / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    accuracies = [
        [row["accuracy"] for row in metrics(desk.desk / n) if "accuracy" in row] for n in ("one", "two")
    ]
    assert accuracies[0] == accuracies[1]


def test_emergence_is_watched(desk: Machine, here: Here) -> None:
    for kind in ("images", "masks"):
        (desk.desk / "photos" / kind).mkdir(parents=True)
    for number in range(3):
        desk.photo(f"photos/images/{number}.png", seed=number)
        mask = np.zeros((36, 48), np.uint8)
        mask[8:28, 10:30] = 255
        Image.fromarray(mask).save(desk.desk / f"photos/masks/{number}.png")
    watched = ("--evaluate", "saliency", "photos", "--every", "1.5", "--workers", "0")
    done = here("train", "data", "--recipe", "toy.toml", "-o", "run", *watched)
    assert (done.code, "auto IoU" in done.err) == (0, True)
    measured = [row for row in metrics(desk.desk / "run") if "auto IoU" in row]
    assert [row["epoch"] for row in measured] == [1.5, 3.0]
    for row in measured:
        assert all(0 < row[f"{name} IoU"] <= 1 for name in ("auto", "mean of heads", "oracle"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none", "-o", "run"], 3, "none: is not there"),
        (["data", "-o", "run", "--val", "held"], 3, "held: is neither in data nor a path"),
        (["data", "-o", "run", "--recipe", "mine"], 2, "no recipe named 'mine'"),
        (["data", "-o", "run", "--set", "epochs"], 2, "--set 'epochs' is not NAME=VALUE"),
        (["data", "-o", "run", "--set", "lr=1"], 2, "unknown setting 'lr'"),
        (["data", "-o", "run", "--recipe", "nano"], 2, "36 images do not fill a batch of 256"),
        (["data", "-o", "run", "--resume"], 2, "run: holds no run to resume"),
        (["data", "-o", "run", "--resume", "--recipe", "nano"], 2, "no --recipe, --set or --init"),
        (["data", "-o", "run", "--init", "no-such-model"], 2, "no-such-model"),
        (["data", "-o", "run", "--recipe", "toy.toml", "--device", "cuda:7"], 5, "cuda:7 is not available"),
        (
            ["data", "-o", "run", "--recipe", "toy.toml", "--evaluate", "voc", "data"],
            2,
            "is not one of saliency",
        ),
        (["data", "-o", "run", "--recipe", "toy.toml", "--evaluate", "saliency", "data"], 1, "images"),
        (["data", "-o", "run", "--recipe", "toy.toml", "--dataset", "torch/nothing"], 1, "torch/nothing"),
        (["data", "-o", "toy.toml"], 2, "toy.toml"),
    ],
)
def test_what_cannot_be_trained(
    desk: Machine, here: Here, arguments: list[str], code: int, words: str
) -> None:
    done = here("train", *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (desk.desk / "run").exists()


def test_broken_pictures_are_passed_over(desk: Machine) -> None:
    broken = desk.desk / "data/train/red/0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    done: Done = desk.crate("train", "data", "--recipe", "toy.toml", "-o", "run", PYTHONWARNINGS=LENIENT)
    assert done.code == 0, done.err
    assert "data/train/red/0.png: cannot be read as an image" in done.err
    assert "Traceback" not in done.err
    quick = ("--recipe", "toy.toml", "--set", "epochs=0.5", "-o", "quiet", "-q")
    assert desk.crate("train", "data", *quick, PYTHONWARNINGS=LENIENT).err == ""


@pytest.mark.usefixtures("desk")
def test_a_full_disk_is_said(here: Here) -> None:
    done = here("train", "data", "--recipe", "toy.toml", "-o", "/dev/full/run")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_in_a_terminal(desk: Machine) -> None:
    """A bar is drawn on a terminal, and taken away."""
    import pty

    parent, child = pty.openpty()
    process = subprocess.Popen(
        [CRATE, "train", "data", "--recipe", "toy.toml", "-o", "run"],
        cwd=desk.desk,
        env=desk.environment | {"PYTHONWARNINGS": LENIENT, "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=child,
    )
    os.close(child)
    seen = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        seen += piece
    os.close(parent)
    assert process.wait(timeout=60) == 0
    assert b"images/s" in seen
    assert b"12/12" in seen
    assert b"accuracy" in seen
