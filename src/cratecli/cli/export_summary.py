"""What an export says at its end: how much of the masks its format kept."""

import math
import sys

from cratecli.cli.console import printable
from cratecli.cli.report import Report
from cratecli.wording import count_of

WORST = 10  # photos in the table of lowest IoU


def sum_up(outcomes: list[tuple[str, float | None]], report: Report) -> None:
    """Print the photos with the lowest IoU, its mean and its minimum."""
    measured = sorted((iou, name) for name, iou in outcomes if iou is not None)
    photos = f"{count_of(len(outcomes), 'photo')} exported"
    if not measured:
        if outcomes:
            report.note(f"{photos}; pictures to look at have no IoU")
        return
    lowest, name = measured[0]
    if lowest == 1:
        report.note(f"{photos} and read again: nothing is lost, IoU 1")
        return
    _show([each for each in measured if each[0] < 1][:WORST])
    mean = _short(sum(iou for iou, _ in measured) / len(measured))
    report.note(f"{photos} and read again: IoU mean {mean}, lowest {_short(lowest)} ({name})")


def _short(iou: float) -> str:
    """Write four digits, rounded down, so that only a perfect IoU reads 1."""
    return f"{math.floor(iou * 10_000) / 10_000:.4f}"


def _show(rows: list[tuple[float, str]]) -> None:
    """Print the table of IoU on stderr; a closed stderr is no error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("IoU", justify="right")
    table.add_column("photo", overflow="fold")
    for iou, name in rows:
        table.add_row(_short(iou), Text(printable(name)))
    try:
        Console(file=sys.stderr).print(table)
    except (OSError, ValueError, AttributeError):
        return
