"""`crate heads`: what every head looks at, as one contact sheet."""

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import one_for_all
from cratecli.cli.run import PhotoOptions, Run, Running
from cratecli.tasks.options import ViewOptions


@grouped
def heads(
    photos: PhotoOptions,
    *,
    output: options.SheetOutput = None,
    asked: ViewOptions,
    running: Running,
) -> None:
    """Show what every head looks at: a row a photo and layer, a column a head, with the score of `--heads auto`.

    Framed are the heads that carry at least an even share of what `--heads auto` makes of them all.
    The sheet goes to -o FILE, to a pipe, or to
    ./STEM.heads.png; with --json it is made only for -o. Layers and sizes left out are those of `crate segment`.
    """
    report = running.report()
    outputs, drawn = one_for_all(output, "heads", records=report.records)
    run = Run(photos, outputs, running, report)

    from cratecli.tasks.heads import heads_run
    from cratecli.tasks.recipes import choose_view_recipe
    from cratecli.tasks.records import heads_record

    model = running.load()
    recipe = choose_view_recipe(model, **asked)
    report.starts(model, str(recipe), recipe.sizes)
    with run.desk(model) as desk:
        for photo in run.follow(heads_run(run.plan, desk, recipe, drawn=drawn)):
            report.done(heads_record(photo, recipe))
