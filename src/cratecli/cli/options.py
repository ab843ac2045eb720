"""The options that commands share, each said once. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cratecli.errors import UsageError

Photos = Annotated[
    list[str] | None, typer.Argument(metavar="PHOTO...", help="Photos, folders, or `-` for stdin.")
]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Look into the folders of folders too.")]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Of folders and lists, take what fits, whatever its ending; repeatable."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Of folders and lists, leave out what fits; repeatable."),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from", metavar="FILE|-", help="Take photos from a list, a path a line; `-` is stdin."
    ),
]
Null = Annotated[
    bool, typer.Option("-0", "--null", help="In the list, paths end with NUL, as `find -print0` writes.")
]
Exists = Annotated[
    Literal["overwrite", "skip", "error"],
    typer.Option(help="What becomes of outputs that are there already."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Take up a run that was stopped: what its manifest knows is not done again."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print which photo would go where, and do nothing.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End at the first photo that fails.")]
MaxPixels = Annotated[int | None, typer.Option(min=1, metavar="N", help="The most pixels a photo may have.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Draw no bar, even on a terminal.")]
Rle = Annotated[bool, typer.Option("--rle", help="Put the mask into the record, as COCO RLE.")]
Model = Annotated[
    str | None,
    typer.Option(
        "-m", "--model", metavar="NAME|FILE", help="A model of `crate models list`, or a checkpoint file."
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="The file for one photo, the folder for several or with a slash at its end; `-` is stdout.",
    ),
]
SheetOutput = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="The picture, a PNG; `-` is stdout."),
]
Layers = Annotated[
    str | None, typer.Option("--layer", metavar="LIST", help="Layers, from 0; `-1` is the last: `-2,-1`.")
]
LayersOrAll = Annotated[
    str | None,
    typer.Option("--layer", metavar="LIST|all", help="Layers, from 0; `-1` is the last: `-2,-1`."),
]
Heads = Annotated[
    str,
    typer.Option(metavar="auto|all|LIST", help="`auto` chooses and combines heads for each photo."),
]
Keep = Annotated[
    str | None,
    typer.Option(metavar="mass:F|top:F|otsu|mean|VALUE", help="What part of the map is the mask."),
]
Refine = Annotated[
    Literal["none", "guided", "grabcut"] | None, typer.Option(help="How edges follow the photo.")
]
Sizes = Annotated[
    str | None,
    typer.Option("--size", metavar="LIST", help="Input short sides, px; every second is seen mirrored."),
]
Size = Annotated[int | None, typer.Option("--size", metavar="PX", help="Input short side, px.")]
Tau = Annotated[
    float | None,
    typer.Option(min=-1.0, max=1.0, help="MaskCut's τ: the cosine above which two patches are alike."),
]
Device = Annotated[
    str, typer.Option(envvar="CRATE_DEVICE", metavar="auto|cpu|cuda[:N]|mps", help="Where the model runs.")
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Number format; auto is bfloat16 on CUDA, else float32."),
]
BatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Photos that go through the model together.")]
FeaturesCache = Annotated[
    Path | None,
    typer.Option(
        "--features-cache",
        metavar="DIR",
        file_okay=False,
        help="Keep what the model saw in this folder, so that other questions on the same photos need no inference.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print records as one JSON array.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print a JSON record a line, as each is done.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on stderr but errors.")]


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read `3`, `-2,-1` or `0,3`. Raises `UsageError` that names the option."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r} is not whole numbers with commas between") from None


def heads_named(text: str) -> Literal["auto", "all"] | tuple[int, ...]:
    """Read `auto`, `all` or a list of heads. Raises `UsageError`."""
    if text == "auto":
        return "auto"
    return "all" if text == "all" else whole_numbers(text, "--heads")
