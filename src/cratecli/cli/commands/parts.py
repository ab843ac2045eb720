"""`crate parts`: the parts that photos share, in the same colour in every one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import flag_of
from cratecli.cli.outputs import means_stdout
from cratecli.cli.photos import StreamOptions
from cratecli.cli.run import Run, Running
from cratecli.cli.spreading import Spreading
from cratecli.errors import UsageError
from cratecli.io.formats import ARRAY_ENDINGS, ArrayEnding
from cratecli.tasks.options import PartOptions, read_names
from cratecli.tasks.recipes import PartRecipe


@grouped
def parts(
    photos: StreamOptions,
    *,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="The folder for everything written.")
    ] = None,
    as_: Annotated[
        Literal["labels", "rgb", "components", ArrayEnding, "none"],
        typer.Option(
            "--as",
            help="What is written of each photo: part labels, principal components, all as arrays, or nothing.",
        ),
    ] = "labels",
    asked: PartOptions,
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
    prune: options.Prune = False,
    engine: options.Engine = "auto",
    spreading: Spreading,
    running: Running,
) -> None:
    """Find the parts that photos share: the same part has the same colour in every one.

    Into -o DIR, ./FOLDER-parts or ./parts go labels/ (indexed PNGs in VOC's palette) and overlays/, or rgb/,
    components/, npz/ or safetensors/; parts.json with areas, boxes and centroids; and sheet.png, the first photos side
    by side.
    Photos wait as descriptors, up to 2 GB, in the temporary folder (TMPDIR); where they are more, each pass looks at
    them again. So neither memory nor disk grow with them. --as none only learns, and writes what --save-parts says.
    """
    report = running.report()
    clash = [flag_of(name).long for name in asked if name not in ("refine", "range")]
    clash += ["--save-parts"] * bool(save_parts)
    if parts_ and clash:
        raise UsageError(f"--parts labels by what was learned: {clash[0]} makes no sense beside it")

    if as_ == "none":
        _refuse_outputs(output, parts_, prune=prune, refine="refine" in asked)

    handed_on = "k" not in asked and save_parts is not None and save_parts.exists()
    if names and not parts_ and not handed_on and (k := asked.get("k", PartRecipe.k)) != "auto":
        read_names(names, k)

    from cratecli.runs.outputs import Outputs

    if means_stdout(output):
        raise UsageError("parts fill a folder: give -o DIR")
    ending = as_ if as_ in ARRAY_ENDINGS else "png"
    asked_for = Outputs(output, as_, "parts", ending, prune=prune, save=save_parts, streamed=True)
    run = Run(photos, asked_for, running, report, spreading=spreading)

    from cratecli.tasks.parts_run import choose_vocabulary, parts_run

    with run.model(engine) as model:
        choice = choose_vocabulary(model, asked, parts=parts_, save=save_parts, names=names)
        report.starts(model, str(choice.recipe), choice.recipe.sizes)
        with run.desk(model) as desk:
            kind = None if as_ == "none" else as_
            outcomes = parts_run(run.plan, desk, choice, kind=kind)
            for photo in run.follow(outcomes, passes=2 if kind and not parts_ else 1):
                report.done(photo.record, *map(str, photo.written))


def _refuse_outputs(output: str | None, parts: Path | None, *, prune: bool, refine: bool) -> None:
    """Raise `UsageError` for options that say what is written of photos, where nothing is."""
    given = {
        "--output": output is not None,
        "--parts": parts is not None,
        "--prune": prune,
        "--refine": refine,
    }
    if flag := next((flag for flag, is_given in given.items() if is_given), None):
        raise UsageError(f"--as none writes nothing of the photos: {flag} makes no sense beside it")
