"""How long the commands take that need no model, and the import, against Python that does nothing.

    python benchmarks/startup.py --write benchmarks/startup.md

Each is a fresh process. They take turns, and what is written are medians of ratios within a turn; a first turn fills
the caches of the file system.
"""

import platform
import subprocess
import sys

from measure import BY, Took, ratio_and_range, timed
from page import command_line, publish, table_header, table_row

TURNS = 15
NOTHING = ("-c", "pass")
COMMANDS = {
    "python -c 'import cratecli'": ("-c", "import cratecli"),
    "crate --help": ("-m", "cratecli", "--help"),
    "crate models list": ("-m", "cratecli", "models", "list"),
}


def took(arguments: tuple[str, ...]) -> Took:
    """Time a process of Python, without what it prints."""
    command = [sys.executable, *arguments]
    return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    turns = [[took(each) for each in (NOTHING, *COMMANDS.values())] for _ in range(TURNS + 1)]
    nothing, *others = zip(*turns[1:], strict=True)
    columns = (f"{name} / `python -c pass`" for name in BY.values())
    lines = [table_header(f"Python {platform.python_version()}", *columns)]
    for name, times in zip(COMMANDS, others, strict=True):
        lines.append(table_row(f"`{name}`", *(ratio_and_range(times, nothing, by) for by in BY)))
    publish(lines, arguments.write)


if __name__ == "__main__":
    main()
