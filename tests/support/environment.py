"""What a process inherits from the one that starts it, chosen by the tests: variables, signals, umask, open streams."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_WINDOWS = (
    ("COMSPEC", "PATHEXT", "SYSTEMROOT", "TEMP", "TMP", "WINDIR", "PYTHONUTF8") if os.name == "nt" else ()
)
KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "CRATE_FUZZ", *_WINDOWS)
"""The variables that are the machine's, where its programs, libraries and temporary files are; and ours for fuzzing."""


def environment(home: Path) -> dict[str, str]:
    """List all variables of a process whose user has a home of their own, and no settings."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "HOME": str(home),
        **({"USERPROFILE": str(home)} if os.name == "nt" else {}),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",  # what is tested is small
        "OPENBLAS_NUM_THREADS": "1",
    }


def forget_variables() -> None:
    """Leave this process the variables that are listed, before it imports what reads others, and pytest's own."""
    listed = environment(Path(os.devnull)) | {"COLUMNS": "80", "LINES": "24"}
    for name in list(os.environ):
        if name not in listed and not name.startswith("PYTEST_"):
            del os.environ[name]
    os.environ.update(listed)
    if hasattr(time, "tzset"):
        time.tzset()


@contextmanager
def inheriting_nothing() -> Iterator[None]:
    """Give this process, and all that it starts in the block, signals, umask and stdin that are known."""
    if not _is_open(0):
        os.open(os.devnull, os.O_RDONLY)  # takes the lowest number that is free
    handlers = {each: signal.getsignal(each) for each in _ignored()}
    for each in handlers:
        signal.signal(each, _ignore)
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    for each, handler in handlers.items():
        signal.signal(each, handler)


def _ignored() -> Iterator[signal.Signals]:
    """Find the signals that whoever started this process had it ignore, as the background of a shell script does."""
    names = ("SIGPIPE", "SIGXFSZ")  # which Python ignores, and `subprocess` gives back; Windows has neither
    python_ignores = {getattr(signal, name) for name in names if hasattr(signal, name)}
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
