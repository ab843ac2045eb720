"""`crate segment`: one mask a photo."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import one_each, stdin_for
from cratecli.cli.report import Report, named, what_runs

if TYPE_CHECKING:
    from cratecli.tasks.recipe import Heads, Recipe
    from cratecli.tasks.segment import Segmented


def segment(
    inputs: options.Inputs,
    *,
    output: options.Output = None,
    model: options.Model = None,
    as_: Annotated[
        Literal["mask", "soft", "cutout", "overlay"], typer.Option("--as", help="What is written.")
    ] = "mask",
    layer: options.Layers = None,
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
    size: options.Sizes = None,
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
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)
    chosen = _heads(heads)
    layers = None if layer is None else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    jobs = one_each(inputs, output, as_, records=report.records)

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
    report.note(what_runs(loaded, str(recipe)))
    stdin = stdin_for(jobs)
    cache = FeatureCache(features_cache, loaded) if features_cache else None
    with report:
        for outcome in segment_jobs(
            jobs, loaded, recipe, kind=as_, batch_size=batch_size, stdin=stdin, cache=cache
        ):
            if isinstance(outcome, Failure):
                report.fail(outcome)
                continue
            found, target = outcome.segmentation, outcome.job.target
            if found.empty:
                report.note(f"{outcome.job.name}: nothing found, confidence {found.confidence:.2f}")
            report.done(_record(outcome, as_, recipe), outcome.png if target is None else str(target))


def _heads(text: str) -> "Heads":
    """Read `auto`, `all` or a list of heads."""
    if text == "auto":
        return "auto"
    return "all" if text == "all" else whole_numbers(text, "--heads")


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
        **named(found.weights),
    }
