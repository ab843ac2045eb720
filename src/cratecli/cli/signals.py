"""Being asked to end: the first SIGINT or SIGTERM lets what is in hand be finished, the second does not."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cratecli.cli.console import tell

_ASKING = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the run was asked to end, by which signal, and whether it is at rest."""

    signal: int | None = None
    resting: bool = False

    def __call__(self) -> bool:
        """Tell whether to end."""
        return self.signal is not None

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Say that nothing is in hand in the block: being asked to end, the program ends there at once."""
        self.resting = True
        try:
            if self():  # asked between two looks
                raise SystemExit(self.exit_code)
            yield
        finally:
            self.resting = False

    @property
    def exit_code(self) -> int:
        """Give the shell's code for the signal: 130 or 143."""
        return 128 + (self.signal or 0)


def _show_cursor() -> None:
    """Give the terminal back what the bar hides."""
    with suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\x1b[?25h")


@contextmanager
def finishing(stop: Stop | None = None) -> Iterator[Stop]:
    """Take the signals for the block, and note them in `stop`; a thread that may not take any just runs on."""
    stop = stop or Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop():
            _show_cursor()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.signal = number
        if stop.resting:
            raise SystemExit(stop.exit_code)
        tell("finishing what is in hand; once more ends at once")

    before = {each: signal.signal(each, ask) for each in _ASKING}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
