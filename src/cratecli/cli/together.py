"""What stands in one file for all photos: COCO datasets and results, contact sheets."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast, get_args

from cratecli.cli.outputs import one_each, one_for_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from cratecli.cli.run import Photos, Run, Running
    from cratecli.model.unroll import WhiteBox
    from cratecli.runs.inputs import Inputs
    from cratecli.runs.plan import Plan
    from cratecli.runs.provenance import Provenance, Setting

Together = Literal["coco", "coco-results"]
TOGETHER: tuple[Together, ...] = get_args(Together)
Picture = TypeVar("Picture", bound=str)


def names_json(output: str | None) -> bool:
    """Tell whether an output's name asks for a COCO file."""
    return output is not None and Path(output).suffix.lower() == ".json"


def plan_as(
    inputs: "Inputs", output: str | None, kind: str, each: str, all_: str, *, records: bool
) -> "tuple[Plan, bool]":
    """Plan a picture for `each` photo, or one COCO file of `all_`; tell whether a file for all is made."""
    if kind in TOGETHER:
        return one_for_all(inputs, output, all_, records=records, ending="json")
    return one_each(inputs, output, each, records=records), False


def picture_as(kind: Picture | Together) -> Picture | None:
    """Give the kind of picture that each photo gets; none, where a file stands for all."""
    return None if kind in TOGETHER else cast("Picture", kind)


def made_as(
    command: str,
    kind: str,
    recipe: "Mapping[str, Setting]",
    *,
    photos: "Photos",
    running: "Running",
    model: "WhiteBox",
) -> "Provenance":
    """Say how outputs are made; how photos were chosen is a part of that only where a file stands for all."""
    from cratecli.runs.provenance import provenance

    chosen, inputs = (photos.settings, photos.given) if kind in TOGETHER else ({}, ())
    settings = {"as": kind, **chosen, **recipe, **running.settings}
    return provenance(command, settings, model, running.batch_size, inputs)


def write_together(run: "Run", kind: str, description: str, made: "Provenance") -> None:
    """Write the file of all photos that were done, those done before included. Raises `OutputError`."""
    from cratecli.io.formats import coco
    from cratecli.runs.jobs import deliver

    photos, target = run.kept(), run.plan.target
    if not photos:
        return
    info = {"description": description, "crate": made.since(target)}
    content = coco.dataset(photos, info) if kind == "coco" else coco.results(photos)
    deliver(target, content)
    run.report.wrote(content if target is None else str(target))


def write_sheet(run: "Run", sheet: "np.ndarray", made: "Provenance") -> None:
    """Write a contact sheet, RGB, as PNG. Raises `OutputError`."""
    from cratecli.io.formats.png import encode_rgb
    from cratecli.runs.jobs import deliver

    target = run.plan.target
    png = encode_rgb(sheet, made.text(target))
    deliver(target, png)
    run.report.wrote(png if target is None else str(target))
