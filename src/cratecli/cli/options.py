"""The options that commands share, each said once. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cratecli.io.formats import ArrayEnding, Ending
from cratecli.tasks.spelling import READ

PhotoArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PHOTO...", help="Photos, folders, `-` for stdin; URLs, shards and tables: docs/sources.md."
    ),
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
Column = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Where tables have photos: a column; or shards: fields, as in `jpg;png`."
    ),
]
Exists = Annotated[
    Literal["overwrite", "skip", "error"] | None,
    typer.Option(
        help="What becomes of outputs that are there already; "
        "unless said, they are overwritten, but for those changed since they were made."
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Take up a run that was stopped: what its manifest knows is not done again."
    ),
]
RunFolder = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", file_okay=False, help="The run's folder.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Replace a value of the recipe, of `train` its model too; repeatable.",
    ),
]
ResumeTraining = Annotated[bool, typer.Option("--resume", help="Resume the run in the folder.")]
LimitMinutes = Annotated[
    float | None, typer.Option(min=0.0, metavar="N", help="Stop after this time, to be resumed later.")
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Remove what earlier runs made of photos that are no longer in the folder."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print which photo would go where, and what --prune would remove.")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End at the first photo that fails.")]
MaxPixels = Annotated[int | None, typer.Option(min=1, metavar="N", help="The most pixels a photo may have.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Draw no bar, even on a terminal.")]
Rle = Annotated[bool, typer.Option("--rle", help="Put the mask into the record, as COCO RLE.")]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A model of `crate models list`, or a checkpoint file; of segment, objects, heads, parts and worker also "
        "an export, FILE.onnx.",
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
PictureEnding = Annotated[
    Ending | None,
    typer.Option(
        help="The format of pictures, where -o names no file; PNG unless -o or this says otherwise."
    ),
]
SheetOutput = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="The sheet, a PNG; or FILE.npz, FILE.safetensors or a folder for arrays; `-` is stdout.",
    ),
]
SheetOrArrays = Annotated[
    Literal["sheet", ArrayEnding] | None,
    typer.Option(
        "--as",
        help="What is written: one sheet for all photos, or arrays, a file a photo; a sheet, if -o says neither.",
    ),
]
Device = Annotated[
    str, typer.Option(envvar="CRATE_DEVICE", metavar="auto|cpu|cuda[:N]|mps", help="Where the model runs.")
]
Engine = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(
        help="What runs the model: auto is onnxruntime, which starts at once, on the CPU for the built-in model "
        "and exports; else torch."
    ),
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
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ray[://HOST:PORT]",
        help="Work on a cluster of Ray, or on one that is started on this machine: docs/scale.md.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="With --on: how many hold the model; unless said, one a GPU, or one a machine.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        min=0.0, metavar="N", help="With --on: the GPUs that each has, or a share of one, as 0.5; 0 is none."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print records as one JSON array.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print a JSON record a line, as each is done.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on stderr but errors.")]


@dataclass(frozen=True)
class Flag:
    """How the command line spells an option of a question: its names, what stands for its value, how that is read."""

    names: tuple[str, ...]
    metavar: str | None = None
    read: Callable[[str, str], Any] | None = None
    repeatable: bool = False

    @property
    def long(self) -> str:
        """Give the name by which people know it."""
        return self.names[-1].partition("/")[0]

    def value(self, given: Any) -> Any:
        """Read what was given. Raises `UsageError`."""
        if self.repeatable and self.read is not None:
            return [self.read(each, self.long) for each in given]
        return given if self.read is None else self.read(given, self.long)

    @staticmethod
    def spell(value: Any) -> str:
        """Write a value as the command line takes it."""
        if isinstance(value, str):
            return value
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)


FLAGS = {
    "layers": Flag(("--layer",), "LIST|all", READ["layers"]),
    "sizes": Flag(("--size",), "LIST", READ["sizes"]),
    "size": Flag(("--size",), "PX"),
    "range": Flag(("--range",), "auto|full|LOW:HIGH|percentile:A:B"),
    "heads": Flag(("--heads",), "auto|agree|all|LIST", READ["heads"]),
    "frame": Flag(("--frame/--no-frame",)),
    "head": Flag(("--head",), "auto|built-in|none|FILE"),
    "keep": Flag(("--keep",), "mass:F|top:F|otsu|mean|VALUE"),
    "largest": Flag(("--largest/--all-pieces",)),
    "fill_holes": Flag(("--fill-holes/--keep-holes",)),
    "at": Flag(("--at",), "X,Y", READ["at"], repeatable=True),
    "not_at": Flag(("--not-at",), "X,Y", READ["at"], repeatable=True),
    "count": Flag(("--n",)),
    "images": Flag(("--images",), "DIR"),
    "masks": Flag(("--masks",), "DIR"),
    "k": Flag(("-k", "--k"), "N|auto", READ["k"]),
}
"""Options of questions that are not spelt like their field; the one place that maps fields to flags."""


def flag_of(field: str) -> Flag:
    """Give the spelling of an option, by the name of its field."""
    return FLAGS.get(field) or Flag((f"--{field.replace('_', '-')}",))
