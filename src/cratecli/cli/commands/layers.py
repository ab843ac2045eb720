"""`crate layers`: what each layer does to photos, where segmentation emerges."""

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import one_for_all
from cratecli.cli.run import PhotoOptions, Run, Running
from cratecli.tasks.options import LayerOptions


@grouped
def layers(
    photos: PhotoOptions,
    *,
    output: options.SheetOutput = None,
    asked: LayerOptions,
    running: Running,
) -> None:
    """Show what each layer does: coding rate, zero fraction, attention, principal components, MaskCut's first mask.

    Curves are the mean and the standard deviation over all photos; the first four are pictured. The sheet goes to
    -o FILE, to a pipe, or to ./STEM.layers.png; with --json it is made only for -o.
    """
    report = running.report()
    outputs, drawn = one_for_all(output, "layers", records=report.records)
    run = Run(photos, outputs, running, report)

    from cratecli.tasks.layers import layers_run
    from cratecli.tasks.recipes import choose_layer_recipe
    from cratecli.tasks.records import layers_record

    model = running.load()
    recipe = choose_layer_recipe(model, **asked)
    report.starts(model, str(recipe), recipe.sizes)
    with run.desk(model) as desk:
        for photo in run.follow(layers_run(run.plan, desk, recipe, drawn=drawn)):
            report.done(layers_record(photo))
