"""Stderr for our lines alone: what libraries write there past us goes nowhere. Stdout for any character."""

import codecs
import faulthandler
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

STDERR = 2


@contextmanager
def only_our_words() -> Iterator[None]:
    """Turn file descriptor 2 away for as long as a run lasts, and let `sys.stderr` still reach the user.

    libtiff, libjpeg and others write there themselves, about files of which we say all there is to say. Where
    stderr is closed its place is held, or the next file that is opened would get their words.
    Pillow's warnings, which are for its callers, are silenced; Python's own, and tracebacks, are not.
    Should a library end the process (an abort of C++, a failed assert of CUDA), Python says where the program was;
    `python -X dev -m cratecli` shows what the library said.
    """
    if sys.flags.dev_mode:
        yield
        return
    warnings.filterwarnings("ignore", module=r"PIL\.")
    before = sys.stderr
    with suppress(OSError, AttributeError):
        before.flush()
    kept = _duplicate()
    _turn_away()
    words = _speaking_through(kept, before)
    if words is not None:
        sys.stderr = words
        faulthandler.enable(words)
    try:
        yield
    finally:
        sys.stderr = before
        if words is not None:
            faulthandler.disable()
        if kept is None:
            os.close(STDERR)
        else:
            os.dup2(kept, STDERR)
            with suppress(OSError):  # a full disk has been met before; the descriptor is closed all the same
                os.close(kept) if words is None else words.close()


@contextmanager
def any_character() -> Iterator[None]:
    """Let stdout write `?` for characters that its encoding lacks (τ in cp1252), instead of raising."""
    stdout = sys.stdout
    if not isinstance(stdout, io.TextIOWrapper) or codecs.lookup(stdout.encoding).name == "utf-8":
        yield
        return
    before = stdout.errors
    stdout.reconfigure(errors="replace")
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            stdout.reconfigure(errors=before)


def _duplicate() -> int | None:
    try:
        return os.dup(STDERR)
    except OSError:  # closed
        return None


def _turn_away() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != STDERR:
        os.dup2(nowhere, STDERR)
        os.close(nowhere)


def _speaking_through(descriptor: int | None, like: TextIO | None) -> TextIO | None:
    """Open a text stream like another on the descriptor, if that other one stands on stderr's own."""
    try:
        if descriptor is None or like is None or like.fileno() != STDERR:
            return None
    except (OSError, ValueError):  # a stream without a descriptor: a notebook's, a test's
        return None
    return open(descriptor, "w", buffering=1, encoding=like.encoding, errors=like.errors)  # noqa: PTH123 - no path, a descriptor
