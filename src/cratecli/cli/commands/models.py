"""`crate models`: list, download, add and verify checkpoints, and choose the default. Imports no torch."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli.commands import models_export
from cratecli.cli.commands.add import add, complete_name
from cratecli.cli.commands.push import push
from cratecli.cli.console import put, stdout_is_terminal, tell
from cratecli.errors import WeightsError

if TYPE_CHECKING:
    from cratecli.weights.download import OnBytes
    from cratecli.weights.listing import ModelRecord
    from cratecli.weights.registry import Checkpoint

app = typer.Typer(help="List, download, add and verify models, and choose the default.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model of the list.", autocompletion=complete_name)
]
MaybeName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="A model of the list.", autocompletion=complete_name)
]


app.command("export")(models_export.export)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records, not a table.")] = False,
) -> None:
    """List the models, and which of them are on this machine."""
    from cratecli.weights import listing, registry

    models = listing.list_models()
    if as_json:
        put([json.dumps([model.model_dump() for model in models], indent=2)])
        return
    put([_table(models)])
    if not any(model.default for model in models):
        tell(f"the default model is {registry.default_name()}, which is not of the list")


def _table(models: "list[ModelRecord]") -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("", "name", "size", "licence", "pinned", "here", "architecture"):
        table.add_column(
            title, justify="right" if title == "size" else "left", no_wrap=title != "architecture"
        )
    for model in models:
        cells = [
            "*" if model.default else "",
            model.name,
            _size(model),
            model.licence or "?",
            "yes" if model.pinned else "-",
            "yes" if model.path else "-",
            _short(model),
        ]
        table.add_row(*map(Text, cells))
    terminal = bool(stdout_is_terminal())
    page = StringIO()
    console = Console(file=page, force_terminal=terminal, width=None if terminal else 200)
    notes = (Text(f"{model.name}: {model.note}") for model in models if model.note)
    console.print(table, "", *notes, sep="\n", end="")
    return page.getvalue()


@app.command()
def path(name: Name) -> None:
    """Print where a model's file is on this machine."""
    from cratecli.weights import fetch, registry

    put([str(fetch.present(registry.load_registry().find(name)))])


@app.command()
def verify(name: MaybeName = None) -> None:
    """Hash a model's file, or all on this machine, and compare with the registry."""
    from cratecli.weights import fetch, registry

    known = registry.load_registry()
    chosen = [known.find(name)] if name is not None else list(known.checkpoints.values())
    files = [(row, fetch.present(row) if name else fetch.locate(row)) for row in chosen]
    refused: list[Checkpoint] = []
    for row, file in files:
        if file is not None:
            check = fetch.examine(row, file)
            put([f"{row.name}\t{check.sha256}\t{check.fault or 'ok'}"])
            refused += [row] if check.fault else []
    if refused:
        names = ", ".join(row.name for row in refused)
        raise WeightsError(f"not as registered: {names}; {fetch.remedy(refused[0])}")


@app.command()
def pull(
    name: Name,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network: the file must be here.")
    ] = False,
) -> None:
    """Download a model, unless a sound copy is on this machine, and print its path.

    `hf:OWNER/NAME[@REVISION]` is any CRATE on the Hub: the first time, its commit and hash are pinned in your registry.
    """
    from cratecli.weights.hub import pull_by_name

    with _progress(name) as watch:
        file = pull_by_name(name, watch, offline=offline, note=tell)
    put([str(file)])


app.command()(add)
app.command()(push)


@app.command()
def default(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]",
            help="A model of the list, or a checkpoint or ONNX file.",
            autocompletion=complete_name,
        ),
    ] = None,
) -> None:
    """Print the default model, or choose another: what every command takes that is given no `-m`.

    A file is loaded once, to see that it is a model. An ONNX file answers what `-m FILE.onnx` does.
    """
    from cratecli.weights import fetch, loading, registry

    known = registry.load_registry()
    if name is not None and name not in known.checkpoints and Path(name).is_file():
        loading.load(name)
        registry.set_default(str(Path(name).resolve()))
    elif name is not None:
        checkpoint = known.find(name)
        registry.set_default(checkpoint.name)
        if fetch.locate(checkpoint) is None:
            tell(f"{name} is not on this machine yet; run: crate models pull {name}")
    if name is not None and environ.get("CRATE_MODEL", name) != name:
        tell(f"CRATE_MODEL is set and goes before: {environ['CRATE_MODEL']}")
    put([registry.default_name()])


def _short(model: "ModelRecord") -> str:
    """Shorten an architecture's name to the part that differs from others of the list."""
    return re.sub(r"^(?:timm:|crate_)|patch|_224", "", model.architecture)


def _size(model: "ModelRecord") -> str:
    from rich.filesize import decimal

    if model.bytes is not None:
        return decimal(model.bytes)
    return f"~{decimal(model.approximate_bytes)}" if model.approximate_bytes is not None else "?"


@contextmanager
def _progress(name: str) -> "Iterator[Callable[[Checkpoint], OnBytes]]":
    """Draw a progress bar on stderr, when that is a terminal; yields what gives the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:

        def watch(checkpoint: "Checkpoint") -> "OnBytes":
            guess = checkpoint.bytes or checkpoint.approximate_bytes
            task = progress.add_task(name, total=guess)
            return lambda done, total: progress.update(task, completed=done, total=total or guess)

        yield watch
