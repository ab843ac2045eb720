"""`crate heads`: what every head looks at, as one contact sheet."""

from typing import TYPE_CHECKING, Any

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import one_for_all
from cratecli.cli.report import named
from cratecli.cli.run import Photos, Run, Running
from cratecli.cli.together import write_sheet

if TYPE_CHECKING:
    from cratecli.tasks.heads import Judged


@grouped
def heads(
    photos: Photos,
    *,
    output: options.SheetOutput = None,
    layer: options.LayersOrAll = None,
    size: options.Sizes = None,
    running: Running,
) -> None:
    """Show what every head looks at: a row a photo and layer, a column a head, with the score of `--heads auto`.

    Framed are the heads that carry at least an even share of what `--heads auto` makes of them all.
    The sheet goes to -o FILE, to a pipe, or to
    ./STEM.heads.png; with --json it is made only for -o. Layers and sizes left out are those of `crate segment`.
    """
    report = running.report()
    layers = None if layer is None or layer == "all" else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    planned, drawn = one_for_all(photos.inputs(), output, "heads", records=report.records)
    run = Run(planned, running, report)
    if run.over():
        return

    from cratecli.runs.provenance import provenance
    from cratecli.tasks.heads import ROWS, heads_jobs, heads_sheet
    from cratecli.tasks.recipes import choose_recipe

    loaded = running.load()
    recipe = choose_recipe(loaded, layers=range(loaded.depth) if layer == "all" else layers, sizes=sizes)
    report.starts(loaded, recipe.sight, recipe.sizes)
    settings = {**photos.settings, **recipe.sight_settings, **running.settings}
    made = provenance("heads", settings, loaded, running.batch_size, photos.given)
    shown: list[Judged] = []
    done = 0
    with run.desk(loaded) as desk:
        for judged in run.through(heads_jobs(run.plan.jobs, desk, recipe)):
            done += 1
            report.done(_record(judged, recipe.sizes))
            if drawn and len(shown) * len(recipe.layers) < ROWS:
                shown.append(judged)
        if shown:
            if len(shown) < done:
                report.note(f"the sheet shows {len(shown)} of {done} photos; --json has them all")
            shown.sort(key=lambda judged: report.order[judged.job.name])
            write_sheet(run, heads_sheet(shown), made)


def _record(done: "Judged", sizes: tuple[int, ...]) -> dict[str, Any]:
    """Say about one photo what `--json` prints."""
    maps = done.maps
    return {
        "input": done.job.name,
        "layers": list(maps.layers),
        "sizes": list(sizes),
        "head_scores": [[round(float(score), 4) for score in layer] for layer in maps.scores],
        "head_shares": [[round(float(share), 4) for share in layer] for layer in maps.shares],
        **named(maps.weights),
    }
