"""`crate doctor`: what is wrong on this machine, and what to do. Loads torch, to see whether it loads."""

import json
from io import StringIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cratecli.cli import options
from cratecli.cli.console import printable, put, stdout_is_terminal

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(*, json_: options.Json = False) -> None:
    """Check versions, device, folders, models and settings, and say what is wrong and what to do.

    Uses no network. Ends with 1 when there is a problem; a warning is none.
    """
    from cratecli.doctor.diagnose import diagnose

    findings = diagnose()
    if json_:
        put([json.dumps([finding.model_dump() for finding in findings], indent=2)])
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
        for finding in findings:
            level = Text(finding.level, style=_STYLES[finding.level])
            text = Text(printable(finding.text), overflow="fold")
            table.add_row(level, Text(printable(finding.name)), text)
        terminal = bool(stdout_is_terminal())
        page = StringIO()
        width = None if terminal else max(len(finding.text) for finding in findings) * 4 + 99
        Console(file=page, force_terminal=terminal, width=width).print(table)
        put([line.rstrip() for line in page.getvalue().splitlines()])
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)
