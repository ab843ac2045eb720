"""`crate objects`: several objects a photo, with boxes and scores."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import whole_numbers
from cratecli.cli.report import named, what_runs
from cratecli.cli.run import Photos, Run, Running, Writing
from cratecli.cli.together import Together, made_as, names_json, picture_as, plan_as, write_together

if TYPE_CHECKING:
    from cratecli.model.unroll import WhiteBox
    from cratecli.tasks.objects import Found, ObjectRecipe

As = Literal["overlay", "labels", Together]


@grouped
def objects(
    photos: Photos,
    *,
    output: options.Output = None,
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
    refine: options.Refine = None,
    layer: options.Layers = None,
    size: options.Size = None,
    writing: Writing,
    running: Running,
) -> None:
    """Find objects by MaskCut: masks, boxes and scores, several a photo, or none.

    Pictures go where `crate segment` puts its masks; a COCO file is one for all photos: -o FILE.json, a pipe, or
    ./FOLDER-objects.json. --json and --jsonl print a record a photo, masks as COCO RLE. What is left out of --layer,
    --size, --tau and --min-score is as measured best for the model.
    """
    report = running.report()
    chosen = None if layer is None else whole_numbers(layer, "--layer")
    kind: As = as_ or ("coco" if names_json(output) else "overlay")
    planned, whole = plan_as(photos.inputs(), output, kind, "object", "objects", records=report.records)
    run = Run(planned, running, report, writing)
    if run.over():
        return

    from cratecli.tasks.objects import choose_object_recipe, objects_jobs

    loaded = running.load()
    recipe = choose_object_recipe(
        loaded, layers=chosen, size=size, count=n, tau=tau, min_score=min_score, refine=refine
    )
    report.starts(loaded, str(recipe), recipe.sizes)
    made = made_as("objects", kind, recipe.settings, photos=photos, running=running, model=loaded)
    with run.desk(loaded, made) as desk:
        for done in run.through(
            objects_jobs(run.plan.jobs, desk, recipe, picture=picture_as(kind), made=made)
        ):
            if not done.annotated.objects:
                report.note(f"{done.job.name}: no object found")
            place = done.job.target
            report.done(record(done, recipe, loaded), done.png if place is None else str(place))
            run.keep(done.job, done.annotated)
        if whole:
            write_together(run, kind, what_runs(loaded, str(recipe)), made)


def record(done: "Found", recipe: "ObjectRecipe", model: "WhiteBox") -> dict[str, Any]:
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
