"""What a process inherits from the one that starts it, chosen by the tests: variables, signals, umask, open streams."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""The variables that are the machine's: where its programs, libraries and temporary files are."""


def environment(home: Path) -> dict[str, str]:
    """List all variables of a process whose user has a home of their own, and no settings."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",  # what is tested is small
        "OPENBLAS_NUM_THREADS": "1",
    }


@contextmanager
def inheriting_nothing(home: Path) -> Iterator[None]:
    """Give this process, and all that it starts in the block, variables, signals, umask and stdin that are known."""
    if not _is_open(0):
        os.open(os.devnull, os.O_RDONLY)  # takes the lowest number that is free
    handlers = {each: signal.getsignal(each) for each in _ignored()}
    for each in handlers:
        signal.signal(each, _ignore)
    umask = os.umask(0o022)
    variables = environment(home) | {"COLUMNS": "80", "LINES": "24"}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if not name.startswith("PYTEST_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        time.tzset()
        yield
    time.tzset()
    os.umask(umask)
    for each, handler in handlers.items():
        signal.signal(each, handler)


def _ignored() -> Iterator[signal.Signals]:
    """Find the signals that whoever started this process had it ignore, as the background of a shell script does."""
    python_ignores = {signal.SIGPIPE, signal.SIGXFSZ}  # and `subprocess` gives back
    for each in signal.valid_signals() - python_ignores:
        if signal.getsignal(each) is signal.SIG_IGN:
            yield signal.Signals(each)


def _ignore(*_: object) -> None:
    """Go on ignoring a signal: a program that is started inherits what is ignored, but not what is handled."""


def _is_open(descriptor: int) -> bool:
    with suppress(OSError):
        os.fstat(descriptor)
        return True
    return False
