"""`crate layers`: what each layer does to photos, where segmentation emerges."""

from typing import TYPE_CHECKING, Any

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import one_for_all
from cratecli.cli.report import named
from cratecli.cli.run import Photos, Run, Running
from cratecli.cli.together import write_sheet

if TYPE_CHECKING:
    from cratecli.tasks.layers import Traced


@grouped
def layers(
    photos: Photos,
    *,
    output: options.SheetOutput = None,
    layer: options.LayersOrAll = None,
    size: options.Size = None,
    tau: options.Tau = None,
    running: Running,
) -> None:
    """Show what each layer does: coding rate, zero fraction, attention, principal components, MaskCut's first mask.

    Curves are the mean and the standard deviation over all photos; the first four are pictured. The sheet goes to
    -o FILE, to a pipe, or to ./STEM.layers.png; with --json it is made only for -o.
    """
    report = running.report()
    chosen = None if layer is None or layer == "all" else whole_numbers(layer, "--layer")
    planned, drawn = one_for_all(photos.inputs(), output, "layers", records=report.records)
    run = Run(planned, running, report)
    if run.over():
        return

    from cratecli.runs.provenance import provenance
    from cratecli.tasks.layers import layer_sight, layers_jobs, layers_sheet
    from cratecli.tasks.recipes import TAU

    loaded = running.load()
    sight = layer_sight(loaded, chosen, size)
    report.starts(loaded, sight.sight, sight.sizes)
    tau = TAU if tau is None else tau
    settings = {**photos.settings, **sight.sight_settings, "tau": repr(tau), **running.settings}
    made = provenance("layers", settings, loaded, running.batch_size, photos.given)
    traced: list[Traced] = []
    with run.desk(loaded) as desk:
        for photo in run.through(layers_jobs(run.plan.jobs, desk, sight, tau=tau)):
            report.done(_record(photo))
            traced.append(photo)
        if drawn and traced:
            traced.sort(key=lambda photo: report.order[photo.job.name])
            write_sheet(run, layers_sheet(traced, loaded.weights.name if loaded.weights else "model"), made)


def _record(done: "Traced") -> dict[str, Any]:
    """Say about one photo what `--json` prints: nats, and shares of 0 to 1."""
    trace = done.trace
    return {
        "input": done.job.name,
        "layers": list(trace.layers),
        "coding_rate": [round(float(rate), 4) for rate in trace.coding_rate],
        "zero_fraction": [round(float(share), 6) for share in trace.zero_fraction],
        "maskcut_area": [round(float(mask.mean()), 4) for mask in trace.mask],
        **named(trace.weights),
    }
