"""`crate models add`: a checkpoint file that the user has, under a name. Imports no torch."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli.console import put
from cratecli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from cratecli.model.config import CrateConfig

_SIZES = ("patch_size", "width", "depth", "attention", "sparsifier", "stem", "output_bias", "pre_logits")
"""The fields in which a file must agree with the architecture it is added as."""


def complete_name(incomplete: str) -> list[str]:
    """Complete a name of the registry."""
    from cratecli.weights.registry import load_registry

    return [name for name in load_registry().names if name.startswith(incomplete)]


def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint file you have.")],
    name: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAME", help="A model of the list, or a new name.", autocompletion=complete_name
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
        if not checkpoint.pinned:  # its first file is the one that is trusted from then on
            from cratecli.weights.checkpoint import check_fit

            check_fit(checkpoint, file)
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
