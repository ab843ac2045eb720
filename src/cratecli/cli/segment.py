"""`crate segment`: one mask a photo."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.options import put, tell, whole_numbers
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.tasks.segment import Recipe, Segmented


def segment(
    inputs: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos, folders, or `-` for stdin.")],
    output: options.Output = None,
    model: options.Model = None,
    as_: Annotated[
        Literal["mask", "soft", "cutout", "overlay"], typer.Option("--as", help="What is written.")
    ] = "mask",
    layer: Annotated[
        str | None, typer.Option(metavar="LIST", help="Layers, from 0; `-1` is the last: `-2,-1`.")
    ] = None,
    heads: Annotated[
        str | None,
        typer.Option(metavar="auto|all|LIST", help="`auto` chooses and combines heads for each photo."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="mass:F|top:F|otsu|mean|VALUE", help="What part of the map is the mask."),
    ] = None,
    refine: Annotated[
        Literal["none", "guided", "grabcut"] | None, typer.Option(help="How edges follow the photo.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="LIST", help="Input short sides, px; every second is seen mirrored.")
    ] = None,
    min_area: Annotated[
        float | None, typer.Option(help="Drop pieces under this share of the photo, 0 to 1.")
    ] = None,
    largest: Annotated[bool, typer.Option("--largest", help="Keep only the largest piece.")] = False,
    fill_holes: Annotated[bool, typer.Option("--fill-holes", help="Fill holes.")] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = 8,
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Segment photos: the model's attention becomes one mask a photo.

    One photo goes to -o FILE, to a pipe, or to ./STEM.mask.png; several, or a folder's, to a folder.
    What is left out of --layer, --heads, --keep, --refine and --size is as measured best for the model.
    """
    if json_ and jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    chosen: Literal["auto", "all"] | tuple[int, ...] | None
    chosen = heads if heads == "auto" or heads == "all" else whole_numbers(heads, "--heads")
    layers, sizes = whole_numbers(layer, "--layer"), whole_numbers(size, "--size")
    if output is not None and str(output) == "-" and (json_ or jsonl):
        raise UsageError("stdout takes the picture or the records, not both: give -o FILE")
    from cratecli.tasks.batch import Failure, plan  # noqa: PLC0415 - the imports below cost seconds

    to_stdout = (output is None and not (json_ or jsonl) and not sys.stdout.isatty()) or str(output) == "-"
    if str(output) == "-" and sys.stdout.isatty():
        raise UsageError("no picture goes to a terminal: give -o FILE, or a pipe")
    jobs = plan(inputs, None if str(output) == "-" else output, as_, to_stdout)
    if str(output) == "-" and len(jobs) > 1:
        raise UsageError(f"{len(jobs)} pictures cannot share stdout: give -o FOLDER")

    from cratecli.tasks.segment import choose_recipe, segment_jobs  # noqa: PLC0415
    from cratecli.weights.checkpoint import load_model  # noqa: PLC0415

    loaded = load_model(model, device=device, dtype=dtype)
    recipe = choose_recipe(
        loaded,
        layers=layers,
        sizes=sizes,
        heads=chosen,
        keep=keep,
        refine=refine,
        min_area=min_area,
        largest=largest or None,
        fill_holes=fill_holes or None,
    )
    if not quiet:
        place = next(loaded.parameters())
        name = loaded.weights.name if loaded.weights else "a model without a name"
        tell(f"{name}, {recipe}, {place.device} {str(place.dtype).removeprefix('torch.')}")
    stdin = sys.stdin.buffer.read() if any(job.source is None for job in jobs) else b""
    records: list[dict[str, Any]] = []
    failed = 0
    for outcome in segment_jobs(jobs, loaded, recipe, as_, batch_size, stdin):
        if isinstance(outcome, Failure):
            failed += 1
            tell(str(outcome.error))
        elif json_:
            records.append(_record(outcome, as_, recipe))
        elif jsonl:
            put([json.dumps(_record(outcome, as_, recipe))])
        elif outcome.job.target is None:
            put([outcome.png])
        else:
            put([str(outcome.job.target)])
    if json_:
        put([json.dumps(records, indent=2)])
    if failed:
        if len(jobs) > 1:
            tell(f"{failed} of {len(jobs)} photos failed")
        raise typer.Exit(1)


def _record(done: "Segmented", kind: str, recipe: "Recipe") -> dict[str, Any]:
    """Say about one photo what `--json` prints: px in the upright photo, the box as left, top, width, height."""
    found = done.segmentation
    box = found.box
    return {
        "input": done.job.name,
        "output": str(done.job.target),
        "as": kind,
        "height": found.size.height,
        "width": found.size.width,
        "empty": found.empty,
        "confidence": round(found.confidence, 4),
        "area": found.area,
        "box": None if box is None else list(box.xywh),
        "layers": list(found.layers),
        "heads": list(found.heads),
        "head_scores": [[round(float(score), 4) for score in layer] for layer in found.head_scores],
        "sizes": list(recipe.sizes),
        "keep": str(recipe.keep),
        "threshold": round(found.threshold, 4),
        "refine": recipe.refine,
        "weights": None if found.weights is None else found.weights.name,
        "weights_sha256": None if found.weights is None else found.weights.sha256,
    }
