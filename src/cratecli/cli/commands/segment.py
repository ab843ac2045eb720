"""`crate segment`: one mask a photo."""

from typing import Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import each_or_combined, wants_combined
from cratecli.cli.run import PhotoOptions, Run, Running, Writing
from cratecli.tasks.options import Combined, SegmentOptions

As = Literal["mask", "soft", "soft16", "cutout", "overlay", Combined]


@grouped
def segment(
    photos: PhotoOptions,
    *,
    output: options.Output = None,
    as_: Annotated[
        As | None,
        typer.Option("--as", help="What is written; for -o FILE.json a COCO dataset, else a mask a photo."),
    ] = None,
    asked: SegmentOptions,
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
    kind: As = as_ or ("coco" if wants_combined(output) else "mask")
    outputs, written = each_or_combined(
        output, kind, each=kind, all_="masks", records=report.records, piped=photos.piped
    )
    run = Run(photos, outputs, running, report, writing)

    from cratecli.tasks.recipes import choose_recipe
    from cratecli.tasks.records import segment_record
    from cratecli.tasks.segment import segment_run

    model = running.load()
    recipe = choose_recipe(model, **asked)
    report.starts(model, str(recipe), recipe.sizes)
    with run.desk(model) as desk:
        for photo in run.follow(segment_run(run.plan, desk, recipe, kind=kind if written else None)):
            result, target = photo.segmentation, photo.job.target
            if result.empty:
                report.note(f"{photo.job.name}: nothing found, confidence {result.confidence:.2f}")
            record = segment_record(photo, recipe, kind, rle=rle)
            report.done(record, photo.png if target is None else str(target))
