"""What a training run shows on stderr: a bar with loss and rate on a terminal, a line for each measure everywhere."""

from typing import TYPE_CHECKING, Any

from cratecli.cli.console import printable, tell
from cratecli.cli.progress import drawn, somebody_looks

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SHOWN = {"loss": "loss {:.3f}", "learning_rate": "lr {:.2e}", "images_per_second": "{:.0f} images/s"}
_HIDDEN = {"step", "epoch", "seconds", "judged_in", *_SHOWN}


class TrainView:
    """A bar, where a terminal looks, and lines."""

    def __init__(self, *, quiet: bool, progress: bool) -> None:
        """Choose what is shown."""
        self._quiet = quiet
        self._progress: Progress | None = None
        if progress and not quiet and somebody_looks():
            self._progress = drawn("{task.fields[facts]}")
            self._task: TaskID = self._progress.add_task("", total=None, facts="")

    def __enter__(self) -> "TrainView":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the bar away."""
        if self._progress:
            self._progress.stop()

    def note(self, text: str) -> None:
        """Say a line, unless all shall be quiet."""
        if self._quiet:
            return
        if self._progress and self._progress.live.is_started:
            self._progress.console.print(f"crate: {printable(text)}", markup=False, highlight=False)
        else:
            tell(text)

    def step(self, step: int, steps: int) -> None:
        """Move the bar."""
        if self._progress:
            self._progress.update(self._task, completed=step, total=steps)

    def row(self, row: dict[str, Any]) -> None:
        """Show a row of metrics: losses on the bar, measures as a line."""
        facts = "  ".join(how.format(row[name]) for name, how in _SHOWN.items() if name in row)
        measures = {name: value for name, value in row.items() if name not in _HIDDEN}
        if self._progress and "loss" in row:
            self._progress.update(self._task, facts=facts)
        if "step" in row and measures and "sha256" not in row:
            told = ", ".join(f"{name} {value:.3f}" for name, value in measures.items())
            self.note(f"epoch {row['epoch']:g}: {told}")
