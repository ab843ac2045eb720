"""A folder of everything that goes wrong with photos: the good ones are done, each bad one is a line."""

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.runs.manifest import MANIFEST
from tests.cli.conftest import Done, Here, Machine
from tests.support import broken

PNG = broken.encoded(broken.photo(), "png")
ODD_NAMES = (
    b"-rf.png",
    b"new\nline.png",
    b"[red].png",
    b"\x1b[2J.png",
    b"not\xffutf8.png",
    b"a" * 250 + b".png",
)
BAD_NAME = b"\x1b]0;bad\x07\n\xff[red]" + "\u202e\u200b\u009b".encode() + b".jpg"
BLANK = {
    "black.png": Image.new("RGB", (64, 48)),
    "white.jpg": Image.new("RGB", (64, 48), "white"),
    "clear.webp": Image.new("RGBA", (64, 48)),
    "float.tif": Image.fromarray(np.full((48, 64), np.nan, np.float32)),
    "deep.png": Image.fromarray(np.full((48, 64), 777, np.uint16)),
}
SMALL = {"1x1.png": (1, 1), "13x13.jpg": (13, 13), "1x32.gif": (1, 32)}
LIES = {"lies.jpg": "png", "UPPER.JPG": "jpg", "webp.bmp": "webp", "tif.gif": "lzw.tif"}


@dataclass(frozen=True)
class Run:
    """One run over the folder `in`, what lay there, and what came of it."""

    done: Done
    out: Path
    good: frozenset[str]
    either: frozenset[str]
    bad: frozenset[str]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Give the records of what was done, by the photos' names."""
        records = [json.loads(line) for line in self.done.out.splitlines()]
        return {Path(record["input"]).name: record for record in records if "error" not in record}

    @property
    def errors(self) -> list[str]:
        """List stderr but for its last line, which counts."""
        return self.done.err.splitlines()[:-1]


@pytest.fixture(scope="module")
def run(shared: Machine) -> Run:
    folder = shared.desk / "in"
    folder.mkdir()
    good = {f"good-{number}.png": PNG for number in range(3)}
    good |= broken.whole() | {name: broken.encoded(broken.photo(), kind) for name, kind in LIES.items()}
    good |= {f"several.{kind}": broken.animation(kind) for kind in ("gif", "webp", "png", "tif")}
    good |= {os.fsdecode(name): PNG for name in ODD_NAMES}
    either = broken.flipped(10)
    bad = broken.cut() | broken.not_photos() | broken.bombs() | {os.fsdecode(BAD_NAME): b""}
    for name, content in (good | either | bad).items():
        (folder / name).write_bytes(content)
    for name, image in BLANK.items():
        image.save(folder / name)
    for name, size in SMALL.items():
        Image.new("RGB", size, "red").save(folder / name)
    Image.new("RGB", (100_000, 1)).save(folder / "long.png")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to("gone.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "stdin.jpg").symlink_to("/dev/stdin")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.path.relpath(folder / "s.jpg"))
    listening.close()
    odd = {"long.png", "folder.jpg", "pipe.jpg", "dangling.jpg", "loop.jpg", "zero.jpg", "stdin.jpg", "s.jpg"}
    done = shared.crate("segment", "in", "-o", "out", "--jsonl", "-q", "--size", "64")
    return Run(
        done,
        shared.desk / "out",
        frozenset({*good, *BLANK, *SMALL}),
        frozenset(either),
        frozenset({*bad, *odd}),
    )


def test_the_good_are_done_and_the_bad_are_told(run: Run) -> None:
    assert run.done.code == 1
    done = set(run.records)
    assert run.good <= done
    assert not run.bad & done
    assert done <= run.good | run.either
    assert len(run.errors) == len(run.good | run.either | run.bad) - len(done)


def test_each_bad_one_is_one_printable_line(run: Run) -> None:
    for line in run.errors:
        assert line.startswith("crate: in/")
        assert line.isprintable()
    told = "\n".join(run.errors)
    assert "Traceback" not in told
    for name in run.bad - {os.fsdecode(BAD_NAME)}:
        assert told.count(f"crate: in/{name}: ") == 1
    escaped = r"\x1b]0;bad\x07\n\udcff[red]\u202e\u200b\x9b.jpg"
    assert f"crate: in/{escaped}: empty" in run.errors
    total = len(run.records) + len(run.errors)
    assert run.done.err.splitlines()[-1] == f"crate: {len(run.errors)} of {total} photos failed"


def test_only_whole_masks_are_left(run: Run) -> None:
    books = {MANIFEST, f".{MANIFEST}.lock"}
    written = {path.name for path in run.out.iterdir()} - books
    records = run.records.values()
    assert written == {Path(record["output"]).name for record in records}
    for record in records:
        with Image.open(run.out / Path(record["output"]).name) as mask:
            mask.load()
            assert mask.size == (record["width"], record["height"])


def test_reasons_name_the_fault(run: Run) -> None:
    for name, reason in {
        "lfs.png": "a Git LFS pointer",
        "html.jpg": "an HTML page",
        "eps.png": "not an image of a known format",
        "mp4.png": "not an image of a known format",
        "side.png": "50000 × 50000 px, more than 89,478,485 pixels",
        "long.png": "100000 × 1 px is too long and thin",
        "folder.jpg": "a folder, not a file",
        "pipe.jpg": "not a regular file",
        "zero.jpg": "not a regular file",
        "dangling.jpg": "a broken link",
        "loop.jpg": "a broken link",
        "cut50-early.tif": "cannot be read as an image",
    }.items():
        assert any(line.startswith(f"crate: in/{name}: {reason}") for line in run.errors), name


def test_nothing_to_see_is_an_empty_mask(run: Run) -> None:
    for name in BLANK:
        record = run.records[name]
        assert record["empty"] is True
        assert record["area"] == 0
        assert 0 <= record["confidence"] <= 1
        with Image.open(run.out / Path(record["output"]).name) as mask:
            assert mask.getextrema() == (0, 0)


def test_names_that_look_like_something_else(machine: Machine) -> None:
    """Named outright, after `--`; paths on stdout are the names as they are, byte for byte."""
    names = [os.fsdecode(name) for name in ODD_NAMES]
    for name in names:
        (machine.desk / name).write_bytes(PNG)
    done = machine.crate("segment", "-q", "-o", "out/", "--size", "64", "--", *names)
    assert (done.code, done.err) == (0, "")
    assert done.out == b"".join(b"out/" + name + b"\n" for name in ODD_NAMES)


def test_devices_named_outright_do_not_hang(here: Here, machine: Machine) -> None:
    os.mkfifo(machine.desk / "pipe")
    for name in ("pipe", "/dev/zero", "/dev/null", "/dev/full"):
        done = here("segment", name, "-o", "mask.png", "-q")
        assert (done.code, done.out) == (1, b"")
        assert done.err.startswith(f"crate: {name}: ")
        assert machine.files() == []


def test_heic_without_its_extra_is_a_hint(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (machine.desk / "in").mkdir()
    (machine.desk / "in/photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90))
    done = here("segment", "in", "-q")
    assert (done.code, done.out) == (1, b"")
    assert done.err == "crate: in/photo.HEIC: HEIC needs an extra; run: pip install 'cratecli[heic]'\n"


def test_heic_with_its_extra(machine: Machine) -> None:
    heif = pytest.importorskip("pillow_heif")
    (machine.desk / "in").mkdir()
    heif.from_pillow(broken.photo()).save(machine.desk / "in/photo.heic")
    (machine.desk / "in/cut.heic").write_bytes((machine.desk / "in/photo.heic").read_bytes()[:-200])
    done = machine.crate("segment", "in", "-q", "--size", "64")
    assert (done.code, done.lines) == (1, ["in-masks/photo.png"])
    assert done.err.startswith("crate: in/cut.heic: cannot be read as an image: ")
