"""A program and all that it starts, watched from outside: processor time, memory, and who can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from typing import IO

PAUSE = 0.2  # seconds between two looks
_TICKS = os.sysconf("SC_CLK_TCK")  # a second

DRIVER, CONDUCTOR, ACTOR, TASKS, ITSELF = "command", "conductor", "model worker", "task worker", "Ray itself"
KINDS = {
    DRIVER: "the command",
    CONDUCTOR: "what runs the pipeline",
    TASKS: "what reads, decodes and finishes",
    ACTOR: "what holds the model",
    ITSELF: "Ray itself",
}
"""The processes of a run, in words."""

TITLES = {"ray::Conductor": CONDUCTOR, "ray::MapWorker": ACTOR}
AGENTS = ("Agent", "ActorLocat")  # of Ray's own, in the titles of processes


@dataclass
class Process:
    """One process: seconds of the processors so far, and at most so many MB, all and not shared."""

    kind: str
    processor: float = 0.0
    peak: float = 0.0
    own: float = 0.0
    alive: bool = True


@dataclass
class Tree:
    """A process and all its descendants, those that were orphaned too, by their numbers and when they started."""

    root: int
    all: dict[tuple[int, int], Process] = field(default_factory=dict)

    def look(self) -> None:
        """Look at all of them once."""
        found: dict[int, tuple[int, int, float]] = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "stat").read_text().rpartition(")")[2].split()
                if words[0] != "Z":
                    spent = (int(words[11]) + int(words[12])) / _TICKS
                    found[int(place.name)] = int(words[1]), int(words[19]), spent
        ours = {pid for pid, started in self.all if pid in found and found[pid][1] == started}
        ours |= {self.root} & found.keys()
        while more := {pid for pid, (parent, *_) in found.items() if parent in ours} - ours:
            ours |= more
        for key, each in self.all.items():
            each.alive = key[0] in ours
        for pid in ours:
            _, started, spent = found[pid]
            process = self.all.setdefault((pid, started), Process(ITSELF))
            process.processor = spent
            with suppress(OSError, KeyError):
                process.kind = self._kind(pid, process.kind)
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                status = dict(line.split(":", 1) for line in lines)
                process.peak, now = (int(status[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon"))
                process.own = max(process.own, now)

    def _kind(self, pid: int, before: str) -> str:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if pid == self.root:
            return DRIVER
        if before in TITLES.values() or any(each in title for each in AGENTS):
            return before
        later = next((kind for start, kind in TITLES.items() if title.startswith(start)), before)
        return TASKS if later == ITSELF and title.startswith("ray::") else later

    def processor(self, *kinds: str) -> float:
        """Add up the seconds of processes of some kinds; of all without any."""
        return sum(each.processor for each in self.all.values() if each.kind in kinds or not kinds)

    def largest(self, kind: str) -> tuple[float, float]:
        """Give what the largest process of a kind held at most, MB: all, and not shared."""
        some = [each for each in self.all.values() if each.kind == kind]
        return max((each.peak for each in some), default=0.0), max((each.own for each in some), default=0.0)

    def living(self, *kinds: str) -> list[int]:
        """List the processes of some kinds that live; of all kinds without any."""
        return [
            pid for (pid, _), each in self.all.items() if each.alive and (each.kind in kinds or not kinds)
        ]


@dataclass(frozen=True)
class Run:
    """A program that came to an end."""

    code: int
    clock: float
    tree: Tree
    lines: list[str]
    said: str


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    line: Callable[[str, Tree], None] = lambda _line, _tree: None,
) -> Run:
    """Run `crate` with some arguments, and watch it; `line` gets each line of its output as it comes.

    What it started and left behind, as after a kill, is waited for, and after a minute ended.
    """
    command = [sys.executable, "-m", "cratecli", *arguments]
    start = time.perf_counter()
    lines: list[str] = []
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        tree, ended = Tree(process.pid), Event()

        def watch() -> None:
            while not ended.is_set():
                tree.look()
                ended.wait(PAUSE)

        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        try:
            for each in _lines_of(process.stdout):
                lines.append(each)
                line(each, tree)
            code = process.wait()
        finally:
            clock = time.perf_counter() - start
            ended.set()
            watcher.join()
            _end(tree)
        said.seek(0)
        return Run(code, clock, tree, lines, said.read())


def _lines_of(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ValueError("the process has no pipe")
    return stream


def _end(tree: Tree) -> None:
    """Wait for what is left of a program, and end what stays."""
    for _ in range(300):
        tree.look()
        if not tree.living():
            return
        time.sleep(PAUSE)
    for pid in tree.living():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
