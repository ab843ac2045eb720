"""What stands in one file for all photos of a run: COCO datasets and results, contact sheets."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import InputError
from cratecli.files import open_file
from cratecli.io.formats import coco, parquet, webdataset
from cratecli.io.formats.png import encode_rgb
from cratecli.io.formats.record import AnnotatedPhotos
from cratecli.io.sources.stores import open_object
from cratecli.runs.batch import Outcomes, as_it_is
from cratecli.runs.desk import DecodedPhoto, Finished, Result
from cratecli.runs.jobs import Job
from cratecli.runs.portions import Portion, Written, write_portion
from cratecli.runs.provenance import Provenance, relative
from cratecli.runs.session import Session
from cratecli.runs.streams import Stream
from cratecli.runs.views import Question, describe
from cratecli.tasks.options import is_combined


class _Kind(NamedTuple):
    """A kind of file with a row a photo: how it is written, and how it says how it was made."""

    write: Callable[[AnnotatedPhotos, Mapping[str, Any], BinaryIO], None]
    about: Callable[[BinaryIO], dict[str, Any]]


_ROWS: Mapping[object, _Kind] = {
    "parquet": _Kind(parquet.write, parquet.about),
    "webdataset": _Kind(webdataset.write, webdataset.about),
}


def work_and_write(
    session: Session,
    question: Question,
    finish: Callable[[DecodedPhoto, list[View]], Finished[Result]],
    kind: object,
    *,
    recipe: str,
    made: Provenance,
) -> Outcomes[Result | Written]:
    """Work through a run's photos, and write the file of all, or those of its shards, if `kind` is of such.

    `finish` makes a photo's outputs, here or on another machine; they are recorded here. Raises `OutputError`.
    """
    portions = _portions(session, kind, made)
    if (carrier := session.desk.carrier) is not None:
        for portion, outcome in carrier.work(session, portions, question, finish):
            if outcome is not None:
                yield outcome
                continue
            yield from _write_combined(session, kind, recipe, made, portion)
            portion.done.clear()
        return
    for portion in portions:
        yield from work_portion(session, portion, question, finish)
        yield from _write_combined(session, kind, recipe, made, portion)


def work_portion(
    session: Session,
    portion: Portion,
    question: Question | None,
    finish: Callable[[DecodedPhoto, list[View]], Finished[Result]],
    prepare: Callable[[Job, RGB], RGB] = as_it_is,
) -> Outcomes[Result]:
    """Work through some of a run's photos, here or where its carrier takes them, and record them here.

    What is not asked of a model, and what is to `prepare`, is not for other machines. Raises `OutputError`.
    """
    if (carrier := session.desk.carrier) is not None:
        if question is None or prepare is not as_it_is:
            raise ValueError("this is not for other machines")
        outcomes = (each for _, each in carrier.work(session, [portion], question, finish))
        yield from (each for each in outcomes if each is not None)
        return

    def record(photo: DecodedPhoto, views: list[View]) -> Result:
        return session.record(photo.job, photo.sha256, finish(photo, views), portion)

    yield from session.work(question, record, portion=portion, prepare=prepare)


def _portions(session: Session, kind: object, made: Provenance) -> Iterator[Portion]:
    """Give the photos of a run as files of a kind hold them.

    The file of a shard is finished if it was made from a shard of the same size and date, or tag of its store, by the
    same options, and no photo had failed: then the shard is not read.
    """

    def finished(stream: Stream) -> int | None:
        if (version := stream.packed.version()) is None or stream.whole is None:
            return None
        try:
            stored = stream.output if stream.destination else None
            with open_file(stream.whole) if stored is None else open_object(stored) as file:
                about = _ROWS[kind].about(file)
            of, then = about["of"], Provenance.model_validate(about["crate"])
            same = (of["version"], of["failed"], then.digest) == (version, 0, made.digest)
            return int(of["photos"]) if same else None
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return None

    return session.portions(finished)


def _write_combined(
    session: Session, kind: object, recipe: str, made: Provenance, portion: Portion
) -> Iterator[Written]:
    """Write the file of all photos that are done, earlier runs' included, if `kind` is one and the run ended.

    Raises `OutputError`.
    """
    if not is_combined(kind) or session.desk.stopping() or portion.finished is not None:
        return
    plan, local = session.plan, portion.target if portion.destination is None else None
    about = made.seen_from(local).as_data()
    info: dict[str, Any] = {"description": describe(session.desk.model, recipe), "crate": about}
    if kind in ("coco", "coco-results"):
        if not (done := list(session.annotated(portion))):
            return
        if plan.root is not None:
            info["root"] = relative(plan.root, local)
        yield session.write(coco.dataset(done, info) if kind == "coco" else coco.results(done))
        return
    photos, failed = portion.counts
    if len(portion.streams) == 1 and (version := portion.streams[0].packed.version()) is not None:
        info["of"] = {
            "source": portion.streams[0].name,
            "version": version,
            "photos": photos,
            "failed": failed,
        }
    rows = session.annotated(portion, Path() if local is None else local.parent, failed=True)
    if photos and not portion.came_to_nothing:
        yield write_portion(portion, lambda stream: _ROWS[kind].write(rows, info, stream))


def write_sheet(
    session: Session, sheet: RGB, made: Provenance, target: Path | None = None, number: int | None = None
) -> Written:
    """Write a contact sheet as PNG, to the plan's own target unless another is named; `number` is that of several.

    Raises `OutputError`.
    """
    about = made.seen_from(session.plan.target).model_copy(update={"sheet": number})
    return session.write(encode_rgb(sheet, about.to_json()), target)
