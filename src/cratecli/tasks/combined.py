"""What stands in one file for all photos of a run: COCO datasets and results, contact sheets."""

from collections.abc import Iterator

from typing_extensions import TypeIs

from cratecli.arrays import RGB
from cratecli.io.formats import coco
from cratecli.io.formats.png import encode_rgb
from cratecli.runs.provenance import Provenance, relative
from cratecli.runs.session import Session, Written
from cratecli.runs.views import describe
from cratecli.tasks.options import COMBINED, Combined


def is_combined(kind: object) -> TypeIs[Combined]:
    """Tell whether an output kind is one file for all photos."""
    return kind in COMBINED


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


def write_sheet(session: Session, sheet: RGB, made: Provenance) -> Written:
    """Write a contact sheet as PNG. Raises `OutputError`."""
    return session.write(encode_rgb(sheet, made.seen_from(session.plan.target).to_json()))
