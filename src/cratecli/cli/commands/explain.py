"""`crate explain`: how an output was made, as a command that makes it again. Imports no torch."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli import options
from cratecli.cli.console import put, tell
from cratecli.errors import InputError

if TYPE_CHECKING:
    from cratecli.handover.explain import Made
    from cratecli.runs.provenance import Setting


def explain(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or a JSON file that crate wrote.")],
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print all that the file tells, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the command that makes a file again; on the same machine, with the same versions, to the byte.

    What is not as it was then (the photo, the weights, versions) is said on stderr.
    """
    from cratecli.handover.explain import explain as read

    made = read(file)
    try:
        words = spelt(made, getattr(context.find_root().command, "commands", {}))
        told = json.dumps(made.told, indent=2, allow_nan=False) if json_ else " ".join(map(quoted, words))
    except (ValueError, RecursionError):
        raise InputError(f"{file}: what it says of how it was made is not ours") from None
    if not quiet:
        for doubt in made.doubts:
            tell(doubt)
    put([told])


def spelt(made: "Made", commands: Mapping[str, typer.core.TyperCommand]) -> list[str]:
    """Spell one of the commands as the shell takes it, word by word. Raises `ValueError` for what it would not take."""
    command = commands.get(made.command)
    flags = {
        flag.removeprefix("--"): (flag, param)
        for param in (command.params if command else ())
        for flag in param.opts
        if isinstance(param, typer.core.TyperOption) and flag.startswith("--")
    }
    words = list(map(_path, made.inputs))
    for name, value in {**made.settings, "output": made.output}.items():
        if name not in flags:
            raise ValueError(f"{made.command} has no option {name}")
        words += _spelt(*flags[name], value)
    if command is None:
        raise ValueError(f"no command {made.command}")
    try:
        command.make_context("crate", list(words))
    except typer.TyperException as error:
        raise ValueError(error.format_message()) from None
    return ["crate", made.command, *words]


def _spelt(flag: str, option: typer.core.TyperOption, value: "Setting") -> list[str]:
    if isinstance(value, bool) != bool(option.is_flag) or isinstance(value, list) != option.multiple:
        raise ValueError(f"{flag} does not take {value!r}")
    if isinstance(value, bool):
        return [flag] if value else option.secondary_opts[:1]
    each = value if isinstance(value, list) else [value]
    return [word for one in each for word in _given(flag, one)]


def _given(flag: str, value: str) -> list[str]:
    return [f"{flag}={value}"] if value.startswith("-") and value != "-" else [flag, value]


def _path(name: str) -> str:
    """Keep a path from being taken for an option."""
    return f"./{name}" if name.startswith("-") and name != "-" else name


def quoted(word: str) -> str:
    """Quote a word for the shell, on one line; what is not printable is written as bash's `$'…'` has it.

    >>> print(quoted("it's"), quoted("two\nlines"))
    'it'"'"'s' $'two\\x0alines'
    """
    if word.isprintable():
        return shlex.quote(word)
    code = word.encode("utf-8", "surrogateescape").decode("latin-1")
    return "$'" + re.sub(r"[^ -&(-\[\]-~]", lambda found: f"\\x{ord(found[0]):02x}", code) + "'"
