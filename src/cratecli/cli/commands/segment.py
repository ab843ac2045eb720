"""`crate segment`: one mask a photo."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import heads_named, whole_numbers
from cratecli.cli.report import named, what_runs
from cratecli.cli.run import Photos, Run, Running, Writing
from cratecli.cli.together import Together, made_as, names_json, picture_as, plan_as, write_together

if TYPE_CHECKING:
    from cratecli.tasks.recipes import Recipe
    from cratecli.tasks.segment import Segmented

As = Literal["mask", "soft", "soft16", "cutout", "overlay", Together]


@grouped
def segment(
    photos: Photos,
    *,
    output: options.Output = None,
    as_: Annotated[
        As | None,
        typer.Option("--as", help="What is written; for -o FILE.json a COCO dataset, else a mask a photo."),
    ] = None,
    layer: options.Layers = None,
    heads: options.Heads = "auto",
    keep: options.Keep = None,
    refine: options.Refine = None,
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
    rle: options.Rle = False,
    writing: Writing,
    running: Running,
) -> None:
    """Segment photos: the model's attention becomes one mask a photo.

    One photo goes to -o FILE, to a pipe, or to ./STEM.mask.png; several, or a folder's, to a folder, as the same tree,
    with a manifest. A COCO file is one for all photos.
    What is left out of --layer, --heads, --keep, --refine and --size is as measured best for the model.
    """
    report = running.report()
    chosen = heads_named(heads)
    layers = None if layer is None else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    kind: As = as_ or ("coco" if names_json(output) else "mask")
    planned, whole = plan_as(photos.inputs(), output, kind, kind, "masks", records=report.records)
    run = Run(planned, running, report, writing)
    if run.over():
        return

    from cratecli.tasks.recipes import choose_recipe
    from cratecli.tasks.segment import segment_jobs

    loaded = running.load()
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
    report.starts(loaded, str(recipe), recipe.sizes)
    made = made_as("segment", kind, recipe.settings, photos=photos, running=running, model=loaded)
    with run.desk(loaded, made) as desk:
        for done in run.through(segment_jobs(run.plan.jobs, desk, recipe, kind=picture_as(kind), made=made)):
            found, target = done.segmentation, done.job.target
            if found.empty:
                report.note(f"{done.job.name}: nothing found, confidence {found.confidence:.2f}")
            report.done(record(done, kind, recipe, rle=rle), done.png if target is None else str(target))
            run.keep(done.job, done.annotated)
        if whole:
            write_together(run, kind, what_runs(loaded, str(recipe)), made)


def record(done: "Segmented", kind: str, recipe: "Recipe", *, rle: bool) -> dict[str, Any]:
    """Say about one photo what `--json` prints: px, upright; the box as left, top, width, height."""
    found = done.segmentation
    box = found.box
    told: dict[str, Any] = {
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
    if rle:
        told["rle"] = done.annotated.objects[0].rle if done.annotated.objects else None
    return told
