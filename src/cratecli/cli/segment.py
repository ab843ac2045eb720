"""`crate segment`: one mask a photo."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.options import put, stdin_bytes, stdout_is_terminal, tell, whole_numbers
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.model.unroll import WhiteBox
    from cratecli.tasks.batch import Job
    from cratecli.tasks.recipe import Heads, Recipe
    from cratecli.tasks.segment import Segmented


def segment(
    inputs: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photos, folders, or `-` for stdin.")
    ],
    *,
    output: options.Output = None,
    model: options.Model = None,
    as_: Annotated[
        Literal["mask", "soft", "cutout", "overlay"], typer.Option("--as", help="What is written.")
    ] = "mask",
    layer: Annotated[
        str | None, typer.Option(metavar="LIST", help="Layers, from 0; `-1` is the last: `-2,-1`.")
    ] = None,
    heads: Annotated[
        str,
        typer.Option(metavar="auto|all|LIST", help="`auto` chooses and combines heads for each photo."),
    ] = "auto",
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
    largest: Annotated[
        bool | None, typer.Option("--largest/--all-pieces", help="Keep only the largest piece.")
    ] = None,
    fill_holes: Annotated[
        bool | None, typer.Option("--fill-holes/--keep-holes", help="Fill holes in the mask.")
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = 8,
    features_cache: options.FeaturesCache = None,
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
    chosen = _heads(heads)
    layers = None if layer is None else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    jobs = _jobs(inputs, output, as_, records=json_ or jsonl)

    from cratecli.tasks.batch import Failure
    from cratecli.tasks.features import FeatureCache
    from cratecli.tasks.recipe import choose_recipe
    from cratecli.tasks.segment import segment_jobs
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    recipe = choose_recipe(
        loaded,
        layers=layers,
        sizes=sizes,
        heads=chosen,
        keep=keep,
        refine=refine,
        min_area=min_area,
        largest=largest,
        fill_holes=fill_holes,
    )
    if not quiet:
        tell(_what_runs(loaded, recipe))
    stdin = stdin_bytes() if any(job.source is None for job in jobs) else b""
    records: list[dict[str, Any]] = []
    failed = 0
    cache = FeatureCache(features_cache, loaded) if features_cache else None
    try:
        for outcome in segment_jobs(
            jobs, loaded, recipe, kind=as_, batch_size=batch_size, stdin=stdin, cache=cache
        ):
            if isinstance(outcome, Failure):
                failed += 1
                tell(str(outcome.error))
                continue
            if outcome.segmentation.empty and not quiet:
                tell(f"{outcome.job.name}: nothing found, confidence {outcome.segmentation.confidence:.2f}")
            if json_:
                records.append(_record(outcome, as_, recipe))
            elif jsonl:
                put([json.dumps(_record(outcome, as_, recipe))])
            else:
                target = outcome.job.target
                put([outcome.png if target is None else str(target)])
    finally:  # what was written is on record, even where an output that cannot be written ends the run
        if json_:
            put([json.dumps(records, indent=2)])
    if failed and len(jobs) > 1:
        tell(f"{failed} of {len(jobs)} photos failed")
    if failed:
        raise typer.Exit(1)


def _jobs(inputs: list[str], output: str | None, kind: str, *, records: bool) -> "list[Job]":
    """Pair inputs with outputs; stdout takes one picture, or records, if it is no terminal.

    Records of standard input alone write no picture: there is no name for it.
    """
    if output == "-" and records:
        raise UsageError("stdout takes the picture or the records, not both: give -o FILE")
    if output == "-" and stdout_is_terminal():
        raise UsageError("no picture goes to a terminal: give -o FILE, or a pipe")
    from cratecli.tasks.batch import plan

    piped = output is None and (inputs == ["-"] if records else stdout_is_terminal() is False)
    jobs = plan(inputs, None if output == "-" else output, kind, to_stdout=piped or output == "-")
    if output == "-" and any(job.target for job in jobs):
        raise UsageError("a folder's pictures, or several, cannot share stdout: give -o FOLDER")
    return jobs


def _heads(text: str) -> "Heads":
    """Read `auto`, `all` or a list of heads."""
    if text == "auto":
        return "auto"
    return "all" if text == "all" else whole_numbers(text, "--heads")


def _what_runs(model: "WhiteBox", recipe: "Recipe") -> str:
    place = next(model.parameters())
    name = model.weights.name if model.weights else "a model without a name"
    return f"{name}, {recipe}, {place.device} {str(place.dtype).removeprefix('torch.')}"


def _record(done: "Segmented", kind: str, recipe: "Recipe") -> dict[str, Any]:
    """Say about one photo what `--json` prints: px, upright; the box as left, top, width, height."""
    found = done.segmentation
    box = found.box
    return {
        "input": done.job.name,
        "output": None if done.job.target is None else str(done.job.target),
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
