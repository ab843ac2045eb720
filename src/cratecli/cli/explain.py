"""`crate explain`: how an output was made, as a command that makes it again. Imports no torch."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli import options
from cratecli.cli.options import put, tell
from cratecli.errors import InputError

if TYPE_CHECKING:
    from cratecli.tasks.explain import Made
    from cratecli.tasks.provenance import Setting


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or a JSON file that crate wrote.")],
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print all that the file tells, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the command that makes a file again; on the same machine, with the same versions, to the byte.

    What is not as it was then (the photo, the weights, versions) is said on stderr.
    """
    from cratecli.tasks.explain import explain as read

    made = read(file)
    words = spelt(made)
    if words is None:
        raise InputError(f"{file}: what it says of how it was made is not ours")
    if not quiet:
        for doubt in made.doubts:
            tell(doubt)
    put([json.dumps(made.told, indent=2) if json_ else " ".join(map(quoted, words))])


def spelt(made: "Made") -> list[str] | None:
    """Spell a command as the shell takes it, word by word; nothing for one that no `crate` could have been given."""
    from typer.main import get_command

    from cratecli.cli.app import app

    commands: Mapping[str, typer.core.TyperCommand] = getattr(get_command(app), "commands", {})
    if made.command not in commands or made.command == "explain":
        return None
    known = {
        flag.removeprefix("--"): (flag, param)
        for param in commands[made.command].params
        for flag in param.opts
        if flag.startswith("--")
    }
    words = ["crate", made.command, *map(_path, made.inputs)]
    for name, value in {**made.settings, "output": made.output}.items():
        if name not in known:
            return None
        flag, param = known[name]
        words += _spelt(flag, value, param.secondary_opts)
    return words


def _spelt(flag: str, value: "Setting", otherwise: list[str]) -> list[str]:
    if isinstance(value, bool):
        return [flag] if value else otherwise[:1]
    if isinstance(value, list):
        return [word for each in value for word in _spelt(flag, each, otherwise)]
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
