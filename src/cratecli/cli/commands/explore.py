"""`crate explore`: a page in which people look inside the model, photo by photo."""

from pathlib import Path
from typing import Annotated

import typer

from cratecli.cli.groups import grouped
from cratecli.cli.outputs import means_stdout, one_each, one_for_all
from cratecli.cli.photos import PhotoOptions
from cratecli.cli.run import Run, Running, Writing
from cratecli.errors import UsageError
from cratecli.tasks.options import OneSizeOptions


@grouped
def explore(
    photos: PhotoOptions,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="The page, one HTML file; or a folder, for a page and a data file a photo; `-` is stdout.",
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    asked: OneSizeOptions,
    writing: Writing,
    running: Running,
) -> None:
    """Look inside: a page of photos in which any patch's attention, in any head and layer, is a click away.

    One HTML file holds all: it needs no network, and opens from a disk. It goes to -o FILE, to a pipe, or to
    ./STEM.explore.html. Of many photos -o FOLDER/ makes a page that loads each photo's data when it is looked at.
    """
    report = running.report()

    from cratecli.runs.plan import means_folder

    folder = output is not None and not means_stdout(output) and means_folder(output)
    drawn = True
    if folder:
        outputs = one_each(output, "explore", records=report.records, ending="js")
    elif writing.resume:
        raise UsageError("--resume is of a file a photo, and a page is one of all: give -o FOLDER/")
    else:
        outputs, drawn = one_for_all(output, "explore", records=report.records, ending="html")
    if open_ and (outputs.to_stdout or not drawn):
        raise UsageError("--open needs a page on the disk: give -o FILE")
    run = Run(photos, outputs, running, report, writing)

    from cratecli.explorer.records import explore_record
    from cratecli.explorer.run import INDEX, choose_explore_recipe, explore_run

    model = running.load()
    recipe = choose_explore_recipe(model, **asked)
    report.starts(model, str(recipe), recipe.sizes)
    with run.desk(model) as desk:
        for photo in run.follow(explore_run(run.plan, desk, recipe, drawn=drawn)):
            target = photo.job.target
            report.done(explore_record(photo, recipe, model), *([] if target is None else [str(target)]))
    page = run.plan.target if run.plan.place is None else run.plan.place / INDEX
    if open_ and page is not None and page.exists():
        _open(page)


def _open(page: Path) -> None:
    """Open a page in the browser of this machine. Raises `UsageError` where there is none."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        raise UsageError(f"no browser opened {page}: open it yourself")
