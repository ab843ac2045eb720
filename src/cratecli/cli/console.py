"""The two streams: data on stdout, our own lines on stderr, and nothing that could steer a terminal."""

import os
import stat
import sys
from collections.abc import Sequence
from typing import Literal

from cratecli.errors import InputError, OutputError


def printable(text: str) -> str:
    """Escape what could steer a terminal or break a line: control characters and undecodable bytes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def tell(text: str) -> None:
    """Say one line on stderr; a closed stderr is no error."""
    try:
        sys.stderr.write(f"crate: {printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError, RuntimeError):  # RuntimeError: a signal came while we wrote
        return


def put(lines: Sequence[str | bytes]) -> None:
    """Write to stdout at once: text as lines, bytes as they are; a closed stdout takes nothing.

    A reader that has left ends the program with 141. Raises `OutputError` when stdout cannot be written.
    """
    if sys.stdout is None:
        return
    try:
        for line in lines:
            sys.stdout.buffer.write(line if isinstance(line, bytes) else _encoded(line) + b"\n")
        sys.stdout.flush()
    except OSError as error:
        forget_stdout()
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from None


def _encoded(text: str) -> bytes:
    """Encode as the system does file names, so that those are as they are; `?` stands for what that cannot write."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # λ in a table, where the locale is ASCII
        return text.encode(sys.getfilesystemencoding(), "replace")


def shown(written: Sequence[str | bytes]) -> list[str | bytes]:
    """Prepare paths for `put`: on a terminal, what could steer it is escaped."""
    safe = bool(stdout_is_terminal())
    return [printable(each) if safe and isinstance(each, str) else each for each in written]


def forget_stdout() -> None:
    """Throw away what stdout still holds, so that the exit does not try to write it again."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stdout_is_terminal() -> bool | None:
    """Tell whether stdout is a terminal; `None` when it is closed."""
    return None if sys.stdout is None else sys.stdout.isatty()


def stdout_kind() -> Literal["data", "terminal", "other", "closed"]:
    """Tell what stdout is: a pipe or a file, for data; a terminal; or another, a device or a socket, maybe a log's."""
    if sys.stdout is None:
        return "closed"
    if sys.stdout.isatty():
        return "terminal"
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # a notebook's stream has no descriptor
        return "other"
    return "data" if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else "other"


def stdin_bytes(most: int | None = None) -> bytes:
    """Read stdin to its end, or one byte past `most`; a closed one is empty. Raises `InputError`."""
    try:
        return b"" if sys.stdin is None else sys.stdin.buffer.read(-1 if most is None else most + 1)
    except OSError as error:
        raise InputError(f"standard input: cannot be read: {error.strerror}") from None
