"""`crate layers`: what each layer does to photos, where segmentation emerges."""

from typing import TYPE_CHECKING, Any

from cratecli.cli import options
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import one_for_all, stdin_for
from cratecli.cli.report import Report, named, what_runs

if TYPE_CHECKING:
    from cratecli.tasks.layers import Traced


def layers(
    inputs: options.Inputs,
    *,
    output: options.SheetOutput = None,
    model: options.Model = None,
    layer: options.LayersOrAll = None,
    size: options.Size = None,
    tau: options.Tau = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = 8,
    features_cache: options.FeaturesCache = None,
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what each layer does: coding rate, zero fraction, attention, principal components, MaskCut's first mask.

    Curves are the mean and the standard deviation over all photos; the first four are pictured. The sheet goes to
    -o FILE, to a pipe, or to ./STEM.layers.png; with --json it is made only for -o.
    """
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)
    chosen = None if layer is None or layer == "all" else whole_numbers(layer, "--layer")
    jobs, target, drawn = one_for_all(inputs, output, "layers", records=report.records)

    from cratecli.io.formats.png import encode_rgb
    from cratecli.tasks.batch import Failure, deliver
    from cratecli.tasks.features import FeatureCache
    from cratecli.tasks.layers import layer_sight, layers_jobs, layers_sheet
    from cratecli.tasks.recipe import TAU
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    sight = layer_sight(loaded, chosen, size)
    report.note(what_runs(loaded, sight.sight))
    cache = FeatureCache(features_cache, loaded) if features_cache else None
    traced: list[Traced] = []
    with report:
        for outcome in layers_jobs(
            jobs,
            loaded,
            sight,
            tau=TAU if tau is None else tau,
            batch_size=batch_size,
            stdin=stdin_for(jobs),
            cache=cache,
        ):
            if isinstance(outcome, Failure):
                report.fail(outcome)
                continue
            report.done(_record(outcome))
            traced.append(outcome)
        if drawn and traced:
            name = loaded.weights.name if loaded.weights else "model"
            png = encode_rgb(layers_sheet(traced, name))
            deliver(target, png)
            report.wrote(png if target is None else str(target))


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
