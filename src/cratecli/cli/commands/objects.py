"""`crate objects`: several objects a photo, with boxes and scores."""

from dataclasses import replace
from typing import Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import one_each, one_for_all, wants_combined
from cratecli.cli.photos import StreamOptions
from cratecli.cli.run import Run, Running, Writing
from cratecli.cli.spreading import Spreading
from cratecli.io.formats import Ending
from cratecli.tasks.options import COMBINED_ENDINGS, Combined, ObjectOptions, is_combined

As = Literal["overlay", "labels", Combined]


@grouped
def objects(
    photos: StreamOptions,
    *,
    output: options.Output = None,
    as_: Annotated[
        As | None,
        typer.Option(
            "--as",
            help="What is written; unless said, as -o FILE.json, .parquet or .tar ends, else an overlay a photo.",
        ),
    ] = None,
    ending: options.PictureEnding = None,
    asked: ObjectOptions,
    writing: Writing,
    engine: options.Engine = "auto",
    spreading: Spreading,
    running: Running,
) -> None:
    """Find objects: masks, boxes and scores, several a photo, or none.

    Pictures go where `crate segment` puts its masks; a COCO file is one for all photos: -o FILE.json, a pipe, or
    ./FOLDER-objects.json. --json and --jsonl print a record a photo, masks as COCO RLE. What is left out of --layer,
    --size, --n, --min-score, --min-best and --refine is as measured best for the model and --by; --tau is MaskCut's.
    """
    report = running.report()
    kind: As = as_ or wants_combined(output) or "overlay"

    from cratecli.tasks.pictures import choose_ending, refuse_pictures

    ended: Ending = "png"
    if is_combined(kind):
        refuse_pictures({}, ending)
        outputs, written = one_for_all(
            output, "objects", records=report.records, ending=COMBINED_ENDINGS[kind]
        )
    else:
        ended, written = choose_ending(output, ending, kind), True
        outputs = one_each(output, "object", records=report.records, piped=photos.piped, ending=ended)
    run = Run(photos, replace(outputs, streamed=True), running, report, writing, spreading=spreading)

    from cratecli.tasks.object_recipes import choose_object_recipe
    from cratecli.tasks.objects import objects_run
    from cratecli.tasks.records import objects_record

    with run.model(engine) as model:
        recipe = choose_object_recipe(model, **asked)
        report.starts(model, str(recipe), recipe.sizes)
        with run.desk(model) as desk:
            for photo in run.follow(
                objects_run(run.plan, desk, recipe, kind=kind if written else None, ending=ended)
            ):
                if not photo.annotated.objects:
                    report.note(f"{photo.job.name}: no object found")
                place = photo.job.output
                record = objects_record(photo, recipe, model)
                report.done(record, photo.content if place is None else place)
