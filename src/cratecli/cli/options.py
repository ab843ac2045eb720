"""What commands share: options, once, and how they speak on the two streams. Imports no torch."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from cratecli.errors import UsageError

Model = Annotated[
    str | None,
    typer.Option(
        "-m", "--model", metavar="NAME|FILE", help="A model of `crate models list`, or a checkpoint file."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The file for one photo, the folder for several; `-` is stdout."),
]
Device = Annotated[
    str, typer.Option(envvar="CRATE_DEVICE", metavar="auto|cpu|cuda[:N]|mps", help="Where the model runs.")
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Number format; auto is bfloat16 on CUDA, else float32."),
]
BatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Photos that go through the model together.")]
Json = Annotated[bool, typer.Option("--json", help="Print records as one JSON array.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print a JSON record a line, as each is done.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on stderr but errors.")]


def whole_numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read `3`, `-2,-1` or `0,3`. Raises `UsageError` that names the option."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r} is not whole numbers with commas between") from None


def printable(text: str) -> str:
    """Escape what could steer a terminal or break a line: control characters and undecodable bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def tell(text: str) -> None:
    """Say one line on stderr; a closed stderr is no error."""
    try:
        print(f"crate: {printable(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def put(lines: Sequence[str | bytes]) -> None:
    """Write to stdout at once: text as lines, bytes as they are. A closed pipe ends the program with 141."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        return
    try:
        for line in lines:
            stream.write(line if isinstance(line, bytes) else os.fsencode(line) + b"\n")
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing left for the exit to flush
        sys.exit(141)
