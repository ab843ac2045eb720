"""`crate models export`: a model as one file for other runtimes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cratecli.cli.console import put, tell
from cratecli.cli.options import Quiet
from cratecli.errors import UsageError
from cratecli.tasks.spelling import whole_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY = "any"


def export(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A model of the list, or a checkpoint file.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The file: FILE.onnx, or FILE.pt2 of torch."),
    ],
    *,
    form: Annotated[
        Literal["torch", "onnx"]
        | None,  # in the order of `Engine`: `typing` remembers the first of equal unions
        typer.Option("--format", help="ONNX, or a program of torch.export; unless said, as FILE ends."),
    ] = None,
    layer: Annotated[
        str,
        typer.Option(
            metavar="LIST|all", help="Layers whose attention and subspaces it gives, from 0; -1 is the last."
        ),
    ] = "all",
    size: Annotated[
        str,
        typer.Option(
            metavar="any|LIST",
            help="Input sizes that it takes, px: `224` for squares, `224x336` for height and width.",
        ),
    ] = ANY,
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option(help="Number format of images and outputs.")
    ] = "float32",
    quiet: Quiet = False,
) -> None:
    """Write a model as one file that onnxruntime, or torch without crate, runs, and print its path.

    Its outputs are `class_attention_N` and `subspaces_N` of every layer asked for, and `logits`. It is read again and
    compared with the model on two photos: one that is off by more than 1e-4 is not written. `-m FILE.onnx` asks it.
    """
    from cratecli.handover.model_export import choose_export, choose_format, export_model
    from cratecli.weights.checkpoint import load_model

    chosen = choose_format(output, form)
    sizes = None if size == ANY else [_size(each) for each in size.split(",")]
    layers: Sequence[int] | Literal["all"] = "all" if layer == "all" else whole_numbers(layer, "--layer")
    model = load_model(name, device="cpu", dtype="float32")
    choice = choose_export(model, layers=layers, sizes=sizes, dtype=dtype)
    done = export_model(model, output, choice, chosen)
    if not quiet:
        tell(
            f"{output}: on two photos off by {done.attention_error:.1e} of the largest attention, "
            f"{done.error:.1e} of any output's largest value"
        )
    put([str(output)])


def _size(text: str) -> tuple[int, int]:
    """Read `224` or `224x336`. Raises `UsageError`."""
    try:
        numbers = [int(side) for side in text.split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers, default=0) < 1:
        raise UsageError(f"--size {text!r} is not `any`, a side in px, or HEIGHTxWIDTH")
    return numbers[0], numbers[-1]
