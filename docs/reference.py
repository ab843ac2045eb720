"""Write each command's options into its page, from the command itself.

python docs/reference.py            # write
python docs/reference.py --check    # only tell whether a page is stale
"""

import re
import sys
from collections.abc import Callable
from enum import StrEnum
from inspect import Parameter, signature
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

from cratecli.cli.app import app

HERE = Path(__file__).parent
MARKED = re.compile(r"(<!-- options (\w+(?: \w+)?) -->\n).*?(<!-- end -->)", re.S)


def commands() -> dict[str, Callable[..., None]]:
    """Give every command's function by its words: `segment`, `evaluate voc`."""
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    return {
        f"{prefix}{each.name or each.callback.__name__}": each.callback
        for prefix, group in groups
        for each in group.registered_commands
    }


def options(name: str) -> str:
    """Write a command's options as a Markdown table, from its function's signature."""
    command = commands()[name]
    defaults = signature(command).parameters
    rows = ["| option | | default |", "|---|---|---|"]
    for parameter, hint in get_type_hints(command, include_extras=True).items():
        option = next((each for each in get_args(hint) if isinstance(each, OptionInfo)), None)
        if option is None:
            continue
        given = [
            option.default,
            *(option.param_decls or ()),
        ]  # in an annotation typer takes the first for a default
        names = [each for each in given if isinstance(each, str)] or [f"--{parameter.replace('_', '-')}"]
        kind, default = get_args(hint)[0], defaults[parameter].default
        metavar = option.metavar or "|".join(_choices(kind)) or _plain(kind)
        spelt = ", ".join(f"`{each}`" for each in names) + (f" {metavar}" if metavar else "")
        shown = "required" if default is Parameter.empty else "" if default in (None, False) else str(default)
        cells = [spelt, option.help or "", shown]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _choices(kind: object) -> list[str]:
    """Give the words of a Literal, also inside a union, or of an enum."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return list(kind)
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _plain(kind: object) -> str:
    return {int: "N", float: "X", str: "TEXT"}.get(next(iter(get_args(kind)), kind), "")


def fresh(page: str) -> str:
    """Give a page with its options up to date."""
    return MARKED.sub(lambda found: found[1] + options(found[2]) + found[3], page)


def main() -> None:
    """Write the pages, or check them."""
    stale = [path for path in sorted(HERE.glob("*.md")) if fresh(path.read_text()) != path.read_text()]
    if "--check" in sys.argv:
        sys.exit(f"stale, run docs/reference.py: {', '.join(path.name for path in stale)}" if stale else 0)
    for path in stale:
        path.write_text(fresh(path.read_text()))


if __name__ == "__main__":
    main()
