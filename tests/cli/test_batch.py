"""Runs over many photos: which, where to, what is done again, and what a bad one or a full disk does to the rest."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.io.formats.record import decode_rle
from tests.cli.conftest import Here, Machine, failed, inputs, outputs, picture
from tests.support.ledgers import PREAMBLE
from tests.support.processes import another
from tests.support.runs import read_rows

FAST = ("--size", "32", "--heads", "agree", "--refine", "none", "-q")


@pytest.fixture
def tree(machine: Machine) -> Machine:
    """Put the names of FAULTS 10 on the desk."""
    for seed, name in enumerate(("in/a.jpg", "in/a.png", "in/A.jpg", "in/sub/a.jpg", "in/sub/notes.png")):
        machine.photo(name, seed=seed)
    (machine.desk / "in/notes.txt").write_text("no photo")
    return machine


def test_a_tree_in_the_same_tree_out(tree: Machine, here: Here) -> None:
    """FAULTS 10: names that differ by case or ending alone keep apart, here and in a list."""
    done = here("segment", "in", "-r", "-o", "out", *FAST)
    assert (done.code, done.err) == (0, "")
    names = ["A.jpg.png", "a.jpg.png", "a.png.png", "sub/a.png", "sub/notes.png"]
    assert outputs(tree.desk / "out") == names
    assert sorted(done.lines) == [f"out/{name}" for name in names]
    listed = b"in/a.jpg\n./in/a.png\nin/A.jpg\nin/sub/a.jpg\n\nin/sub/notes.png\n"
    done = here("segment", "--files-from", "-", "-o", "list", *FAST, stdin=listed)
    assert done.code == 0
    assert outputs(tree.desk / "list") == [f"in/{name}" for name in names]


def test_one_photo_under_several_names_is_done_once(machine: Machine, here: Here) -> None:
    photo = machine.photo("in/a.jpg")
    listed = f"in/a.jpg\n{photo}\n".encode()
    done = here("segment", "in/a.jpg", "./in/a.jpg", "-o", "out/", "--dry-run")
    assert (done.code, done.lines) == (0, ["in/a.jpg\tout/a.png"])
    done = here("segment", "--files-from", "-", "-o", "out", "--dry-run", stdin=listed)
    assert (done.code, done.lines) == (0, ["in/a.jpg\tout/in/a.png"])


def test_a_folder_that_cannot_be_listed(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails with the system's reason, below a folder or named in a list; the photos around it are done."""
    machine.photo("in/a.jpg")
    machine.photo("in/locked/b.jpg", seed=1)
    scan = os.scandir

    def scandir(path: str) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    said = "crate: in/locked: cannot be read: Permission denied\ncrate: 1 of 2 photos failed\n"
    done = here("segment", "in", "-r", "-o", "out", *FAST)
    assert (done.code, done.err, done.lines) == (1, said, ["out/a.png"])
    done = here("segment", "--files-from", "-", "-o", "list", *FAST, stdin=b"in/a.jpg\nin/locked\n")
    assert (done.code, done.err, done.lines) == (1, said, ["list/in/a.png"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lists_of_other_systems(machine: Machine, here: Here, encoding: str) -> None:
    """FAULTS 29: with a mark before the first path, and lines that end as on Windows."""
    for name in ("a.png", "τ b.png"):
        machine.photo(name)
    listed = "a.png\r\nτ b.png\r\n".encode(encoding)
    done = here("segment", "--files-from", "-", "-o", "out", "--dry-run", stdin=listed)
    assert (done.code, done.lines) == (0, ["a.png\tout/a.png", "τ b.png\tout/τ b.png"])


def test_a_list_cut_within_a_character(here: Here) -> None:
    done = here("segment", "--files-from", "-", stdin="a.png".encode("utf-16")[:-1])
    failed(done, 1, "-: begins as UTF-16, and is none: write it as UTF-8")


def test_stdin_by_the_systems_name(machine: Machine) -> None:
    """The same as `-`, though it is a pipe, which a photo must not be."""
    machine.photo("a.png")
    done = machine.shell(f"cat a.png | crate segment /dev/stdin -q --jsonl {' '.join(FAST)} | jq -r .input")
    assert done.lines == ["standard input"]
    done = machine.shell("echo a.png | crate segment --files-from /dev/stdin --dry-run -o out")
    assert done.lines == ["a.png\tout/a.png"]


def test_lists_stay_within_the_output(tree: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 10: `../..` and absolute paths; a name with a line end needs -0; what is missing is told."""
    work = tree.desk / "in/sub"
    tree.photo("in/sub/odd\nname.jpg")
    monkeypatch.chdir(work)
    paths = ["../../in/a.jpg", str(tree.desk / "in/a.png"), "odd\nname.jpg", "gone.jpg", ".."]
    Path("list").write_bytes(b"\0".join(path.encode() for path in paths) + b"\0")
    done = here("segment", "--files-from", "list", "-0", "-o", "out", *FAST)
    assert done.code == 1
    assert done.err.splitlines() == [
        "crate: gone.jpg: no such file",
        "crate: ..: a folder, not a file",
        "crate: 2 of 5 photos failed",
    ]
    within = str(tree.desk / "in/a.png").lstrip("/")
    assert outputs(work / "out") == sorted(["in/a.png", within, "odd\nname.png"])
    assert not (tree.desk / "gone.png").exists()
    done = here("segment", "--files-from", "list", "-o", "out", *FAST)
    assert (done.code, done.err) == (
        2,
        "crate: list: its paths end with NUL: give -0; or it is UTF-16: write it as UTF-8\n",
    )


def test_what_counts(tree: Machine, here: Here) -> None:
    def counted(*options: str, stdin: bytes = b"") -> list[str]:
        done = here("segment", *options, "--dry-run", *FAST, stdin=stdin)
        assert (done.code, done.err) == (0, "")
        return sorted(line.split("\t")[0] for line in done.lines)

    assert counted("in") == ["in/A.jpg", "in/a.jpg", "in/a.png"]
    assert counted("in", "-r", "--exclude", "sub/n*") == ["in/A.jpg", "in/a.jpg", "in/a.png", "in/sub/a.jpg"]
    assert counted("in", "-r", "--include", "*.txt", "--include", "notes.*") == [
        "in/notes.txt",
        "in/sub/notes.png",
    ]
    assert counted("--files-from", "-", "--exclude", "*.jpg", stdin=b"in/a.jpg\nin/a.png") == ["in/a.png"]
    for nothing in (("in", "--include", "*.gif"), ("--files-from", "-")):
        done = here("segment", *nothing, *FAST)
        assert done.code == 3
        assert done.err.startswith("crate: no photo in ")


def test_links_in_a_ring_and_folders_named_like_photos(tree: Machine, here: Here) -> None:
    """FAULTS 8: each folder once; what is no photo is told of."""
    (tree.desk / "in/sub/up").symlink_to(tree.desk / "in")
    (tree.desk / "in/sub/again").symlink_to(tree.desk / "in/sub")
    (tree.desk / "in/self.jpg").symlink_to("self.jpg")
    tree.photo("in/folder.jpg/b.png")
    done = here("segment", "in", "-r", "-o", "out", *FAST)
    assert done.code == 1
    assert done.err == "crate: in/self.jpg: a broken link\ncrate: 1 of 7 photos failed\n"
    assert len(outputs(tree.desk / "out")) == 6
    done = here("segment", "in", "-o", "flat", *FAST)
    assert "crate: in/folder.jpg: a folder, not a file\n" in done.err


def test_an_output_inside_the_input_is_never_an_input(tree: Machine, here: Here) -> None:
    """FAULTS 10: nor is it by another way, nor when it is there already."""
    for place in ("in/out", "in/../in/out", "in/out"):
        assert here("segment", "in", "-r", "-o", place, *FAST).code == 0
        assert len(outputs(tree.desk / "in/out")) == 5
    (tree.desk / "way").symlink_to("in/out")
    assert here("segment", "in", "-r", "-o", "way", "--resume", *FAST).code == 0
    assert len(outputs(tree.desk / "in/out")) == 5


def test_what_is_there_already(tree: Machine, here: Here) -> None:
    old = tree.desk / "out/a.png.png"
    old.parent.mkdir()
    old.write_bytes(b"old")
    done = here("segment", "in", "-o", "out", "--exists", "error", *FAST)
    assert (done.code, done.err) == (2, "crate: out/a.png.png is there already: nothing was written\n")
    assert (
        tree.files().count("out/a.png.png") == len([name for name in tree.files() if name[:4] == "out/"]) == 1
    )
    done = here("segment", "in", "-o", "out", "--exists", "skip", *FAST)
    assert (done.code, sorted(done.lines)) == (0, ["out/A.jpg.png", "out/a.jpg.png"])
    assert old.read_bytes() == b"old"
    assert here("segment", "in", "-o", "out", *FAST).code == 0
    assert len(outputs(tree.desk / "out")) == 3


def test_a_rehearsal_reads_no_photo_writes_nothing_and_loads_no_torch(tree: Machine) -> None:
    (tree.desk / "in/sub/a.jpg").write_bytes(b"not read")
    before = tree.files()
    code = "import sys; from cratecli.cli.app import _run; print(_run(), 'torch' in sys.modules)"
    arguments = ["segment", "in", "-r", "-o", "out", "--dry-run", "-m", "no-such-model"]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[1:] = {arguments}; {code}"],
        cwd=tree.desk,
        env=tree.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == [
        "0 False",
        "in/A.jpg\tout/A.jpg.png",
        "in/a.jpg\tout/a.jpg.png",
        "in/a.png\tout/a.png.png",
        "in/sub/a.jpg\tout/sub/a.png",
        "in/sub/notes.png\tout/sub/notes.png",
    ]
    assert tree.files() == before
    assert not (tree.desk / "out").exists()


def test_a_run_taken_up_does_only_what_no_longer_holds(tree: Machine, here: Here) -> None:
    """FAULTS 12, 13: the row is believed, not the file."""
    run = ("segment", "in", "-r", "-o", "out", "--jsonl", "--resume", *FAST)
    (tree.desk / "out").mkdir()
    (tree.desk / "out/a.png.png").write_bytes(b"half a mask")
    assert len(inputs(here(*run))) == 5
    before = {row.input: row for row in read_rows(tree.desk / "out")}
    done = here(*(option for option in run if option != "-q"))
    assert (done.code, done.out) == (0, b"")
    assert done.err.endswith("crate: 5 photos were done before\n")
    (tree.desk / "out/A.jpg.png").unlink()
    notes = tree.desk / "out/sub/notes.png"
    notes.write_bytes(notes.read_bytes()[:-20])
    tree.photo("in/a.png", seed=9)
    assert sorted(inputs(here(*run))) == ["in/A.jpg", "in/a.png", "in/sub/notes.png"]
    assert len(outputs(tree.desk / "out")) == 5
    after = {row.input: row for row in read_rows(tree.desk / "out")}
    assert [name for name in after if after[name] != before[name]] == ["../in/a.png"]
    assert len(inputs(here(*run, "--keep", "mean"))) == 5
    assert len(outputs(tree.desk / "out")) == 5


@pytest.mark.parametrize("content", [b'{"id": 1}\n', b"no newline"])
def test_a_manifest_of_somebody_else_is_not_touched(tree: Machine, here: Here, content: bytes) -> None:
    manifest = tree.desk / "out/manifest.jsonl"
    manifest.parent.mkdir()
    manifest.write_bytes(content)
    done = here("segment", "in", "-o", "out", *FAST)
    assert (done.code, done.lines) == (1, [])
    assert done.err.startswith("crate: out/manifest.jsonl:1: not a row of a manifest")
    assert len(done.err.splitlines()) == 1
    assert manifest.read_bytes() == content


def test_a_bad_photo_ends_the_run_only_if_asked_to(tree: Machine, here: Here) -> None:
    """FAULTS 1: its line is among the records; with --fail-fast it is the last."""
    (tree.desk / "in/a.jpg").write_bytes(b"no photo")
    done = here("segment", "in", "-r", "-o", "out", "--jsonl", *FAST)
    assert done.code == 1
    reason = "in/a.jpg: not an image of a known format"
    assert done.err == f"crate: {reason}\ncrate: 1 of 5 photos failed\n"
    assert {"input": "in/a.jpg", "error": reason} in [json.loads(line) for line in done.lines]
    assert len(outputs(tree.desk / "out")) == 4
    done = here("segment", "in", "-r", "-o", "fast", "--jsonl", "--fail-fast", "--batch-size", "1", *FAST)
    assert done.code == 1
    assert json.loads(done.lines[-1]) == {"input": "in/a.jpg", "error": reason}
    assert len(done.lines) < 5
    assert here("segment", "in", "-r", "-o", "fast", "--resume", *FAST).code == 1
    assert len(outputs(tree.desk / "fast")) == 4


def test_one_file_for_all_has_what_was_found_before(tree: Machine, here: Here) -> None:
    """A COCO file of a run that was taken up is that of a run in one go; a photo that is gone is no part of it."""
    for name in ("objects", "segment"):
        run = (name, "--as", "coco", "--size", "32", "-q", "in/a.jpg", "in/a.png", "in/sub/a.jpg")
        assert here(*run, "-o", "whole.json").code == 0
        photo = (tree.desk / "in/a.png").read_bytes()
        (tree.desk / "in/a.png").write_bytes(b"no photo")
        assert here(*run, "-o", "run.json", "--resume").code == 1
        assert len(json.loads((tree.desk / "run.json").read_text())["images"]) == 2
        (tree.desk / "in/a.png").write_bytes(photo)
        done = here(*run, "-o", "run.json", "--resume", "--jsonl")
        assert (done.code, inputs(done)) == (0, ["in/a.png"])
        whole, taken_up = (json.loads((tree.desk / f"{each}.json").read_text()) for each in ("whole", "run"))
        assert taken_up["images"] == whole["images"]
        assert taken_up["annotations"] == whole["annotations"]
        (tree.desk / "in/a.png").unlink()
        assert here(*run, "-o", "run.json", "--resume").code == 1
        assert len(json.loads((tree.desk / "run.json").read_text())["images"]) == 2
        (tree.desk / "in/a.png").write_bytes(photo)
        (tree.desk / "run.manifest.jsonl").unlink()


def test_one_file_for_one_photo_is_taken_up_too(tree: Machine, here: Here) -> None:
    run = ("segment", "in/a.jpg", "-o", "one.json", *FAST)
    assert here(*run).code == 0
    assert not (tree.desk / "one.manifest.jsonl").exists()  # nobody asked for it
    for done in (["in/a.jpg"], []):
        again = here(*run, "--resume", "--jsonl")
        assert (again.code, inputs(again)) == (0, done)
        assert len(json.loads((tree.desk / "one.json").read_text())["images"]) == 1
    failed(here("segment", "in/a.jpg", "-o", "a.png", "--resume"), 2, "give -o FOLDER")


def test_a_folder_s_file_has_its_manifest_however_few_photos_it_holds(tree: Machine, here: Here) -> None:
    run = ("segment", "few", "-o", "run.json", *FAST)
    tree.photo("few/a.png")
    assert here(*run).code == 0
    tree.photo("few/b.png", seed=1)
    done = here(*run, "--resume", "--jsonl")
    assert (done.code, inputs(done)) == (0, ["few/b.png"])


def test_masks_in_records_are_those_written(tree: Machine, here: Here) -> None:
    done = here("segment", "in", "-r", "-o", "out", "--json", "--rle", "--size", "32", "-q")
    records = json.loads(done.out)
    assert [record["input"] for record in records] == sorted(record["input"] for record in records)
    for record in records:
        written = np.asarray(Image.open(tree.desk / record["output"])) > 0
        found = np.zeros_like(written) if record["rle"] is None else decode_rle(record["rle"])
        np.testing.assert_array_equal(found, written)
    assert any(record["rle"] for record in records)


def test_standard_input_is_a_photo_among_others(tree: Machine, here: Here) -> None:
    content = (tree.desk / "in/a.png").read_bytes()
    done = here("segment", "in/a.jpg", "-", "-o", "out", "--jsonl", *FAST, stdin=content)
    assert (done.code, sorted(inputs(done))) == (0, ["in/a.jpg", "standard input"])
    assert outputs(tree.desk / "out") == ["in/a.png", "stdin.png"]
    done = here("segment", "in/a.jpg", "-", "-o", "out", "--resume", "--jsonl", *FAST, stdin=content)
    assert (done.code, done.lines) == (0, [])
    done = here("segment", "in/a.jpg", "-", "-o", "out", "--resume", *FAST, stdin=b"")
    assert (done.code, done.err.splitlines()[0]) == (1, "crate: standard input: empty")
    for twice in (("-", "--files-from", "-"), ("--files-from", "-")):
        done = here("segment", *twice, "-o", "out", *FAST, stdin=b"-\n")
        assert (done.code, done.err) == (2, "crate: standard input can be read only once\n")


def test_the_most_pixels(tree: Machine, here: Here) -> None:
    """FAULTS 3."""
    tree.photo("in/large.png", (60, 40))
    done = here("segment", "in", "-o", "out", "--max-pixels", "2000", *FAST)
    assert done.code == 1
    assert (
        "crate: in/large.png: 60 × 40 px, more than 2,000 pixels; --max-pixels raises the limit\n" in done.err
    )
    assert len(outputs(tree.desk / "out")) == 3


def test_a_device_that_is_full(tree: Machine, here: Here) -> None:
    """FAULTS 11."""
    done = here("segment", "in/a.jpg", "-o", "/dev/full", *FAST)
    assert (done.code, done.err) == (1, "crate: /dev/full: cannot be written: No space left on device\n")


@pytest.fixture
def small_disk(machine: Machine) -> Iterator[Path]:
    """Mount a disk of 512 KiB, where that is allowed."""
    place = machine.desk / "out"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=512k", "none", place], check=False).returncode
    ):
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_fills(small_disk: Path, machine: Machine, here: Here) -> None:
    """FAULTS 11: one line, and the end; what was there survives, and the run goes on when there is room."""
    for seed in range(30):
        machine.photo(f"in/{seed:02}.jpg", seed=seed)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(450_000))
    done = here("segment", "in", "-o", "out", *FAST)
    assert done.code == 1
    filler.unlink()
    written = len(outputs_beside(small_disk))
    counted = f"{written} of 30 photos done, {30 - written} left; --resume goes on from here"
    assert len(done.err.splitlines()) == 1
    assert done.err.endswith(f": cannot be written: No space left on device; {counted}\n")
    assert len(done.lines) == written
    assert 0 < written < 30
    done = here("segment", "in", "-o", "out", "--resume", "--jsonl", *FAST)
    assert (done.code, len(done.lines)) == (0, 30 - written)
    assert len(outputs(small_disk)) == 30


def outputs_beside(folder: Path) -> list[str]:
    """Check a folder where a run was stopped: each row has its output, and at most those in hand have no row."""
    rows = {str(row.output): row for row in read_rows(folder)}
    masks = [path for path in folder.glob("*.png") if path.name not in rows]
    for path in masks:
        Image.open(path).load()
        path.unlink()
    assert len(masks) <= 8
    return outputs(folder)


def test_a_limit_of_file_sizes(machine: Machine, here: Here) -> None:
    """FAULTS 11: the manifest hits it first, as it is the largest file."""
    for seed in range(20):
        machine.photo(f"in/{seed:02}.jpg", seed=seed)
    run = ("segment", "in", "-o", "out", "--as", "cutout", "--jsonl", *FAST)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, before[1]))
    try:
        done = here(*run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    rows = list(read_rows(machine.desk / "out"))
    counted = f"{len(rows)} of 20 photos done, {20 - len(rows)} left; --resume goes on from here"
    reason = "crate: out/manifest.jsonl: cannot be written: File too large"
    assert (done.code, done.err) == (1, f"{reason}; {counted}\n")
    assert 0 < len(rows) < 20
    assert not list((machine.desk / "out").glob(".crate-*"))
    done = here(*run, "--resume")
    assert (done.code, len(done.lines)) == (0, 20 - len(rows))
    assert len(list(read_rows(machine.desk / "out"))) == 20


def test_parts_are_not_shared(tree: Machine, here: Here) -> None:
    """FAULTS 13: what is learned from all photos together is made by one process."""
    (tree.desk / "out").mkdir()
    with another(PREAMBLE) as other:
        other("ledger.open([], resume=False)")
        done = here("parts", "in", "-o", "out", "--size", "32", "-q")
    told = "another crate is at work on out/manifest.jsonl: wait for it, or give another folder"
    assert (done.code, done.err) == (1, f"crate: {told}; 0 of 3 photos done, 3 left\n")
    assert tree.files() == [name for name in tree.files() if name.startswith("in/")]


@pytest.fixture
def stream(machine: Machine) -> bytes:
    """Put three photos of three formats and sizes after one another, as `ffmpeg -f image2pipe` does frames."""
    names = ("a.png", "b.jpg", "c.bmp")
    return b"".join(machine.photo(name, (48 + 4 * i, 36), i).read_bytes() for i, name in enumerate(names))


def test_a_stream_of_photos_into_a_folder(machine: Machine, here: Here, stream: bytes) -> None:
    """FAULTS 29: several photos, each a row; taken up, and exported, like any others."""
    assert here("segment", "-", "-o", "out/", *FAST, stdin=stream).code == 0
    names = [f"stdin-{number:04}.png" for number in (1, 2, 3)]
    assert outputs(machine.desk / "out") == names
    assert [picture((machine.desk / "out" / name).read_bytes()).width for name in names] == [48, 52, 56]
    assert sorted(row.input for row in read_rows(machine.desk / "out")) == [
        f"-/{name[:-4]}" for name in names
    ]
    done = here("segment", "-", "-o", "out/", "--resume", "--jsonl", *FAST, stdin=stream)
    assert (done.code, done.out) == (0, b"")
    exported = json.loads(here("export", "out", "--as", "coco", "-q").out)
    assert [each["width"] for each in exported["images"]] == [48, 52, 56]


@pytest.mark.parametrize("command", ["segment", "objects", "heads", "layers"])
def test_a_stream_of_photos_as_records(here: Here, stream: bytes, command: str) -> None:
    done = here(command, "-", "--jsonl", "-q", "--size", "32", stdin=stream)
    assert sorted(inputs(done)) == [f"standard input, photo {number}" for number in (1, 2, 3)]


def test_a_stream_of_photos_in_one_file_for_all(machine: Machine, here: Here, stream: bytes) -> None:
    here("segment", "-", "-o", "run.json", *FAST, stdin=stream)
    assert len(json.loads((machine.desk / "run.json").read_bytes())["images"]) == 3
    here("parts", "-", "-o", "parts", "-k", "2", "-q", stdin=stream)
    assert len(json.loads((machine.desk / "parts/parts.json").read_bytes())["images"]) == 3


def test_of_a_stream_one_picture_shows_the_first_and_says_so(
    machine: Machine, here: Here, stream: bytes
) -> None:
    note = "crate: standard input: holds 3 photos; the first is used: -o DIR/ or --jsonl takes them all\n"
    for where in ([], ["-o", "mask.png"], ["-o", "mask.png", "--jsonl"]):
        done = here("segment", "-", *FAST[:-1], *where, stdin=stream)
        assert (done.code, note in done.err) == (0, True)
    assert picture((machine.desk / "mask.png").read_bytes()).size == (48, 36)
    assert here("segment", "-", "-o", "mask.png", *FAST, stdin=stream).err == ""


def test_a_broken_photo_of_a_stream_is_named(here: Here, stream: bytes) -> None:
    spoilt = stream.replace(b"IDAT", b"IDAX")
    done = here("segment", "-", "-o", "out/", "--jsonl", *FAST, stdin=spoilt)
    assert done.code == 1
    assert done.err.startswith("crate: standard input, photo 1: ")
    assert len(done.lines) == 3


def test_a_stream_among_others_that_collides(machine: Machine, here: Here, stream: bytes) -> None:
    machine.photo("stdin-0002.jpg")
    done = here("segment", "-", "stdin-0002.jpg", "-o", "out", "--dry-run", stdin=stream)
    assert done.lines == ["-\tout/stdin.png", "stdin-0002.jpg\tout/stdin-0002.png"]  # nothing is read
    done = here("segment", "-", "stdin-0002.jpg", "-o", "out", *FAST, stdin=stream)
    assert done.code == 0
    names = ["stdin-0001.png", "stdin-0002.jpg.png", "stdin-0002.png", "stdin-0003.png"]
    assert outputs(machine.desk / "out") == names
