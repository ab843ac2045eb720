"""`crate heads`: what every head looks at, as one contact sheet."""

from typing import TYPE_CHECKING, Any

from cratecli.cli import options
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import one_for_all, stdin_for
from cratecli.cli.report import Report, named, what_runs

if TYPE_CHECKING:
    from cratecli.tasks.heads import Judged


def heads(
    inputs: options.Inputs,
    *,
    output: options.SheetOutput = None,
    model: options.Model = None,
    layer: options.LayersOrAll = None,
    size: options.Sizes = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = 8,
    features_cache: options.FeaturesCache = None,
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what every head looks at: a row a photo and layer, a column a head, with the score of `--heads auto`.

    Framed are the heads that carry at least an even share of what `--heads auto` makes of them all.
    The sheet goes to -o FILE, to a pipe, or to
    ./STEM.heads.png; with --json it is made only for -o. Layers and sizes left out are those of `crate segment`.
    """
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)
    layers = None if layer is None or layer == "all" else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    jobs, target, drawn = one_for_all(inputs, output, "heads", records=report.records)

    from cratecli.io.formats.png import encode_rgb
    from cratecli.tasks.batch import Failure, deliver
    from cratecli.tasks.features import FeatureCache
    from cratecli.tasks.heads import ROWS, heads_jobs, heads_sheet
    from cratecli.tasks.recipe import choose_recipe
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    recipe = choose_recipe(loaded, layers=range(loaded.depth) if layer == "all" else layers, sizes=sizes)
    report.note(what_runs(loaded, recipe.sight))
    cache = FeatureCache(features_cache, loaded) if features_cache else None
    shown: list[Judged] = []
    done = 0
    with report:
        for outcome in heads_jobs(
            jobs, loaded, recipe, batch_size=batch_size, stdin=stdin_for(jobs), cache=cache
        ):
            if isinstance(outcome, Failure):
                report.fail(outcome)
                continue
            done += 1
            report.done(_record(outcome, recipe.sizes))
            if drawn and len(shown) * len(recipe.layers) < ROWS:
                shown.append(outcome)
        if drawn and shown:
            if len(shown) < done:
                report.note(f"the sheet shows {len(shown)} of {done} photos; --json has them all")
            png = encode_rgb(heads_sheet(shown))
            deliver(target, png)
            report.wrote(png if target is None else str(target))


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
