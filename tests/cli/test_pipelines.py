"""`crate` among other tools: lists, pipes that close, terminals, and machines with little memory."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from tests.cli.conftest import Machine, inputs, outputs
from tests.support.runs import read_rows
from tests.support.waiting import PATIENCE
from tests.support.warm import warm_crate

FAST = "--size 32 --heads agree --refine none"
OUT = "a-rather-long-folder-" * 4
LONG = f"{'a-rather-long-name-' * 8}.jpg"


@pytest.fixture
def twelve(machine: Machine) -> Machine:
    """Put twelve photos on the desk, in two folders; names with spaces and a line end."""
    for seed in range(12):
        machine.photo(f"in/{'ab'[seed % 2]}/photo {seed:02}{chr(10) * (seed == 3)}.png", seed=seed)
    return machine


def test_find_and_xargs_four_at_a_time(twelve: Machine) -> None:
    """FAULTS 13: all done, once, in one manifest."""
    twelve.photo("in/c/photo 99.png")
    found = "find in -name '*.png' -print0"
    done = twelve.shell(f"{found} | xargs -0 -P 4 -n 5 crate segment -o new/ -q --jsonl {FAST}")
    assert (done.code, done.err) == (0, "")
    assert len(set(inputs(done))) == len(done.lines) == 13
    assert len(list(read_rows(twelve.desk / "new"))) == 13
    done = twelve.shell(f"{found} | crate segment --files-from - -0 -o list -q {FAST}")
    assert (done.code, done.err) == (0, "")
    assert len(outputs(twelve.desk / "list")) == 13


def test_photos_that_processes_would_write_to_one_place(machine: Machine) -> None:
    """FAULTS 13: the second is told, not lost."""
    machine.photo("one/a.png")
    machine.photo("two/a.png", seed=1)
    command = f"crate segment -o out/ -q {FAST}"
    line = f"{command} one/a.png -q & {command} two/a.png; echo $?; wait $!; echo $?"
    done = machine.shell(line)
    if sorted(code for code in done.lines if code.isdecimal()) == ["0", "1"]:  # they met
        assert "would be" in done.err or "was just made from" in done.err
        assert len(done.err.splitlines()) == 1
    else:  # one came after the other, and took its place as a run does
        assert done.err == ""
    assert outputs(machine.desk / "out") == ["a.png"]


def test_a_reader_that_leaves(twelve: Machine) -> None:
    """FAULTS 12: 141, and what was done is on record."""
    line = f"crate segment in -r -o out --jsonl {FAST} --batch-size 1 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = twelve.shell(line)
    assert done.lines[1] == "141"
    assert "Traceback" not in done.err
    before = len(outputs(twelve.desk / "out"))
    assert before >= 1
    done = twelve.shell(f"crate segment in -r -o out --jsonl --resume {FAST} <&- 2>&-")  # and without streams
    assert (done.code, len(done.lines), done.err) == (0, 12 - before, "")
    assert len(outputs(twelve.desk / "out")) == 12


def test_closed_streams(twelve: Machine) -> None:
    """FAULTS 12, 16: none is needed, and no file takes the place of one."""
    (twelve.desk / "in/a/bad.png").write_bytes(b"no photo")
    done = twelve.shell(f"crate segment in -r -o out {FAST} <&- >&- 2>&-")
    assert (done.code, done.out, done.err) == (1, b"", "")
    assert len(outputs(twelve.desk / "out")) == 12
    done = twelve.shell(f"crate segment - 'in/a/photo 00.png' -o new {FAST} -q <&-")
    assert done.code == 1
    assert done.err.splitlines()[0] == "crate: standard input: empty"
    assert outputs(twelve.desk / "new") == ["in/a/photo 00.png"]


class Terminal:
    """A terminal of 60 columns, and what a run wrote on it."""

    def __init__(self, machine: Machine, *arguments: str, also_stdout: bool) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        with subprocess.Popen(
            [warm_crate(), *arguments],
            cwd=machine.desk,
            env=machine.environment | {"TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=theirs if also_stdout else subprocess.PIPE,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            while chunk := self._read(ours):
                shown += chunk
            self.piped = process.stdout.read().decode() if process.stdout else ""
        os.close(ours)
        self.code, self.text = process.returncode, shown.decode()
        self.lines = self.text.replace("\x1b[2K", "").replace("\r", "\n").split("\n")

    @staticmethod
    def _read(descriptor: int) -> bytes:
        try:
            return os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            return b""


def test_a_terminal_gets_a_bar_and_whole_lines(twelve: Machine) -> None:
    """What is said while the bar stands is above it, and not cut at the terminal's width."""
    (twelve.desk / f"in/a/{LONG}").write_bytes(b"no photo")
    arguments = ("segment", "in", "-r", *FAST.split())
    both = Terminal(twelve, *arguments, "-o", OUT, also_stdout=True)
    assert both.code == 1
    assert "━" in both.text
    assert "\x1b[?25h" in both.text  # the cursor is given back
    assert f"crate: in/a/{LONG}: not an image of a known format" in both.lines
    for name in ("a/photo 00.png", r"b/photo 03\n.png"):
        assert f"{OUT}/{name}" in both.lines
    one = Terminal(twelve, *arguments, "-o", "out", "--jsonl", also_stdout=False)
    assert "━" in one.text
    assert len([json.loads(line) for line in one.piped.splitlines()]) == 13
    assert "\x1b" not in one.piped


def test_a_bar_is_not_drawn_where_it_is_not_wanted(twelve: Machine) -> None:
    quiet = Terminal(twelve, "segment", "in", "-r", "-q", "-o", "out", *FAST.split(), also_stdout=False)
    assert (quiet.code, quiet.text, len(quiet.piped.splitlines())) == (0, "", 13)
    plain = Terminal(
        twelve, "segment", "in", "-r", "--no-progress", "-o", "out", *FAST.split(), also_stdout=True
    )
    assert (plain.code, "\x1b" in plain.text, "━" in plain.text) == (0, False, False)


LITTLE = """
import resource, sys
from pathlib import Path
from cratecli.cli import run
from cratecli.cli.app import main
load, room = run.Running.load, int(sys.argv.pop(1))
def loaded(self):
    model = load(self)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    return model
run.Running.load = loaded
main()
"""


@pytest.mark.slow
def test_a_machine_with_little_memory(machine: Machine) -> None:
    """FAULTS 14: for real, by the system's own limit: fewer together, in tiles, or not at all; never a traceback."""
    for seed in range(3):
        machine.photo(f"in/{seed}.png", (192, 192), seed)
    arguments = ["segment", "in", "-o", "out", "--size", "384", "--refine", "none"]
    done = subprocess.run(
        [sys.executable, "-c", LITTLE, "32000000", *arguments],
        cwd=machine.desk,
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = done.stderr.splitlines()
    assert done.returncode in (0, 1)
    assert all(line.startswith("crate: ") for line in said)
    assert "crate: out of memory with 3 photos together: going on with 2" in said
    assert sum("seen in overlapping tiles" in line for line in said) >= 1
    failed = [line for line in said if "needs more memory than there is" in line]
    assert len(list((machine.desk / "out").glob("*.png"))) + len(failed) == 3


GROWTH = """
import ctypes, gc, sys
from pathlib import Path
from cratecli.cli import report
from cratecli.cli.app import main
done = report.Report.done
def counted(self, *arguments):
    done(self, *arguments)
    if self._photos % 250 == 0:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free counts for nothing: it comes and goes by tens of MB
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        print(self._photos, resident, file=sys.stderr)
report.Report.done = counted
main()
"""


@pytest.mark.slow
def test_memory_is_flat(machine: Machine) -> None:
    """FAULTS 15: under 5 MB a 1,000 photos, once the first hundreds have warmed it up."""
    for seed in range(2000):
        machine.photo(f"in/{seed:04}.jpg", (120 + 8 * (seed % 3), 96), seed)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, "segment", "in", "-o", "out"],
        cwd=machine.desk,
        env=machine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line.split() for line in done.stderr.splitlines() if not line.startswith("crate: ")]
    marks = [(int(photos), int(resident)) for photos, resident in told]
    sys.stdout.write("".join(f"{photos:5} photos {resident / 1e6:8.1f} MB\n" for photos, resident in marks))
    resident = dict(marks)
    assert (resident[2000] - resident[500]) / 1.5 < 5e6


def test_a_list_that_never_ends(machine: Machine) -> None:
    """FAULTS 8: one line, whatever memory there is."""
    for given, name in [("/dev/zero", "/dev/zero"), ("- < /dev/zero", "standard input")]:
        done = machine.shell(f"crate segment -o out --files-from {given}")
        assert (done.code, done.err) == (1, f"crate: {name}: cannot be read: more than 256 MiB: split it\n")
