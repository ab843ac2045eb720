"""`crate objects`: several objects a photo, with boxes and scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import one_each, one_for_all, stdin_for
from cratecli.cli.report import Report, named, what_runs

if TYPE_CHECKING:
    from cratecli.model.unroll import WhiteBox
    from cratecli.tasks.objects import Found, ObjectRecipe

As = Literal["overlay", "labels", "coco", "coco-results"]


def objects(
    inputs: options.Inputs,
    *,
    output: options.Output = None,
    model: options.Model = None,
    as_: Annotated[
        As | None,
        typer.Option(
            "--as", help="What is written; for -o FILE.json a COCO dataset, else an overlay a photo."
        ),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, max=100, help="The most objects in a photo.")] = None,
    tau: options.Tau = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Objects that score less are left out.")
    ] = None,
    refine: Annotated[
        Literal["none", "guided", "grabcut"] | None, typer.Option(help="How edges follow the photo.")
    ] = None,
    layer: options.Layers = None,
    size: options.Size = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = 8,
    features_cache: options.FeaturesCache = None,
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Find objects by MaskCut: masks, boxes and scores, several a photo, or none.

    Pictures go where `crate segment` puts its masks; a COCO file is one for all photos: -o FILE.json, a pipe, or
    ./FOLDER-objects.json. --json and --jsonl print a record a photo, masks as COCO RLE. What is left out of --layer,
    --size, --tau and --min-score is as measured best for the model.
    """
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)
    chosen = None if layer is None else whole_numbers(layer, "--layer")
    kind: As = as_ or ("coco" if output and Path(output).suffix.lower() == ".json" else "overlay")
    target = None
    if together := kind in ("coco", "coco-results"):
        jobs, target, written = one_for_all(inputs, output, "objects", records=report.records, ending="json")
    else:
        jobs, written = one_each(inputs, output, "object", records=report.records), True

    from cratecli.io.formats import coco
    from cratecli.tasks.batch import Failure, deliver
    from cratecli.tasks.features import FeatureCache
    from cratecli.tasks.objects import choose_object_recipe, objects_jobs
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    recipe = choose_object_recipe(
        loaded, layers=chosen, size=size, count=n, tau=tau, min_score=min_score, refine=refine
    )
    report.note(what_runs(loaded, str(recipe)))
    cache = FeatureCache(features_cache, loaded) if features_cache else None
    photos = []
    with report:
        for outcome in objects_jobs(
            jobs,
            loaded,
            recipe,
            picture="overlay" if kind == "overlay" else "labels" if kind == "labels" else None,
            batch_size=batch_size,
            stdin=stdin_for(jobs),
            cache=cache,
        ):
            if isinstance(outcome, Failure):
                report.fail(outcome)
                continue
            if not outcome.annotated.objects:
                report.note(f"{outcome.job.name}: no object found")
            place = outcome.job.target
            report.done(
                _record(outcome, recipe, loaded),
                *([] if together else [outcome.png if place is None else str(place)]),
            )
            if together and written:
                photos.append(outcome.annotated)
        if photos:
            info = {"description": what_runs(loaded, str(recipe))}
            content = coco.dataset(photos, info) if kind == "coco" else coco.results(photos)
            deliver(target, content)
            report.wrote(content if target is None else str(target))


def _record(done: "Found", recipe: "ObjectRecipe", model: "WhiteBox") -> dict[str, Any]:
    """Say about one photo what `--json` prints: px, upright; boxes as left, top, width, height."""
    photo = done.annotated
    return {
        "input": done.job.name,
        "output": None if done.job.target is None else str(done.job.target),
        "height": photo.height,
        "width": photo.width,
        "objects": [
            {"score": each.score, "area": each.area, "box": list(each.box), "rle": each.rle}
            for each in photo.objects
        ],
        "layers": list(recipe.layers),
        "size": recipe.sizes[0],
        "tau": recipe.tau,
        "min_score": recipe.min_score,
        "refine": recipe.refine,
        **named(model.weights),
    }
