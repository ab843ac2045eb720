"""`crate explain`: how an output was made, as a command that makes it again. Imports no torch."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from cratecli.cli import options
from cratecli.cli.console import put, tell
from cratecli.cli.options import Flag, flag_of
from cratecli.errors import InputError, UsageError
from cratecli.tasks.options import PictureOptions
from cratecli.wording import as_path, quoted

if TYPE_CHECKING:
    from cratecli.handover.explain import Explained
    from cratecli.runs.provenance import Provenance

ENGINE = ("engine", "device", "dtype", "batch_size")
"""What does not decide the outcome, but its last bits."""

_OTHERS = ("head", "names", "parts", "save_parts", "max_pixels")


def explain(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A picture, arrays, a page, JSON, a .parquet or a .tar that crate wrote, or FILE::KEY, a photo in one "
            "of these two.",
        ),
    ],
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print all that the file tells, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the command that makes a file again; on the same machine, with the same versions, to the byte.

    What is not as it was then (the photo, the weights, versions) is said on stderr.
    """
    from cratecli.handover.explain import explain as read

    explained = read(file)
    try:
        words = spelt(explained, getattr(context.find_root().command, "commands", {}))
        plain = (
            json.dumps(explained.content, indent=2, allow_nan=False)
            if json_
            else " ".join(map(quoted, words))
        )
    except (ValueError, RecursionError, UsageError):
        raise InputError(f"{file}: what it says of how it was made is not ours") from None
    if not quiet:
        for doubt in explained.doubts:
            tell(doubt)
    put([plain])


def spelt(explained: "Explained", commands: Mapping[str, typer.core.TyperCommand]) -> list[str]:
    """Spell the command as the shell takes it, word by word. Raises `ValueError` for what it would not take."""
    name = explained.made.command
    command = commands.get(name)
    if command is None:
        raise ValueError(f"no command {name}")
    flags = {
        flag: param
        for param in command.params
        for flag in param.opts
        if isinstance(param, typer.core.TyperOption) and flag.startswith("--")
    }
    words = list(map(as_path, explained.inputs))
    for flag, value in [*_settings(explained.made), ("--output", explained.output)]:
        if flag == "--engine" and flag not in flags:
            continue  # there is one engine only
        if flag not in flags:
            raise ValueError(f"{name} has no option {flag}")
        words += _spelt(flag, flags[flag], value)
    try:
        command.make_context("crate", list(words))
    except typer.TyperException as error:
        raise ValueError(error.format_message()) from None
    return ["crate", name, *words]


def _settings(made: "Provenance") -> Iterator[tuple[str, Any]]:
    """Give the options that decide the outcome, by their flags. Raises `UsageError` for what they cannot be."""
    from cratecli.tasks.options import as_options
    from cratecli.tasks.recipes import QUESTIONS

    if made.command == "export":
        for name, value in made.recipe.items():
            yield flag_of(name).long, value
    else:
        for name, value in as_options(QUESTIONS[made.command], made.recipe).items():
            yield flag_of(name).long, value
    selection = made.photos.model_dump(exclude_defaults=True) if made.photos else {}
    others = {
        name: getattr(made, name) for name in ("as_", *get_type_hints(PictureOptions), *_OTHERS, *ENGINE)
    }
    if made.device is not None and made.engine is None:
        others["engine"] = "torch"  # there was no other
    if made.engine == "onnx":
        others["dtype"] = None  # a graph has its own
    for name, value in (selection | others | {"model": made.weights}).items():
        if value is not None:
            yield flag_of(name.rstrip("_")).long, value


def _spelt(flag: str, option: typer.core.TyperOption, value: Any) -> list[str]:
    if isinstance(value, bool) != bool(option.is_flag):
        raise ValueError(f"{flag} does not take {value!r}")
    if isinstance(value, bool):
        return [flag] if value else option.secondary_opts[:1]
    each = value if option.multiple and isinstance(value, list) else [value]
    return [word for one in each for word in _given(flag, str(Flag.spell(one)))]


def _given(flag: str, value: str) -> list[str]:
    if "\0" in value:
        raise ValueError("a NUL ends a word")
    return [f"{flag}={value}"] if value.startswith("-") and value != "-" else [flag, value]
