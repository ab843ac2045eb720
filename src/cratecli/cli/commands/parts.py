"""`crate parts`: the parts that photos share, in the same colour in every one."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import whole_numbers
from cratecli.cli.partjob import PARTS_FILE, SHEET_FILE, PartJob, read_names
from cratecli.cli.run import Photos, Run, Running
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.runs.inputs import Inputs
    from cratecli.runs.plan import Plan


@grouped
def parts(
    photos: Photos,
    *,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="The folder for everything written.")
    ] = None,
    k: Annotated[
        str | None,
        typer.Option(
            "-k",
            "--k",
            metavar="N|auto",
            help="How many parts; 4 unless said, or as many as in the vocabulary that --save-parts learns again.",
        ),
    ] = None,
    as_: Annotated[
        Literal["labels", "rgb", "components"],
        typer.Option("--as", help="What is drawn of each photo: part labels, or principal components."),
    ] = "labels",
    foreground: Annotated[
        Literal["attention", "pca", "none"] | None,
        typer.Option(
            help="What tells figure from ground: the heads, the first principal component, nothing."
        ),
    ] = None,
    refine: Annotated[
        Literal["none", "guided", "grabcut"],
        typer.Option(help="How edges follow the photo: all edges (guided), the outline (grabcut)."),
    ] = "none",
    save_parts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Save the part vocabulary; one that is there hands on its names and colours."
        ),
    ] = None,
    parts_: Annotated[
        Path | None,
        typer.Option("--parts", metavar="FILE", help="Label by a saved vocabulary instead of learning one."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Names for the parts, in the order of their labels: `head,body,legs`."
        ),
    ] = None,
    layer: options.Layers = None,
    size: options.Sizes = None,
    seed: Annotated[int, typer.Option(help="Starts k-means.")] = 0,
    running: Running,
) -> None:
    """Find the parts that photos share: the same part has the same colour in every one.

    Into -o DIR, ./FOLDER-parts or ./parts go labels/ (indexed PNGs in VOC's palette) and overlays/, or rgb/, or
    components/; parts.json with areas, boxes and centroids; and sheet.png, the first photos side by side.
    Photos wait as descriptors in the temporary folder (TMPDIR), so that memory does not grow with them.
    """
    report = running.report()
    fixed = {
        "--k": k,
        "--foreground": foreground,
        "--layer": layer,
        "--size": size,
        "--save-parts": save_parts,
        "--seed": seed or None,
    }
    if parts_ and (clash := [name for name, value in fixed.items() if value is not None]):
        raise UsageError(f"--parts labels by what was learned: {clash[0]} makes no sense beside it")
    chosen = None if layer is None else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    count = _count("4" if k is None else k)
    planned = _plan(photos.inputs(), output, as_, save_parts)
    known = names is not None and count != "auto" and not parts_
    if known and (k or not save_parts or not save_parts.exists()):
        read_names(names or "", count if isinstance(count, int) else 0)
    run = Run(planned, running, report)
    if run.over():
        return

    from cratecli.runs.provenance import provenance
    from cratecli.tasks.parts import choose_part_recipe

    loaded = running.load()
    recipe = choose_part_recipe(
        loaded, layers=chosen, sizes=sizes, foreground=foreground, k=count, refine=refine, seed=seed
    )
    asked = {**photos.settings, **running.settings, "as": as_} | ({} if names is None else {"names": names})
    with TemporaryDirectory(prefix="crate-") as folder:
        made = partial(provenance, "parts", model=loaded, batch_size=running.batch_size, inputs=photos.given)
        job = PartJob(run, loaded, recipe, lambda settings: made(settings={**asked, **settings}))
        if parts_:
            job.known(parts_, names, as_)
        else:
            job.learn(Path(folder), save_parts, names, k, as_)


def _count(text: str) -> int | Literal["auto"]:
    """Read `auto` or one whole number."""
    if text == "auto":
        return "auto"
    numbers = whole_numbers(text, "--k")
    if len(numbers) > 1:
        raise UsageError(f"--k {text!r} is not one whole number, or auto")
    return numbers[0]


def _plan(inputs: "Inputs", output: str | None, kind: str, save: Path | None) -> "Plan":
    """Choose the folder for everything, and each photo's place in it."""
    from cratecli.runs.plan import plan

    if output == "":
        raise UsageError("a path is empty")
    alone = inputs.alone and bool(inputs.folders)
    place = Path(output or (f"{inputs.folders[0].resolve().name}-parts" if alone else "parts"))
    if output == "-":
        raise UsageError("parts fill a folder: give -o DIR")
    if place.is_file() or place.suffix.lower() in (".png", ".jpg", ".json"):
        raise UsageError(f"{place} is a file, or named like one: parts fill a folder")
    if any(Path(name).resolve() == place.resolve() for name in inputs.named):
        raise UsageError(
            f"{place} is an input: choose another output, or the sheet becomes a photo of the next run"
        )
    planned = plan(inputs, f"{place / kind}{os.sep}", kind, to_stdout=False, apart=place)
    sources = {os.path.realpath(job.source) for job in planned.jobs if job.source is not None}
    written = [place / SHEET_FILE, place / PARTS_FILE]
    within = [job.target.relative_to(place / kind) for job in planned.jobs if job.target is not None]
    written += [place / folder / each for each in within for folder in {kind, "overlays"}]
    if taken := [path for path in written if os.path.realpath(path) in sources]:
        raise UsageError(f"{taken[0]} is an input: choose another output")
    if save and os.path.realpath(save) in map(os.path.realpath, written):
        raise UsageError(f"{save} is written by this run anyway: choose another file for the vocabulary")
    return replace(planned, place=place, also=tuple({place / "overlays" / each.parent for each in within}))
