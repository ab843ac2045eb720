"""Where outputs go when stdout is a pipe, a file, a terminal, a device or a socket, and what it cannot write."""

import os
import pty
import socket
import subprocess
import sys

import pytest

from tests.cli.conftest import TO_STDOUT, Done, Machine, picture
from tests.support.waiting import PATIENCE
from tests.support.warm import warm_crate

FAST = "--size 32 --heads agree --refine none"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


@pytest.mark.parametrize("command", ["segment", "heads"])
def test_what_goes_to_dev_null_is_not_lost(machine: Machine, command: str) -> None:
    """FAULTS 28: as under cron, or in a script that throws stdout away."""
    machine.photo("photo.png")
    done = machine.shell(f"crate {command} photo.png --size 32 -q > /dev/null")
    assert (done.code, done.err) == (0, "")
    (made,) = (name for name in machine.files() if name != "photo.png")
    assert made.startswith("photo.")
    assert picture((machine.desk / made).read_bytes()).format == "PNG"


def test_a_combined_file_and_an_export_are_not_lost_either(machine: Machine) -> None:
    machine.photo("in/photo.png")
    script = f"crate segment in -q {FAST} --as coco && crate segment in -q {FAST} -o out"
    done = machine.shell(f"({script} && crate export out --as coco -q) > /dev/null")
    assert (done.code, done.err) == (0, "")
    assert [name for name in machine.files() if name.endswith(".json")] == ["in-masks.json", "out-coco.json"]


def test_a_socket_may_be_a_log(machine: Machine) -> None:
    """What a systemd unit has for stdout is a socket to the journal."""
    machine.photo("photo.png")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with theirs.makefile("wb") as stream:
            done = machine.crate("segment", "photo.png", "-q", *FAST.split(), stdout=stream)
        theirs.close()
        assert (done.code, ours.recv(4096)) == (0, b"photo.mask.png\n")
    assert machine.files() == ["photo.mask.png", "photo.png"]


def test_bytes_go_where_they_are_of_use_and_it_is_said(machine: Machine) -> None:
    machine.photo("photo.png")
    asked = f"crate segment photo.png {FAST}"
    done = machine.shell(f"{asked} > mask.png; cat mask.png")
    assert picture(done.out).size == (48, 36)
    assert done.err.endswith(TO_STDOUT)
    done = machine.shell(f"{asked} -o - | cat")
    assert picture(done.out).size == (48, 36)
    assert TO_STDOUT not in done.err
    assert machine.files() == ["mask.png", "photo.png"]


def test_stdout_by_the_systems_name(machine: Machine) -> None:
    """The same as `-`: no line stands behind the picture."""
    machine.photo("photo.png")
    done = machine.shell(f"crate segment photo.png {FAST} -q -o /dev/stdout")
    assert (done.code, done.out[-12:], done.err) == (0, END, "")
    done = machine.shell("crate heads photo.png --size 32 -q -o /dev/fd/1 > made.png; tail -c 12 made.png")
    assert done.out == END
    done = machine.shell("crate parts photo.png -o /proc/self/fd/1")
    assert (done.code, done.err) == (2, "crate: parts fill a folder: give -o DIR\n")


def test_a_closed_stdout_is_no_place_for_a_picture(machine: Machine) -> None:
    machine.photo("photo.png")
    done = machine.shell(f"crate segment photo.png {FAST} -o - >&-")
    assert (done.code, done.err) == (1, "crate: standard output: is closed: give -o FILE\n")


@pytest.mark.parametrize(
    ("encoding", "locale"),
    [("cp1252", "C.UTF-8"), ("ascii", "C.UTF-8"), ("", "C")],
    ids=["cp1252", "ascii", "C"],
)
def test_characters_that_stdout_cannot_write(machine: Machine, encoding: str, locale: str) -> None:
    """FAULTS 28: τ, η and λ; no traceback."""

    def run(*words: str) -> Done:
        return machine.crate(
            *words, LC_ALL=locale, PYTHONIOENCODING=encoding, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0"
        )

    done = run("objects", "--help")
    assert (done.code, done.err) == (0, "")
    assert b"MaskCut's ?: the cosine" in done.out
    if locale == "C":
        done = run("models", "list")
        assert (done.code, done.err) == (0, "")
        assert b"crate-nano" in done.out


@pytest.mark.parametrize("command", [["--help"], ["segment", "--help"], ["models"]])
def test_a_reader_that_leaves_the_help(machine: Machine, command: list[str]) -> None:
    """FAULTS 12: 141, as everywhere; typer and rich say 1."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = machine.crate(*command, stdout=write)
    finally:
        os.close(write)
    assert (done.code, done.err) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_the_file_is_written(machine: Machine) -> None:
    photo = machine.photo("photo.png")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [warm_crate(), "segment", photo, "-q", *FAST.split()],
        cwd=machine.desk,
        env=machine.environment,
        stdout=theirs,
        timeout=PATIENCE,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 4096)
    os.close(ours)
    assert (done.returncode, shown) == (0, b"photo.mask.png\r\n")
    assert machine.files() == ["photo.mask.png", "photo.png"]
