"""What stands in one file for all photos of a run: COCO datasets and results, contact sheets."""

from collections.abc import Iterator
from pathlib import Path

from cratecli.arrays import RGB
from cratecli.io.formats import coco
from cratecli.io.formats.png import encode_rgb
from cratecli.runs.provenance import Provenance, relative
from cratecli.runs.session import Session, Written
from cratecli.runs.views import describe
from cratecli.tasks.options import is_combined


def write_combined(session: Session, kind: object, recipe: str, made: Provenance) -> Iterator[Written]:
    """Write the COCO file of all photos that are done, earlier runs' included, if `kind` is one and the run ended.

    Raises `OutputError`.
    """
    if not is_combined(kind) or session.desk.stopping() or not (photos := session.annotated()):
        return
    about = made.seen_from(session.plan.target).as_data()
    info = {"description": describe(session.desk.model, recipe), "crate": about}
    if session.plan.root is not None:
        info["root"] = relative(session.plan.root, session.plan.target)
    yield session.write(coco.dataset(photos, info) if kind == "coco" else coco.results(photos))


def write_sheet(
    session: Session, sheet: RGB, made: Provenance, target: Path | None = None, number: int | None = None
) -> Written:
    """Write a contact sheet as PNG, to the plan's own target unless another is named; `number` is that of several.

    Raises `OutputError`.
    """
    about = made.seen_from(session.plan.target).model_copy(update={"sheet": number})
    return session.write(encode_rgb(sheet, about.to_json()), target)
