"""`crate models push`: publish a trained CRATE on the Hub."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cratecli.cli.console import put, tell


def push(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE", help="A run's folder of `crate train`, or a checkpoint file."),
    ],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository on the Hub.")],
    *,
    licence: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The licence of the weights, by the Hub's name: apache-2.0, mit, …"),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model card, and upload nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record, not the address.")] = False,
) -> None:
    """Publish a CRATE on the Hub: safetensors with its config, timm's config.json, and a card written from the run.

    Then `-m hf:USER/NAME` asks it, wherever `crate models pull hf:USER/NAME` was run. The weights are checked first.
    Files that are there already are replaced, by one commit. Log in with `hf auth login`, or set HF_TOKEN.
    """
    from cratecli.handover.publish import prepare_publication, publish

    ready = prepare_publication(source, repository, licence=licence)
    sizes = {name: len(content) for name, content in ready.files.items()}
    listed = ", ".join(f"{name} ({decimal(size)})" for name, size in sizes.items())
    address = None
    if dry_run:
        tell(f"hf:{ready.repository} would get {listed}")
    else:
        address = publish(ready, private=private)
        tell(f"hf:{ready.repository} has {listed}")
    if as_json:
        put([json.dumps({"model": f"hf:{ready.repository}", "commit": address, "files": sizes}, indent=2)])
    else:
        put([ready.card if address is None else address])
