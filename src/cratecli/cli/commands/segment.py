"""`crate segment`: one mask a photo."""

from dataclasses import replace
from typing import Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import one_each, one_for_all, wants_combined
from cratecli.cli.photos import StreamOptions
from cratecli.cli.run import Run, Running, Writing
from cratecli.cli.spreading import Spreading
from cratecli.tasks.options import COMBINED_ENDINGS, Combined, PictureOptions, SegmentOptions, is_combined

As = Literal["mask", "soft", "soft16", "cutout", "overlay", Combined]


@grouped
def segment(
    photos: StreamOptions,
    *,
    output: options.Output = None,
    as_: Annotated[
        As | None,
        typer.Option(
            "--as",
            help="What is written; unless said, as -o FILE.json, .parquet or .tar ends, else a mask a photo.",
        ),
    ] = None,
    shown: PictureOptions,
    ending: options.PictureEnding = None,
    asked: SegmentOptions,
    rle: options.Rle = False,
    writing: Writing,
    engine: options.Engine = "auto",
    spreading: Spreading,
    running: Running,
) -> None:
    """Segment photos: the model's attention becomes one mask a photo.

    One photo goes to -o FILE, to a pipe, or to ./STEM.mask.png; several, or a folder's, to a folder, as the same tree,
    with a manifest. A COCO file is one for all photos; Parquet and WebDataset too, or one for each shard that is read.
    Pictures are PNG, WebP or JPEG, as -o FILE ends. --crop and --margin are of all kinds of pictures; --background and
    --matting of cut-outs, which are then written unless --as says otherwise.
    What is left out of --layer, --heads, --keep, --refine and --size is as measured best for the model.
    """
    report = running.report()

    from cratecli.tasks.pictures import PictureChoice, choose_picture, refuse_pictures

    asked_kind: As | None = as_ or wants_combined(output)
    picture: PictureChoice | Combined
    kind: As
    if is_combined(asked_kind):
        refuse_pictures(shown, ending)
        kind = picture = asked_kind
        outputs, written = one_for_all(output, "masks", records=report.records, ending=COMBINED_ENDINGS[kind])
    else:
        picture = choose_picture(asked_kind, shown, output, ending)
        kind, written = picture.kind, True
        outputs = one_each(output, kind, records=report.records, piped=photos.piped, ending=picture.ending)
    run = Run(photos, replace(outputs, streamed=True), running, report, writing, spreading=spreading)

    from cratecli.tasks.recipes import choose_recipe
    from cratecli.tasks.records import segment_record
    from cratecli.tasks.segment_run import segment_run

    with run.model(engine) as model:
        recipe = choose_recipe(model, **asked)
        report.starts(model, str(recipe), recipe.sizes)
        with run.desk(model) as desk:
            for photo in run.follow(
                segment_run(run.plan, desk, recipe, picture=picture if written else None)
            ):
                result, place = photo.segmentation, photo.job.output
                if result.empty:
                    report.note(f"{photo.job.name}: left empty, confidence {result.confidence:.2f}")
                record = segment_record(photo, recipe, kind, rle=rle)
                report.done(record, photo.content if place is None else place)
