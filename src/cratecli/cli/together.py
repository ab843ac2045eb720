"""What stands in one file for all photos: COCO datasets and results, contact sheets."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from cratecli.cli.outputs import one_each, one_for_all

if TYPE_CHECKING:
    import numpy as np

    from cratecli.cli.run import Run
    from cratecli.tasks.inputs import Inputs
    from cratecli.tasks.plan import Plan
    from cratecli.tasks.provenance import Provenance

Together = Literal["coco", "coco-results"]
TOGETHER: tuple[Together, ...] = get_args(Together)


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


def write_together(run: "Run", kind: str, description: str, made: "Provenance") -> None:
    """Write the file of all photos that were done, those done before included. Raises `OutputError`."""
    from cratecli.io.formats import coco
    from cratecli.tasks.jobs import deliver

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
    from cratecli.tasks.jobs import deliver

    target = run.plan.target
    png = encode_rgb(sheet, made.text(target))
    deliver(target, png)
    run.report.wrote(png if target is None else str(target))
