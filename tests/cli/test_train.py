"""`crate train` as its user meets it: stopped by a signal, on two processes, watched on the way."""

import json
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.cli.conftest import Here, Machine
from tests.support.toy import TOML, metrics, toy
from tests.support.warm import Forked

# timm leaves the closing of files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
TOY = ("--recipe", "toy.toml", "-o", "run")
LONG = (*TOY, "--set", "epochs=400", "--every", "100", "--workers", "1")


@pytest.fixture
def desk(machine: Machine) -> Machine:
    """Lay out data and a recipe."""
    toy(machine.desk / "data")
    (machine.desk / "toy.toml").write_text(TOML)
    return machine


def start(machine: Machine, *arguments: str, err: str = "", **more: str) -> Forked:
    """Start `crate train` in a process of its own; `more` is added to its environment."""
    variables = machine.environment | more
    return Forked(machine.desk, None, "train", "data", *arguments, variables=variables, err=err)


def start_training(desk: Machine) -> Forked:
    """Start a long run, and wait until it has taken some steps."""
    process, rows = start(desk, *LONG), desk.desk / "run/metrics.jsonl"
    process.wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 5)
    return process


def test_trained_and_used_at_once(desk: Machine, here: Here) -> None:
    done = here("train", "data", *TOY)
    assert (done.code, done.lines) == (0, ["run/model.safetensors"])
    assert "36 images of 3 classes" in done.err
    assert done.err.count("accuracy") == 3
    desk.photo("photo.png")
    used = here("segment", "photo.png", "-m", "run/model.safetensors", "-o", "mask.png")
    assert used.code == 0, used.err
    assert Image.open(desk.desk / "mask.png").size == (48, 36)
    assert here("models", "add", "run/model.safetensors", "--as", "toy").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_well(desk: Machine, here: Here, number: signal.Signals, code: int) -> None:
    """Sent to the whole group, as shells, `timeout` and `torchrun` do: the workers leave it to the one that trains.

    While it trains, nobody else trains in its folder.
    """
    process = start_training(desk)
    for second in (["--resume"], ["--recipe", "toy.toml"]):
        refused = here("train", "data", "-o", "run", *second)
        assert (refused.code, "run: another process trains in it" in refused.err) == (2, True)
    os.killpg(process.pid, number)
    ended = process.wait()
    assert (ended.code, ended.out) == (code, "run/model.safetensors\n"), ended.err
    assert "--resume goes on from here" in ended.err
    assert "Traceback" not in ended.err
    steps = metrics(desk.desk / "run")[-1]["step"]
    again = here("train", "data", "-o", "run", "--resume", "--limit-minutes", "0", "--json")
    (record,) = json.loads(again.out)
    assert record["step"] >= steps
    assert not record["done"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_a_killed_worker_is_said(desk: Machine) -> None:
    process = start_training(desk)
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    ended = process.wait()
    assert ended.code == 1, ended.err
    assert "a process that reads images was killed" in ended.err
    assert "Traceback" not in ended.err


def test_two_processes_train_one_model(desk: Machine, here: Here) -> None:
    """The weights are those of one process, but for the order of sums; the first process alone speaks and writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # as `torchrun` says it
    arguments = ("--recipe", "toy.toml", "--device", "cpu", "--workers", "0", "-o")
    processes = [
        start(desk, *arguments, "two", "--json", **together, RANK=rank, LOCAL_RANK=rank) for rank in "01"
    ]
    first, second = [process.wait() for process in processes]
    assert (first.code, second.code) == (0, 0), first.err + second.err
    (record,) = json.loads(first.out)
    assert record["done"]
    assert [*record] == [
        *("checkpoint", "sha256", "done", "step", "steps", "seconds", "accuracy", "validation_loss")
    ]
    assert second.out == ""
    assert metrics(desk.desk / "two")[0]["processes"] == 2
    assert here("train", "data", *arguments, "one").code == 0
    one, two = (load_file(desk.desk / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    accuracies = [
        [row["accuracy"] for row in metrics(desk.desk / name) if "accuracy" in row] for name in ("one", "two")
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
    assert (done.code, "agree IoU" in done.err) == (0, True)
    measured = [row for row in metrics(desk.desk / "run") if "agree IoU" in row]
    assert [row["epoch"] for row in measured] == [1.5, 3.0]
    for row in measured:
        assert all(0 < row[f"{name} IoU"] <= 1 for name in ("agree", "mean of heads", "oracle"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none", "-o", "run"], 3, "none: is not there"),
        (["data", "-o", "run", "--val", "held"], 3, "held: is neither in data nor a path"),
        (["data", "-o", "run", "--recipe", "mine"], 2, "no recipe or file is named 'mine'"),
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
    short = ("--recipe", "toy.toml", "--set", "epochs=1", "-o")
    done = start(desk, *short, "run").wait()
    assert done.code == 0, done.err
    assert "data/train/red/0.png: cannot be read as an image" in done.err
    assert "Traceback" not in done.err
    quiet = start(desk, *short, "quiet", "-q").wait()
    assert (quiet.code, quiet.err) == (0, "")


@pytest.mark.usefixtures("desk")
def test_a_full_disk_is_said(here: Here) -> None:
    done = here("train", "data", "--recipe", "toy.toml", "-o", "/dev/full/run")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_in_a_terminal(desk: Machine) -> None:
    """A bar is drawn on a terminal, and taken away."""
    import pty

    parent, child = pty.openpty()
    process = start(desk, *TOY, err=os.ttyname(child), TERM="xterm")
    seen = os.read(parent, 65536)  # the process has opened its end
    os.close(child)
    while True:
        try:
            seen += os.read(parent, 65536)
        except OSError:  # the process has closed it
            break
    os.close(parent)
    assert process.wait().code == 0
    assert b"images/s" in seen
    assert b"12/12" in seen
    assert b"accuracy" in seen
