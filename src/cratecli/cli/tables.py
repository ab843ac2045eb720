"""Evaluations as a table for people, as Markdown, and as JSON. Imports no torch."""

import json
import math
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from cratecli.cli.console import printable, stdout_is_terminal
from cratecli.wording import count_of

if TYPE_CHECKING:
    from cratecli.evaluation.result import Evaluation, Measure, ResultRow

PERCENT = ("voc", "coco")  # protocols whose numbers the papers give in percent
WIDE = 200  # columns of a table that goes to no terminal


def as_json(evaluations: "Sequence[Evaluation]") -> str:
    """Write an array of `EvaluationRecord`, one a model."""
    records = [each.as_record().as_data() for each in evaluations]
    return json.dumps(records, indent=2, ensure_ascii=False)


def as_table(evaluations: "Sequence[Evaluation]") -> str:
    """Draw a block of rows a model, and under them how the numbers were computed."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = bool(stdout_is_terminal())
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = _columns(evaluations)
    for place, title in enumerate(columns):
        table.add_column(title, justify="left" if place < 2 else "right", overflow="fold")
    for each in evaluations:
        for place, cells in enumerate(_cells(each, columns)):
            model = cells[0] if place == 0 else ""
            shown = [printable(cell) for cell in (model, *cells[1:])]
            if terminal:  # which may be narrow: intervals are then broken between their numbers
                shown[2:] = [cell.replace("–", " – ") for cell in shown[2:]]
            table.add_row(*map(Text, shown))
    page = StringIO()
    console = Console(file=page, force_terminal=terminal, width=None if terminal else WIDE)
    lines = (Text(printable(line)) for line in ("", *_explained(evaluations)))
    console.print(table, *lines, sep="\n", end="")
    return page.getvalue()


def as_markdown(evaluations: "Sequence[Evaluation]") -> str:
    """Write the same as a Markdown table, and a list."""
    columns = _columns(evaluations)
    numbers = "---:|" * (len(columns) - 2)
    lines = [_line(columns), f"|---|---|{numbers}"]
    lines += [_line(cells) for each in evaluations for cells in _cells(each, columns)]
    return "\n".join([*lines, "", *(f"- {printable(line)}" for line in _explained(evaluations))])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"


def _columns(evaluations: "Sequence[Evaluation]") -> list[str]:
    """Name the columns: the layer where rows are of one, the paper's numbers where there are any."""
    rows = [row for each in evaluations for row in each.rows]
    layer = ["layer"] if any(row.layer is not None for row in rows) else []
    paper = ["paper"] if any(measure.paper is not None for row in rows for measure in row.measures) else []
    unit = " %" if evaluations[0].protocol in PERCENT else ""
    return ["model", "", *layer, *(f"{measure.name}{unit}" for measure in rows[0].measures), *paper]


def _cells(evaluation: "Evaluation", columns: Sequence[str]) -> Iterator[list[str]]:
    """Give the cells of a model's rows."""
    percent = evaluation.protocol in PERCENT
    model = _name(evaluation) or "a model without a name"
    for row in evaluation.rows:
        layer = [str(row.layer)] if "layer" in columns else []
        paper = [_paper(row, percent=percent)] if "paper" in columns else []
        yield [model, row.name, *layer, *(_shown(each, percent=percent) for each in row.measures), *paper]


def _name(evaluation: "Evaluation") -> str:
    """Name the model that was asked, or the run that was judged, and its model."""
    model = evaluation.weights.name if evaluation.weights else ""
    if evaluation.run is None:
        return model
    return f"{evaluation.run} ({model})" if model else evaluation.run


def _shown(measure: "Measure", *, percent: bool) -> str:
    value, low, high = (_number(each, percent) for each in (measure.value, measure.low, measure.high))
    return value if math.isnan(measure.low) else f"{value} ({low}–{high})"


def _paper(row: "ResultRow", *, percent: bool) -> str:
    """Give the paper's numbers in the order of the columns."""
    return " / ".join(_number(each.paper, percent) for each in row.measures if each.paper is not None)


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"


def _explained(evaluations: "Sequence[Evaluation]") -> Iterator[str]:
    """Say what was evaluated and how; what holds for all models once."""
    for each in evaluations:
        name = f"{_name(each)}: " if _name(each) and len(evaluations) > 1 else ""
        failed = f", {each.failed} could not be evaluated" if each.failed else ""
        yield f"{name}{count_of(each.photos, 'photo')} of {each.data}{failed}; {each.recipe}"
    yield from dict.fromkeys(note for each in evaluations for note in each.notes)
