"""How far a run is, on stderr, where that is a terminal."""

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from cratecli.cli.console import printable, stdout_is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def somebody_looks() -> bool:
    """Tell whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class Bar:
    """A bar with the rate, what remains and what failed; nothing, where nobody looks."""

    def __init__(self, total: int | None, *, wanted: bool) -> None:
        """Draw it for `total` photos, if it is wanted, not one, and stderr is a terminal; it may not be known."""
        self._progress: Progress | None = None
        if wanted and (total is None or total > 1) and somebody_looks():
            self._progress = drawn("{task.fields[rate]}", "[red]{task.fields[failed]}")
            self._task: TaskID = self._progress.add_task("", total=total, rate="", failed="")
        self._failed = 0

    def __enter__(self) -> "Bar":
        (self._progress or nullcontext()).__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        """Take it away."""
        if self._progress:
            self._progress.__exit__(None, None, None)

    def step(self, *, failed: bool = False, skipped: bool = False) -> None:
        """Count a photo; one that was skipped says nothing of the rate."""
        if self._progress is None:
            return
        self._failed += failed
        task = next(each for each in self._progress.tasks if each.id == self._task)
        if skipped and task.total:
            self._progress.update(self._task, total=task.total - 1)
            return
        rate = f"{task.speed:.1f} photos/s" if task.speed else ""
        self._progress.update(
            self._task, advance=1, rate=rate, failed=f"{self._failed} failed" if self._failed else ""
        )

    def show(self, text: str) -> bool:
        """Print a line of stdout above the bar, where both are on one terminal; tell whether it was done."""
        if self._progress is None or not stdout_is_terminal():
            return False
        self._progress.console.print(printable(text), markup=False, highlight=False)
        return True


def drawn(*facts: str) -> "Progress":
    """Make a bar on stderr with a count, what remains, and these fields of its task, in rich's markup."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    first, *others = (TextColumn(fact) for fact in facts)
    columns = BarColumn(), MofNCompleteColumn(), first, TimeRemainingColumn(compact=True), *others
    console = Console(stderr=True, soft_wrap=True)  # what is said above the bar is not cut into lines
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)
