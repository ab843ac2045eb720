"""`crate models`: list, download, add and verify checkpoints, and choose the default. Imports no torch."""

import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli.commands import models_export
from cratecli.cli.console import put, stdout_is_terminal, tell
from cratecli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from cratecli.model.config import CrateConfig
    from cratecli.weights.download import OnBytes
    from cratecli.weights.listing import ModelRecord
    from cratecli.weights.registry import Checkpoint

app = typer.Typer(help="List, download, add and verify models, and choose the default.", no_args_is_help=True)

_SIZES = ("patch_size", "width", "depth", "attention", "sparsifier", "stem", "output_bias", "pre_logits")
"""The fields in which a file must agree with the architecture it is added as."""


def _complete(incomplete: str) -> list[str]:
    from cratecli.weights.registry import load_registry

    return [name for name in load_registry().names if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of the list.", autocompletion=_complete)]
MaybeName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="A model of the list.", autocompletion=_complete)
]


app.command("export")(models_export.export)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records, not a table.")] = False,
) -> None:
    """List the models, and which of them are on this machine."""
    from cratecli.weights import listing

    models = listing.list_models()
    if as_json:
        put([json.dumps([model.model_dump() for model in models], indent=2)])
    else:
        put([_table(models)])


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
    """Download a model, unless a sound copy is on this machine, and print its path."""
    from cratecli.weights.pull import pull
    from cratecli.weights.registry import load_registry

    checkpoint = load_registry().find(name)
    with _progress(checkpoint) as on_bytes:
        file = pull(checkpoint, on_bytes, offline=offline)
    put([str(file)])


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint file you have.")],
    name: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAME", help="A model of the list, or a new name.", autocompletion=_complete
        ),
    ],
    *,
    architecture: Annotated[
        str | None,
        typer.Option(metavar="A", help="For a new name: a named architecture, or timm:NAME, a ViT."),
    ] = None,
    heads: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="For a new name without --architecture: its heads.")
    ] = None,
    step_size: Annotated[
        float | None, typer.Option(min=0, metavar="η", help="For a new name: η of ISTA.")
    ] = None,
    sparsity_weight: Annotated[
        float | None, typer.Option(min=0, metavar="λ", help="For a new name: λ of ISTA.")
    ] = None,
) -> None:
    """Add a checkpoint file you have: verify it, copy it, and print the copy's path."""
    from cratecli.weights import fetch, registry
    from cratecli.weights.rows import CUSTOM, TIMM, Local

    if not file.is_file():
        raise UsageError(f"{file}: {'not a file' if file.exists() else 'no such file'}")
    known = registry.load_registry()
    if name in known.names:
        if any(value is not None for value in (architecture, heads, step_size, sparsity_weight)):
            raise UsageError(
                f"{name} is registered with its architecture and constants: give FILE and --as only"
            )
        checkpoint = known.find(name)
        copy = fetch.install(file, checkpoint)
    else:
        registry.check_name(name)
        if architecture is not None and architecture.startswith(TIMM):
            config = None
            _check_vit(file, name, architecture, (heads, step_size, sparsity_weight))
        else:
            config = _config(file, architecture, heads, step_size, sparsity_weight)
        size, sha256 = fetch.fingerprint(file)
        suffix = file.suffix if file.suffix[1:].isalnum() and file.suffix.isascii() else ""
        place = Local(f"models/{name}/weights{suffix}")
        checkpoint = registry.Checkpoint(
            name, architecture or CUSTOM, config, place, bytes=size, sha256=sha256
        )
        copy = fetch.install(file, checkpoint)
        registry.save_checkpoint(checkpoint)
    put([str(copy)])


@app.command()
def default(name: MaybeName = None) -> None:
    """Print the default model's name, or choose another."""
    from cratecli.weights import fetch, registry

    if name is not None:
        checkpoint = registry.load_registry().find(name)
        registry.set_default(checkpoint.name)
        if fetch.locate(checkpoint) is None:
            tell(f"{name} is not on this machine yet; run: crate models pull {name}")
        if environ.get("CRATE_MODEL", name) != name:
            tell(f"CRATE_MODEL is set and goes before: {environ['CRATE_MODEL']}")
    put([registry.default_name()])


def _check_vit(file: Path, name: str, architecture: str, constants: tuple[float | None, ...]) -> None:
    """Check that a file holds a ViT of timm's. Raises `UsageError` and `WeightsError`."""
    from cratecli.weights.rows import check_architecture

    if constants != (None, None, None):
        raise UsageError("a ViT of timm has its own heads, and no η or λ: leave their options out")
    try:
        check_architecture(architecture)
    except ValueError as error:
        raise UsageError(f"--architecture {architecture} {error}") from None
    from cratecli.weights.checkpoint import check_vit

    check_vit(file, architecture, name)


def _config(
    file: Path,
    architecture: str | None,
    heads: int | None,
    step_size: float | None,
    sparsity_weight: float | None,
) -> "CrateConfig":
    """Read a file's config, and compare it with the named architecture."""
    from cratecli.model.config import ARCHITECTURES

    if architecture is not None and architecture not in ARCHITECTURES:
        raise UsageError(
            f"no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}, and timm:NAME"
        )
    if architecture is not None and heads is not None:
        raise UsageError("--architecture says how many heads: leave out --heads")
    for option, value in (("--step-size", step_size), ("--sparsity-weight", sparsity_weight)):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{option} is {value}, not a number")
    from cratecli.weights.checkpoint import read_config

    if architecture is None:
        return read_config(file, heads, step_size, sparsity_weight)
    named = ARCHITECTURES[architecture]
    step_size = named.step_size if step_size is None else step_size
    sparsity_weight = named.sparsity_weight if sparsity_weight is None else sparsity_weight
    read = read_config(file, named.heads, step_size, sparsity_weight)
    unfit = [
        f"{part} {getattr(read, part)}, not {getattr(named, part)}"
        for part in _SIZES
        if getattr(read, part) != getattr(named, part)
    ]
    if unfit:
        raise WeightsError(f"{file} is no {architecture}: {'; '.join(unfit)}")
    return replace(
        named,
        image_size=read.image_size,
        classes=read.classes,
        step_size=step_size,
        sparsity_weight=sparsity_weight,
    )


def _short(model: "ModelRecord") -> str:
    """Shorten an architecture's name to the part that differs from others of the list."""
    return re.sub(r"^(?:timm:|crate_)|patch|_224", "", model.architecture)


def _size(model: "ModelRecord") -> str:
    from rich.filesize import decimal

    if model.bytes is not None:
        return decimal(model.bytes)
    return f"~{decimal(model.approximate_bytes)}" if model.approximate_bytes is not None else "?"


@contextmanager
def _progress(checkpoint: "Checkpoint") -> "Iterator[OnBytes]":
    """Draw a progress bar on stderr, when that is a terminal, and yield the function that moves it."""
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
        guess = checkpoint.bytes or checkpoint.approximate_bytes
        task = progress.add_task(checkpoint.name, total=guess)

        def on_bytes(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total or guess)

        yield on_bytes
