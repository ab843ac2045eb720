"""Runs that are ended, by whatever, at whatever moment: nothing is broken, missing after --resume, or done twice."""

import fcntl
import hashlib
import json
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cratecli.runs.batch import WORKERS
from tests.cli.conftest import CRATE, Here, Machine
from tests.support.runs import read_rows
from tests.support.waiting import PATIENCE, until
from tests.support.warm import warm_crate, warm_python

FAST = ("--size", "32", "--heads", "agree", "--refine", "none")
BATCH = 4
PHOTOS = 120


class Started:
    """The installed `crate` on its way, in a process of its own."""

    def __init__(self, machine: Machine, *arguments: str, program: Sequence[str | Path] = (CRATE,)) -> None:
        options = ("--jsonl", "--batch-size", str(BATCH))
        self.process = machine.start("segment", *arguments, *options, program=program)
        self.inputs: list[str] = []

    def kept_waiting(self) -> "Started":
        """Keep it from running far ahead of who reads its records: its pipe is made short, where the system can."""
        assert self.process.stdout
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        return self

    def read(self, count: int) -> bool:
        """Read so many records; tell whether there were as many."""
        assert self.process.stdout
        for _ in range(count):
            if not (line := self.process.stdout.readline()):
                return False
            self.inputs.append(json.loads(line)["input"])
        return True

    def end(self) -> tuple[int, str]:
        """Wait for its end: gives the exit code and stderr; the rest of the records is read."""
        with self.process as process:
            assert process.stdout
            assert process.stderr
            out, err = process.stdout.read(), process.stderr.read()  # `communicate` loses what is read ahead
            process.wait(PATIENCE)
        whole = out.splitlines() if out.endswith("\n") else out.splitlines()[:-1]
        self.inputs += [json.loads(line)["input"] for line in whole]
        return self.process.returncode, err

    def kill(self) -> None:
        """End it as nobody can help."""
        self.process.kill()
        assert self.end()[0] == -signal.SIGKILL


def ended(runs: Sequence[Started]) -> list[tuple[int, str]]:
    """Wait for the end of several at once: one whose pipe is full keeps the others from photos in its hand."""
    with ThreadPoolExecutor(len(runs)) as readers:
        return list(readers.map(Started.end, runs))


def fill(machine: Machine, count: int = PHOTOS) -> None:
    for seed in range(count):
        machine.photo(f"in/{seed:03}.png", (24 + 8 * (seed % 2), 24), seed)


def rows(folder: Path) -> dict[str, str]:
    """Check that each row stands once and its output is what it says: gives input → output."""
    found = list(read_rows(folder))
    assert len({row.input for row in found}) == len({row.output for row in found}) == len(found)
    for row in found:
        assert row.output
        assert hashlib.sha256((folder / row.output).read_bytes()).hexdigest() == row.output_sha256
    return {Path(row.input).name: row.output or "" for row in found}


def without_row(folder: Path) -> set[str]:
    """List outputs that nobody vouches for."""
    return {path.name for path in folder.glob("*.png")} - set(rows(folder).values())


def whole(machine: Machine, count: int = PHOTOS) -> None:
    """Check that a run is complete, and that nothing else lies in its folder."""
    place = machine.desk / "out"
    assert len(rows(place)) == count
    assert without_row(place) == set()
    assert sorted(path.name for path in place.iterdir() if path.suffix != ".png") == [
        ".manifest.jsonl.lock",
        "manifest.jsonl",
    ]
    assert len((place / "manifest.jsonl").read_bytes().splitlines()) == count


def test_killed_in_the_middle_and_taken_up(machine: Machine, here: Here) -> None:
    """FAULTS 12: what has a row is not done again; at most what was in hand is."""
    fill(machine)
    done: set[str] = set()
    for lines in (5, 30):
        run = Started(machine, "in", "-o", "out", "--resume", *FAST, program=[warm_crate()]).kept_waiting()
        assert run.read(lines)
        run.kill()
        assert done & {Path(name).name for name in run.inputs} == set()
        assert len(without_row(machine.desk / "out")) <= WORKERS
        done = set(rows(machine.desk / "out"))
    assert 35 <= len(done) < PHOTOS
    rest = here("segment", "in", "-o", "out", "--resume", "--jsonl", *FAST)
    assert rest.code == 0
    again = {Path(json.loads(line)["input"]).name for line in rest.lines}
    assert again == {f"{seed:03}.png" for seed in range(PHOTOS)} - done
    assert f"crate: {len(done)} photos were done before\n" in rest.err
    whole(machine)


def test_asked_to_end_and_taken_up(machine: Machine, here: Here) -> None:
    """FAULTS 12: what is in hand is finished, what is left is said."""
    fill(machine)
    before = 0
    for asked, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        run = Started(machine, "in", "-o", "out", "--resume", *FAST, program=[warm_crate()]).kept_waiting()
        assert run.read(5)
        run.process.send_signal(asked)
        ended, err = run.end()
        assert ended == code
        done = len(rows(machine.desk / "out"))
        assert len(run.inputs) == done - before < PHOTOS
        assert err.splitlines()[1] == "crate: finishing what is in hand; once more ends at once"
        left = PHOTOS - done
        told = f"crate: interrupted: {done} of {PHOTOS} photos done, {left} left; --resume goes on from here"
        assert told in err.splitlines()
        assert without_row(machine.desk / "out") == set()
        assert not list((machine.desk / "out").glob(".crate-*"))
        before = done
    assert here("segment", "in", "-o", "out", "--resume", *FAST).code == 0
    whole(machine)


def test_asked_twice_ends_at_once(machine: Machine) -> None:
    """Here while it waits for somebody to read its records, which would be for ever."""
    fill(machine)
    run = Started(machine, "in", "-o", "out", *FAST, program=[warm_crate()]).kept_waiting()
    assert run.process.stderr
    assert "nano" in run.process.stderr.readline()
    assert run.read(1)
    run.process.send_signal(signal.SIGINT)
    assert "once more ends at once" in run.process.stderr.readline()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(PATIENCE) == -signal.SIGINT
    assert run.end()[1] == ""


def test_two_processes_share_a_folder(machine: Machine) -> None:
    """FAULTS 13: every photo once, in one manifest, and both end well."""
    fill(machine)
    crates = ([warm_crate()], [warm_crate()])  # one may come late
    runs = [Started(machine, "in", "-o", "out", "--resume", *FAST, program=each) for each in crates]
    ends = ended(runs)
    assert [code for code, _ in ends] == [0, 0]
    assert len(runs[0].inputs) + len(runs[1].inputs) == PHOTOS
    assert len({*runs[0].inputs, *runs[1].inputs}) == PHOTOS
    whole(machine)
    if all(run.inputs for run in runs):  # they met
        assert sum("crate: another crate is at work on out/manifest.jsonl" in err for _, err in ends) == 1


STOPPING = """
import signal, threading
from pathlib import Path
from cratecli.cli.app import main
from cratecli.runs.ledger import Ledger
record = Ledger.record
def stopping(self, *given, **named):
    with self._threads:  # no other thread has the manifest locked
        Path("stopping").touch()
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread first, then all
    record(self, *given, **named)
Ledger.record = stopping
main()
"""
"""`crate`, which comes to a stop with photos in hand, when the first is about to be put on record."""


def test_who_is_killed_leaves_its_photos_to_the_other(machine: Machine) -> None:
    """FAULTS 13."""
    fill(machine)
    first = Started(machine, "in", "-o", "out", *FAST, program=[warm_python(), "-c", STOPPING])
    until((machine.desk / "stopping").exists)
    second = Started(machine, "in", "-o", "out", *FAST, program=[warm_crate()])
    assert second.read(PHOTOS // 2)
    assert second.process.poll() is None
    first.kill()
    assert second.end()[0] == 0
    whole(machine)


@pytest.fixture
def dice() -> Iterator[random.Random]:
    yield random.Random(0)


@pytest.mark.slow
def test_a_hundred_kills(machine: Machine, dice: random.Random) -> None:
    """FAULTS 12, 13: at random moments of a batch, every third time with a second process beside."""
    count = 400
    fill(machine, count)
    place = machine.desk / "out"
    kills = runs = orphans = again = vouched = 0
    while kills < 100:
        runs += 1
        started = [Started(machine, "in", "-o", "out", "--resume", *FAST) for _ in range(1 + (runs % 3 == 0))]
        before = set(rows(place)) if place.exists() and (place / "manifest.jsonl").exists() else set()
        alone = started[0].read(1)
        if alone:
            time.sleep(dice.uniform(0, 0.6))
        for run in started[: dice.randint(1, len(started))]:
            if run.process.poll() is None:
                run.process.kill()
                kills += 1
        ended(started)
        done = [Path(name).name for run in started for name in run.inputs]
        assert before & set(done) == set()  # what has a row is not done again
        assert len(set(done)) == len(done)
        orphans = max(orphans, len(list(place.glob(".crate-*"))))
        again = max(again, len(without_row(place)))
        vouched += len(set(rows(place)) - before)
        assert again <= 2 * WORKERS
        if len(rows(place)) == count:
            Started(machine, "in", "-o", "out", "--resume", *FAST).end()
            whole(machine, count)
            for path in place.iterdir():
                path.unlink()
    final = Started(machine, "in", "-o", "out", "--resume", *FAST)
    assert final.end()[0] == 0
    whole(machine, count)
    sys.stdout.write(
        f"{kills} kills in {runs} runs, {vouched} photos done; at most {again} outputs without a row and "
        f"{orphans} temporary files after a kill; none missing, none broken, no row twice at the end\n"
    )
