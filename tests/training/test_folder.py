"""A run's folder: one process at a time trains in it, whoever was killed there before."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from cratecli.errors import InputError, OutputError, UsageError
from cratecli.training.folder import LOCK, Progress, RunFolder, RunState
from cratecli.training.records import LastRow, LossRow
from cratecli.training.train import train
from cratecli.training.watch import Watch
from tests.support.toy import RECIPE, metrics, same_end, toy
from tests.support.waiting import until
from tests.support.warm import Forked

# timm leaves the closing of files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
LAST = LastRow(step=3, seconds=0.5, file="model.safetensors", sha256="c0" * 32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy(tmp_path_factory.mktemp("toy"), val=1)


def go(data: Path, folder: Path, **how: Any) -> None:
    """Train a run of 12 steps, or resume it."""
    torch.set_num_threads(1)
    recipe = None if how.get("resume") else RECIPE
    train(data, folder, recipe, device="cpu", **{"workers": 0, **how})


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(data, folder)
    return folder


def train_and_wait(data: str, folder: str, reached: str, go_on: str) -> None:
    """Train, and wait in the second step until a file is there."""

    def wait(step: int, _steps: int) -> None:
        if step == 2:
            Path(reached).touch()
            until(Path(go_on).exists)

    go(Path(data), Path(folder), watch=Watch(on_step=wait))


def test_two_processes_and_one_folder(data: Path, whole: Path, tmp_path: Path) -> None:
    """The second is refused, whichever way it comes, and changes nothing; when the first has ended, another begins."""
    folder, reached, go_on = (tmp_path / name for name in ("run", "reached", "go_on"))
    first = Forked(tmp_path, train_and_wait, *map(str, (data, folder, reached, go_on)))
    first.wait_until(reached.exists)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for resume in (True, False):
        with pytest.raises(UsageError, match="run: another process trains in it"):
            go(data, folder, resume=resume)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    go_on.touch()
    ended = first.wait()
    assert ended.code == 0, ended.err
    go(data, folder, resume=True)
    assert same_end(folder, whole)


def train_and_die(data: str, folder: str, last: str, how: str) -> None:
    """Begin or resume with a process that reads images, until this one kills itself after a step."""

    def die(step: int, _steps: int) -> None:
        if step == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    go(Path(data), Path(folder), resume=how == "resume", workers=1, watch=Watch(on_step=die))


def test_killed_and_resumed(data: Path, whole: Path, tmp_path: Path) -> None:
    """kill -9 between two states, twice: the folder is free at once, and the end that of an unbroken run."""
    for last, how in ((6, "begin"), (11, "resume")):
        killed = Forked(tmp_path, train_and_die, str(data), str(tmp_path / "run"), str(last), how).wait()
        assert killed.code == -signal.SIGKILL, killed
        assert metrics(tmp_path / "run")[-1]["step"] == last - 1
    go(data, tmp_path / "run", resume=True)
    assert same_end(tmp_path / "run", whole)


def test_one_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(RECIPE)
    with pytest.raises(UsageError, match="another process trains in it"):
        RunFolder(folder.path).begin(RECIPE)
    folder.close()
    other = RunFolder(folder.path)
    other.begin(RECIPE)
    folder.close()  # again, which is nothing to the other
    for third in (folder, RunFolder(folder.path)):
        with pytest.raises(UsageError, match="another process trains in it"):
            third.begin(RECIPE)
    other.close()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/run: cannot be written: Not a directory"):
        RunFolder(tmp_path / "file/run").begin(RECIPE)
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    with pytest.raises(OutputError, match="run: cannot be written: Is a directory"):
        RunFolder(tmp_path / "run").begin(RECIPE)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_lock: FileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    RunFolder(tmp_path / "run").begin(RECIPE)
    assert (tmp_path / "run/recipe.toml").read_text() == RECIPE.to_toml()


def test_a_state_is_kept_and_half_written_files_are_swept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(RECIPE)
    length = folder.append(LAST)
    progress = Progress(step=3, metrics=length, seconds=0.5, loss=1.5, losses=2, measures={"accuracy": 0.5})
    weights = {"weight": torch.arange(3.0)}
    state = RunState(progress, "data", RECIPE.to_toml(), {"dtype": "no"}, 2, weights, None, {"state": {}})
    folder.save(state)
    folder.append(LAST)
    folder.close()
    (tmp_path / f".crate-{'0' * 32}.part").touch()
    again = RunFolder(tmp_path)
    loaded = again.load(writes=True)
    again.close()
    assert torch.equal(loaded.model.pop("weight"), state.model.pop("weight"))
    assert loaded == state
    assert (tmp_path / "metrics.jsonl").stat().st_size == length  # what came after the state is gone
    files = {path.name for path in tmp_path.iterdir()} - {LOCK}
    assert files == {"metrics.jsonl", "recipe.toml", "state.pt"}


def test_rows_of_metrics(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(RECIPE)
    row = LossRow(step=1, epoch=0.25, seconds=0.1, images_per_second=80, loss=1.0, learning_rate=1e-5)
    assert folder.append(row) == (tmp_path / "metrics.jsonl").stat().st_size
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == row.model_dump()
    assert folder.last_row() == row
    folder.append(LAST)
    assert folder.last_row() == LAST
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "torn')
    assert folder.last_row() == LAST
    (tmp_path / "metrics.jsonl").write_text('{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl: its last line is no row of metrics"):
        folder.last_row()
    folder.close()
