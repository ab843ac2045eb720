"""Processes forked from one that has imported torch and the tool: they start at once, and can be killed."""

import atexit
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["cratecli.cli.app", "cratecli.training.train", "pytest"])
_NUMBERS = count()
_PATIENCE = 300.0  # seconds, after which a process that should have ended is stuck


class Ended(NamedTuple):
    """The exit code of a process, negative for a signal, and what it wrote."""

    code: int
    out: str
    err: str


class Forked:
    """A running process, the leader of a session of its own, with default signal handlers."""

    def __init__(self, folder: Path, target: Callable[..., object], *arguments: Any, err: str = "") -> None:
        """Call a function in `folder`, with stdout and stderr in files beside it, or stderr at the path `err`."""
        name = f"{folder}-{next(_NUMBERS)}"
        self._streams = Path(f"{name}.out"), Path(err or f"{name}.err")
        self._process: BaseProcess = _FORKS.Process(
            target=_call, args=(folder, self._streams, target, arguments)
        )
        self._process.start()
        atexit.register(self._process.kill)  # where a test failed and left it

    @property
    def pid(self) -> int:
        """Give the process's number, which is that of its group too."""
        assert self._process.pid
        return self._process.pid

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds. Fails where the process ends before."""
        while not condition():
            self._process.join(0.01)
            assert self._process.exitcode is None, self.wait()

    def wait(self) -> Ended:
        """Wait for the end of the process."""
        self._process.join(_PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        out, err = (path.read_text() if path.is_file() else "" for path in self._streams)
        assert self._process.exitcode is not None
        return Ended(self._process.exitcode, out, err)


def fork_crate(folder: Path, environment: dict[str, str], *arguments: str, err: str = "") -> Forked:
    """Run `crate` in a folder."""
    return Forked(folder, _crate, environment, arguments, err=err)


def _call(
    folder: Path, streams: tuple[Path, Path], target: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    default, *_ = multiprocessing.get_all_start_methods()
    multiprocessing.set_start_method(default, force=True)  # for processes that it starts itself
    os.setsid()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
    os.chdir(folder)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)  # timm leaves the closing of files to the collector
    target(*arguments)


def _crate(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    from cratecli.cli.app import main

    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["crate", *arguments]
    main()
