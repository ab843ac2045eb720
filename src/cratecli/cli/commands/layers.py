"""`crate layers`: what each layer does to photos, where segmentation emerges."""

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.outputs import choose_form, sheet_or_arrays
from cratecli.cli.photos import PhotoOptions
from cratecli.cli.run import Run, Running, Writing
from cratecli.tasks.options import LayerOptions


@grouped
def layers(
    photos: PhotoOptions,
    *,
    output: options.SheetOutput = None,
    as_: options.SheetOrArrays = None,
    asked: LayerOptions,
    writing: Writing,
    running: Running,
) -> None:
    """Show what each layer does: coding rate, zero fraction, attention, principal components, MaskCut's first mask.

    Curves are the mean and the standard deviation over all photos; the first four are pictured. The sheet goes to
    -o FILE, to a pipe, or to ./STEM.layers.png; arrays, a file a photo, go where `crate segment` puts its masks. With
    --json a sheet is made only for -o.
    """
    report = running.report()
    kind = choose_form(output, as_, resume=writing.resume)
    outputs, drawn = sheet_or_arrays(output, "layers", kind, records=report.records, piped=photos.piped)
    run = Run(photos, outputs, running, report, writing)

    from cratecli.tasks.layers import layers_arrays, layers_run
    from cratecli.tasks.recipes import choose_layer_recipe
    from cratecli.tasks.records import layers_record

    model = running.load()
    recipe = choose_layer_recipe(model, **asked)
    report.starts(model, str(recipe), recipe.sizes)
    with run.desk(model) as desk:
        if kind == "sheet":
            for photo in run.follow(layers_run(run.plan, desk, recipe, drawn=drawn)):
                report.done(layers_record(photo))
        else:
            for each in run.follow(layers_arrays(run.plan, desk, recipe, kind)):
                target = each.done.job.target
                report.done(layers_record(each.done), each.content if target is None else str(target))
