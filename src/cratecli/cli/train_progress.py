"""What a training run shows on stderr: a bar with loss and rate on a terminal, else a line each tenth of the way."""

from typing import TYPE_CHECKING

from cratecli.cli.console import printable, tell
from cratecli.cli.progress import drawn, somebody_looks

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from cratecli.training.records import MetricsRow


class TrainProgress:
    """The progress of a training run: a bar on a terminal, and lines."""

    def __init__(self, *, quiet: bool, progress: bool) -> None:
        """Draw a bar where `progress` is wanted and stderr is a terminal; `quiet` shows nothing at all."""
        self._quiet = quiet
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._told = (0, 0)  # tenths of so many steps
        if progress and not quiet and somebody_looks():
            self._progress = drawn("{task.fields[facts]}")
            self._task = self._progress.add_task("", total=None, facts="")

    def __enter__(self) -> "TrainProgress":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the bar away."""
        if self._progress:
            self._progress.stop()

    def note(self, text: str) -> None:
        """Write a line, unless quiet."""
        if self._quiet:
            return
        if self._progress and self._progress.live.is_started:
            self._progress.console.print(f"crate: {printable(text)}", markup=False, highlight=False)
        else:
            tell(text)

    def step(self, step: int, steps: int) -> None:
        """Move the bar, or write a line where another tenth is done."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=step, total=steps)
        elif (told := (10 * step // steps, steps)) != self._told:
            self._told = told
            self.note(f"{step:,} of {steps:,}")

    def row(self, row: "MetricsRow") -> None:
        """Show a row of metrics: the loss on the bar, measures as a line."""
        from cratecli.training.records import LossRow, MeasuresRow

        if isinstance(row, MeasuresRow):
            measures = ", ".join(f"{name} {value:.3f}" for name, value in row.measures.items())
            self.note(f"epoch {row.epoch:g}: {measures}")
        elif isinstance(row, LossRow) and self._progress and self._task is not None:
            facts = f"loss {row.loss:.3f}  lr {row.learning_rate:.2e}  {row.images_per_second:.0f} images/s"
            self._progress.update(self._task, facts=facts)
