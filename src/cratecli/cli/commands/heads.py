"""`crate heads`: what every head looks at, as one contact sheet."""

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import choose_form, sheet_or_arrays
from cratecli.cli.photos import PhotoOptions
from cratecli.cli.run import Run, Running, Writing
from cratecli.tasks.options import ViewOptions


@grouped
def heads(
    photos: PhotoOptions,
    *,
    output: options.SheetOutput = None,
    as_: options.SheetOrArrays = None,
    asked: ViewOptions,
    writing: Writing,
    engine: options.Engine = "auto",
    running: Running,
) -> None:
    """Show what every head looks at: a row a photo and layer, a column a head, with the score of `--heads agree`.

    Framed are the heads that carry at least an even share of what `--heads agree` makes of them all.
    The sheet goes to -o FILE, to a pipe, or to ./STEM.heads.png; arrays, a file a photo, go where `crate segment` puts
    its masks. With --json a sheet is made only for -o. Layers and sizes left out are those of `crate segment`.
    """
    report = running.report()
    kind = choose_form(output, as_, resume=writing.resume)
    outputs, drawn = sheet_or_arrays(output, "heads", kind, records=report.records, piped=photos.piped)
    run = Run(photos, outputs, running, report, writing)

    from cratecli.tasks.heads import heads_arrays, heads_run
    from cratecli.tasks.recipes import choose_view_recipe
    from cratecli.tasks.records import heads_record

    model = running.load_either(engine, run.plan)
    recipe = choose_view_recipe(model, **asked)
    report.starts(model, str(recipe), recipe.sizes)
    with run.desk(model) as desk:
        if kind == "sheet":
            for photo in run.follow(heads_run(run.plan, desk, recipe, drawn=drawn)):
                report.done(heads_record(photo, recipe))
        else:
            for each in run.follow(heads_arrays(run.plan, desk, recipe, kind)):
                target = each.done.job.target
                report.done(heads_record(each.done, recipe), each.content if target is None else str(target))
