"""Explore photos from Python: a page, as `crate explore` makes it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Unpack

import numpy as np

from cratecli.errors import UsageError
from cratecli.explorer.run import choose_explore_recipe, explore_run
from cratecli.io.images import PhotoLike
from cratecli.model.unroll import WhiteBox
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import Inputs
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.outputs import Outputs, plan_run
from cratecli.runs.plan import means_folder
from cratecli.runs.planned import Plan
from cratecli.runs.refusals import refuse_output
from cratecli.runs.views import as_model
from cratecli.tasks.options import OneSizeOptions


def explore(
    photos: PhotoLike | Iterable[PhotoLike],
    output: str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    batch_size: int = 8,
    **asked: Unpack[OneSizeOptions],
) -> Path:
    """Write a page, one HTML file, in which people look inside the model on some photos; give the page's path.

    `photos` are one or several: paths, also of folders, Pillow images, or upright RGB arrays (0–255), which the page
    calls photo 0, photo 1, … Of paths alone the page is that of `crate explore`, to the byte. What is left out of
    `OneSizeOptions` is all layers, at the size of `layers`. A page that is there is overwritten. Raises the error of a
    bad photo, and then writes nothing; `UsageError` for photos that one page does not hold, `OutputError`, and what
    `load_model` raises.
    """
    one = isinstance(photos, str | Path | bytes | np.ndarray) or not isinstance(photos, Iterable)
    plan = _planned([photos] if one else list(photos), Path(output))  # type: ignore[list-item,arg-type]
    ready = as_model(model)
    recipe = choose_explore_recipe(ready, **asked)
    for failure in plan.failed:
        raise failure.error
    for outcome in explore_run(plan, Desk(ready, batch_size), recipe):
        if isinstance(outcome, Failure):
            raise outcome.error
    return Path(output)


def _planned(photos: list[PhotoLike], page: Path) -> Plan:
    """Plan the page of photos. Raises `UsageError`, and `NothingMatchedError` where there is none."""
    if means_folder(str(page)):
        raise UsageError(f"{page} is a folder: name the page in it; crate explore fills a folder")
    paths = [photo for photo in photos if isinstance(photo, str | Path)]
    if len(paths) == len(photos):
        return plan_run(Inputs(tuple(map(str, paths))), Outputs(str(page), "explore", "one", "html"))
    jobs = [
        Job(Path(photo), None, number) if isinstance(photo, str | Path) else Job(None, None, number, photo)
        for number, photo in enumerate(photos)
    ]
    for job in jobs:
        refuse_output(page, job.source, "html")
    return Plan(tuple(jobs), target=page, whole=(page,))
