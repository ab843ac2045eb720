"""How long the commands take that need no model, and the import, against Python that does nothing; and the first mask.

    python benchmarks/startup.py --write benchmarks/startup.md

Each is a fresh process. They take turns, and what is written are medians of ratios within a turn; a first turn fills
the caches of the file system. The first mask, from the start of `crate segment` of one photo to its end, is that of
onnxruntime against that of torch.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from measure import BY, Took, ratio, ratio_and_range, timed
from page import command_line, publish, table_header, table_row

TURNS = 15
NOTHING = ("-c", "pass")
COMMANDS = {
    "python -c 'import cratecli'": ("-c", "import cratecli"),
    "crate --help": ("-m", "cratecli", "--help"),
    "crate models list": ("-m", "cratecli", "models", "list"),
}
PHOTOS = {
    "raccoon.jpg, alone": ["raccoon.jpg"],
    "the eight examples": [""],
}
MASKS = ("-m", "cratecli", "segment", "-q", "-o", "{out}/", "--device", "cpu", "--dtype", "float32")
EXAMPLES = Path(__file__).parents[1] / "examples"


class Process(NamedTuple):
    """What a process took: seconds, of the clock and the processors, and its peak memory, MB."""

    clock: float
    processor: float
    memory: float


def took(arguments: tuple[str, ...]) -> Took:
    """Time a process of Python, without what it prints."""
    command = [sys.executable, *arguments]
    return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def masks(names: list[str], engine: str) -> Process:
    """Segment examples by an engine, in a process whose own peak memory is measured."""
    with tempfile.TemporaryDirectory() as folder:
        words = [each.format(out=folder) for each in MASKS]
        command = [*words, "--engine", engine, *(str(EXAMPLES / name) for name in names)]
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.perf_counter()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"crate {' '.join(command[2:])} ended with {process.returncode}")
    return Process(ended - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    turns = [[took(each) for each in (NOTHING, *COMMANDS.values())] for _ in range(TURNS + 1)]
    nothing, *others = zip(*turns[1:], strict=True)
    columns = (f"{name} / `python -c pass`" for name in BY.values())
    lines = [table_header(f"Python {platform.python_version()}", *columns)]
    for name, times in zip(COMMANDS, others, strict=True):
        lines.append(table_row(f"`{name}`", *(ratio_and_range(times, nothing, by) for by in BY)))
    lines += ["", table_header("`crate segment`, onnxruntime / torch", *BY.values(), "peak memory")]
    for name, photos in PHOTOS.items():
        pairs = [(masks(photos, "onnx"), masks(photos, "torch")) for _ in range(TURNS // 3 + 2)][1:]
        ones, theirs = zip(*pairs, strict=True)
        shares = [ratio(*([each[place] for each in some] for some in (ones, theirs))) for place in range(3)]
        lines.append(table_row(name, *(f"{share:.2f}" for share in shares)))
    publish(lines, arguments.write)


if __name__ == "__main__":
    main()
