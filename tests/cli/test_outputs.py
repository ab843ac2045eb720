"""Outputs that cannot be written: one alone fails its photo, a disk that takes nothing ends the run."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from cratecli import files
from cratecli.runs import jobs
from tests.cli.conftest import CRATE, Done, Here, Machine, inputs
from tests.support.runs import lay_out, read_rows
from tests.support.waiting import PATIENCE

FAST = ("--size", "32", "-q")
LONG = "s" * 250


def names(*photos: str) -> list[str]:
    """Give photos, and some more beside them."""
    return [f"in/{photo}" for photo in (*photos, *(f"good {number}.jpg" for number in range(3)))]


def done_in(folder: Path) -> set[str]:
    """Give the photos that have a row."""
    return {os.path.normpath(folder.name + "/" + row.input) for row in read_rows(folder)}


@pytest.mark.parametrize("command", ["segment", "objects", "parts"])
def test_a_name_that_is_too_long_fails_its_photo(machine: Machine, here: Here, command: str) -> None:
    """Two photos of one stem of 250 bytes would both need 258."""
    photos = names(f"{LONG}.jpg", f"{LONG}.png")
    for seed, photo in enumerate(photos):
        machine.photo(photo, seed=seed)
    more = ("--k", "2") if command == "parts" else ()
    tree = "out/labels" if command == "parts" else "out"
    for again in ((), ("--resume",)) if command == "segment" else ((),):
        done = here(command, "in", "-o", "out", *more, *again, "--jsonl", *FAST)
        told = done.err.splitlines()
        assert done.code == 1
        assert len(told) == 3
        for line, ending in zip(told, ("jpg", "png"), strict=False):
            reason = "cannot be written: its name has 258 bytes, and 255 fit there: rename the photo"
            assert line == f"crate: {tree}/{LONG}.{ending}.png: {reason}"
        failed = [record["input"] for record in map(json.loads, done.lines) if "error" in record]
        assert failed == photos[:2]
        assert len(done.lines) == (2 if again else 5)
        assert done_in(machine.desk / "out") == set(photos[2:])


def test_a_folder_of_photos_named_like_an_output(machine: Machine, here: Here) -> None:
    """The photo `d.jpg` beside the folder `d.png/` keeps its extension."""
    for seed, photo in enumerate(photos := names("d.jpg", "d.png/x.jpg", "manifest.jsonl/x.jpg")):
        machine.photo(photo, seed=seed)
    done = here("segment", "in", "-r", "-o", "out", *FAST)
    told = "out/manifest.jsonl/x.png: cannot be written: the run's manifest has this name"
    assert (done.code, done.err) == (1, f"crate: {told}\ncrate: 1 of 6 photos failed\n")
    assert {"out/d.jpg.png", "out/d.png/x.png"} < set(done.lines)
    assert done_in(machine.desk / "out") == {*photos} - {"in/manifest.jsonl/x.jpg"}


def test_urls_are_told_from_missing_files(machine: Machine, here: Here) -> None:
    machine.photo("a.jpg")
    for arguments, told in (
        (["ftp://host/a.jpg"], "ftp://host/a.jpg: ftp:// is not read; known are "),
        (
            ["--files-from", "s3://bucket/list"],
            "s3://bucket/list: URLs cannot be read yet: download it first",
        ),
        (["a.jpg", "-o", "ftp://host/a.png"], "ftp://host/a.png: "),
    ):
        for command in ("segment", "objects", "parts", "heads", "layers"):
            done = here(command, *arguments, "-q")
            assert (done.code, done.err[: len(told) + 7]) == (2, f"crate: {told}")
    done = here("segment", "--files-from", "-", "-o", "out", "-q", stdin=b"a.jpg\nftp://host/b.jpg\n")
    assert (done.code, done.lines) == (2, [])
    assert machine.files() == ["a.jpg"]


def a_folder(place: Path) -> None:
    place.mkdir(parents=True)


def a_file_for_a_folder(place: Path) -> None:
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    place.parent.write_bytes(b"as before")


def a_link_to_nowhere_for_a_folder(place: Path) -> None:
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    place.parent.symlink_to("nowhere")


def a_pipe(place: Path) -> None:
    place.parent.mkdir(parents=True)
    os.mkfifo(place)


OBSTACLES: dict[Callable[[Path], None], str] = {
    a_folder: "out/sub/a.png: cannot be written: a folder is in its place: ",
    a_file_for_a_folder: "out/sub/a.png: cannot be written: out/sub is no folder: ",
    a_link_to_nowhere_for_a_folder: "out/sub/a.png: cannot be written: out/sub is no folder: ",
    a_pipe: "out/sub/a.png: cannot be written: a pipe or a device is in its place: ",
}


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.__name__)
def test_what_stands_in_the_way_of_one_output(
    machine: Machine, here: Here, obstacle: Callable[[Path], None]
) -> None:
    """It is seen before the first write, in the rehearsal too; out of the way, the photo is done."""
    for seed, photo in enumerate(photos := names("sub/a.jpg")):
        machine.photo(photo, seed=seed)
    obstacle(machine.desk / "out/sub/a.png")
    run = ("segment", "in", "-r", "-o", "out", *FAST)
    told = f"crate: {OBSTACLES[obstacle]}move it, or choose another output\ncrate: 1 of 4 photos failed\n"
    rehearsed = here(*run, "--dry-run")
    assert (rehearsed.code, rehearsed.err, len(rehearsed.lines)) == (1, told, 3)
    for more in ((), ("--resume",), ("--exists", "skip")):
        assert here(*run, *more).code == 1
        assert done_in(machine.desk / "out") == set(photos[1:])
    assert here(*run).err == told
    fast = here(*run, "--fail-fast")
    assert (fast.code, fast.lines) == (1, [])
    (machine.desk / "out/sub").rename(machine.desk / "elsewhere")
    done = here(*run, "--resume", "--jsonl")
    assert (done.code, inputs(done)) == (0, photos[:1])


def test_nothing_that_can_be_written_is_said_before_a_model_is_loaded(machine: Machine, here: Here) -> None:
    machine.photo("in/a.jpg")
    (machine.desk / "out/a.png").mkdir(parents=True)
    done = here("segment", "in", "-o", "out", "-m", "no-such-model", *FAST)
    assert done.code == 1
    assert "a folder is in its place" in done.err
    (machine.desk / "notes.txt").write_text("no folder")
    for command, name in (
        ("heads", "h.png"),
        ("layers", "l.png"),
        ("segment", "s.json"),
        ("objects", "o.png"),
    ):
        done = here(command, "in/a.jpg", "-o", f"notes.txt/{name}", "-m", "no-such-model", "-q")
        reason = "notes.txt is no folder: move it, or choose another output"
        assert (done.code, done.err) == (1, f"crate: notes.txt/{name}: cannot be written: {reason}\n")


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, number: int, matches: Callable[[Path], bool]
) -> Iterator[list[Path]]:
    """Let the system refuse to open the files that match; gives those it was asked for."""
    asked: list[Path] = []
    replacing = files.replacing

    @contextmanager
    def refusing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
        asked.append(path)
        if matches(path):
            raise OSError(number, os.strerror(number), str(path))
        with replacing(path, durable=durable) as stream:
            yield stream

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "replacing", refusing)
        yield asked


def test_a_refusal_of_one_output_fails_its_photo(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, photo in enumerate(photos := names("bad/a.jpg", "bad/b.jpg")):
        machine.photo(photo, seed=seed)
    run = ("segment", "in", "-r", "-o", "out", "--jsonl", *FAST)
    with failing(monkeypatch, errno.EACCES, lambda path: path.parent.name == "bad"):
        done = here(*run)
        reason = "cannot be written: Permission denied"
        lines = [f"crate: out/bad/{name}.png: {reason}" for name in "ab"]
        assert (done.code, sorted(done.err.splitlines()[:2])) == (1, lines)
        assert done_in(machine.desk / "out") == set(photos[2:])
        assert sorted(inputs(here(*run, "--resume"))) == photos[:2]
    assert sorted(inputs(here(*run, "--resume"))) == photos[:2]
    assert done_in(machine.desk / "out") == set(photos)


def test_a_disk_that_takes_nothing_more_ends_the_run(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is on record, what is left is counted, and --resume does exactly that."""
    for seed in range(24):
        machine.photo(f"in/{seed:02}.jpg", seed=seed)
    run = ("segment", "in", "-o", "out", "--jsonl", *FAST)
    with failing(monkeypatch, errno.EDQUOT, lambda path: path.stem >= "12") as asked:
        done = here(*run, "--batch-size", "2")
    kept = sorted(done_in(machine.desk / "out"))
    left = f"{len(kept)} of 24 photos done, {24 - len(kept)} left; --resume goes on from here"
    assert done.code == 1
    assert done.err.endswith(f".png: cannot be written: {os.strerror(errno.EDQUOT)}; {left}\n")
    assert done.err.count("\n") == 1
    assert sorted(inputs(done)) == kept
    assert len(asked) < 24
    assert sorted(inputs(here(*run, "--resume"))) == [f"in/{seed:02}.jpg" for seed in range(len(kept), 24)]


def test_photos_that_failed_are_not_counted_as_done(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 2, 3):
        machine.photo(f"in/{seed}.jpg", seed=seed)
    (machine.desk / "in/1.jpg").write_bytes(b"no photo")
    with failing(monkeypatch, errno.EDQUOT, lambda path: path.stem >= "2"):
        done = here("segment", "in", "-o", "out", *FAST, "--batch-size", "1")
    assert done.err.splitlines()[-1].endswith(
        "; 1 of 4 photos done, 1 failed, 2 left; --resume goes on from here"
    )


@pytest.mark.slow
def test_a_folder_without_permission_for_real(machine: Machine) -> None:
    """Root goes without its power to override permissions."""
    for seed, photo in enumerate(photos := names("locked/a.jpg")):
        machine.photo(photo, seed=seed)
    locked = machine.desk / "out/locked"
    locked.mkdir(parents=True)
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    bound = [] if os.geteuid() else ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if bound and not shutil.which(bound[0]):
        pytest.skip("permissions do not bind root")
    with machine.start("segment", "in", "-r", "-o", "out", *FAST, program=(*bound, CRATE)) as process:
        _, err = process.communicate(timeout=PATIENCE)
    told = "crate: out/locked/a.png: cannot be written: Permission denied\ncrate: 1 of 4 photos failed\n"
    assert (process.returncode, err) == (1, told)
    assert done_in(machine.desk / "out") == set(photos[1:])


def test_a_folder_that_even_root_cannot_fill(machine: Machine, here: Here) -> None:
    """`/proc` takes no files, whoever asks."""
    if not Path("/proc/self").exists():
        pytest.skip("no /proc")
    for seed, photo in enumerate(photos := names("proc/a.jpg")):
        machine.photo(photo, seed=seed)
    (machine.desk / "out").mkdir()
    (machine.desk / "out/proc").symlink_to("/proc")
    done = here("segment", "in", "-r", "-o", "out", *FAST)
    assert (done.code, done_in(machine.desk / "out")) == (1, set(photos[1:]))
    assert done.err.startswith("crate: out/proc/a.png: cannot be written: ")


@pytest.mark.parametrize("kind", ["mask", "yolo", "npz"])
def test_an_export_that_cannot_be_written_fails_its_photo(machine: Machine, here: Here, kind: str) -> None:
    lay_out(machine.desk)
    folder, name = {"mask": ("", "a.png"), "yolo": ("labels/", "a.txt"), "npz": ("", "a.npz")}[kind]
    (machine.desk / f"out/{folder}{name}").mkdir(parents=True)
    done = here("export", "run", "--as", kind, "-o", "out", "--jsonl", "-q")
    told = f"crate: out/{folder}{name}: cannot be written: Is a directory\n"
    assert (done.code, done.err) == (1, f"{told}crate: 1 of 4 photos failed\n")
    assert len([line for line in done.lines if "error" not in json.loads(line)]) == 3


def test_the_picture_beside_one_that_cannot_be_written_goes(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, photo in enumerate(photos := names("a.jpg")):
        machine.photo(photo, seed=seed)
    with failing(monkeypatch, errno.EACCES, lambda path: path.match("labels/a.png")) as asked:
        done = here("parts", "in", "-o", "out", "--k", "2", "--jsonl", *FAST)
    assert Path("out/overlays/a.png") in asked
    assert (done.code, done_in(machine.desk / "out")) == (1, set(photos[1:]))
    assert [name for name in machine.files() if name.endswith("/a.png")] == []


def test_an_export_to_a_full_disk_says_how_far_it_came(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    (machine.desk / "out/sub").mkdir(parents=True)
    (machine.desk / "out/sub/a.png").symlink_to("/dev/full")
    done: Done = here("export", "run", "--as", "mask", "-o", "out", "-q")
    assert done.code == 1
    assert done.err == (
        "crate: out/sub/a.png: cannot be written: No space left on device; 3 of 4 photos exported\n"
    )
