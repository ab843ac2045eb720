"""One run over photos: its plan, its ledger and the desk that the engine works at, open for as long as it lasts."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import OutputError
from cratecli.io.formats.names import name_below
from cratecli.io.formats.record import Annotated
from cratecli.io.images import BYTES_A_PIXEL
from cratecli.io.opening import MAX_PIXELS
from cratecli.io.urls import is_url, shown
from cratecli.runs.batch import DecodedPhoto, Desk, Outcomes, as_it_is, work_through
from cratecli.runs.gone import AWAY, name_photos
from cratecli.runs.inputs import name_some
from cratecli.runs.jobs import Job, Skipped, deliver
from cratecli.runs.ledger import Ledger
from cratecli.runs.planned import Plan
from cratecli.runs.provenance import Command, Provenance, Selection, provenance
from cratecli.runs.streams import ahead, streamed
from cratecli.runs.views import Question

Result = TypeVar("Result")


@dataclass(frozen=True)
class Written:
    """A file that stands for the whole run: its path or URL, or, without a target, what standard output gets."""

    target: Path | str | None
    content: bytes


def provenance_of(
    command: Command, recipe: Mapping[str, Any], plan: Plan, desk: Desk, *, several: bool, **options: Any
) -> Provenance:
    """Say how a run makes its outputs; how photos were chosen is a part of that where an output is of `several`."""
    inputs = plan.inputs if several else None
    if inputs is not None:
        selection = Selection(
            recursive=inputs.recursive,
            include=list(inputs.include),
            exclude=list(inputs.exclude),
            files_from=inputs.files_from,
            null=inputs.null,
        )
        options |= {
            "inputs": [shown(each) if is_url(each) else each for each in inputs.named],
            "photos": selection,
        }
    most = None if desk.max_pixels == MAX_PIXELS else desk.max_pixels
    return provenance(command, recipe, desk.model, desk.batch_size, max_pixels=most, **options)


class Session:
    """One run, open: photos of its plan are worked through, and what becomes of them is recorded. Prints nothing."""

    def __init__(
        self, plan: Plan, desk: Desk, made: Provenance | None = None, *, shared: bool = True
    ) -> None:
        """Open the ledger, if outputs are `made` and a manifest has its place, and put it on the desk.

        Raises `OutputError` where another process is at work on the manifest and photos cannot be `shared`, and
        `InputError` for a manifest that is none.
        """
        self.plan = plan
        self._annotated: dict[Job, Annotated] = {}
        self._ledger: Ledger | None = None
        if plan.manifest is not None and made is not None:
            self._ledger = Ledger(plan.manifest, made)
            try:
                below = plan.inputs.folders if plan.inputs else ()
                if self._ledger.open(
                    plan.jobs,
                    resume=plan.resume,
                    also=plan.also,
                    below=below,
                    prune=plan.prune,
                    overwrite=plan.overwrite,
                ):
                    at_work = f"another crate is at work on {plan.manifest}"
                    if not shared:
                        raise OutputError(f"{at_work}: wait for it, or give another folder")
                    desk.note(f"{at_work}: sharing the photos{', pruning nothing' if plan.prune else ''}")
            except BaseException:
                self._ledger.close()
                raise
            self._tell_gone(self._ledger, desk)
            if beside := self._ledger.beside:
                names = _named(self._ledger, beside)
                desk.note(f"made of the same photos by an earlier run, and left as it was: {names}")
            for command, places in self._ledger.foreign.items():
                desk.note(f"of crate {command}, and replaced, unless edited: {_named(self._ledger, places)}")
        self._parts = made is not None and made.command == "parts"
        self.desk = replace(desk, ledger=self._ledger)

    def _tell_gone(self, ledger: Ledger, desk: Desk) -> None:
        """Tell of photos of earlier runs that are no longer there."""
        if away := ledger.missing.away:
            desk.note(AWAY.format(_named(ledger, away.values())))
        if not (gone := ledger.missing.gone):
            return
        names = _named(ledger, gone.values())
        if not self.plan.prune:
            desk.note(f"no longer there: {names}; --prune removes what was made of them")
            return
        desk.note(f"no longer there, and what was made of them removed: {names}")
        for name, reason in ledger.kept.items():
            desk.note(f"{ledger.manifest.parent / name}: {reason}, and is kept")

    def _tell_edited(self, ledger: Ledger) -> None:
        """Tell of the outputs that this run would have written, had nobody worked on them."""
        if ledger.edited:
            left, way = (
                (", which parts.json leaves out", "")
                if self._parts
                else ("", ", or give --exists overwrite,")
            )
            kept = f"{_named(ledger, ledger.edited)}{left}; delete them{way} to have them made again"
            self.desk.note(f"changed since they were made, and kept: {kept}")

    def work(
        self,
        question: Question | None,
        finish: Callable[[DecodedPhoto, list[View]], Result],
        jobs: Sequence[Job] | None = None,
        prepare: Callable[[Job, RGB], RGB] = as_it_is,
        *,
        recorded: bool = True,
    ) -> Outcomes[Result]:
        """Work through the plan's photos, or some `jobs` of it; see `work_through`.

        A pass that is not `recorded` believes no row, and writes none.
        """
        desk = self.desk if recorded else replace(self.desk, ledger=None)
        with (
            closing(self._jobs(self.plan.jobs if jobs is None else jobs, streams=jobs is None)) as some,
            closing(work_through(some, desk, question, finish, prepare)) as outcomes,
        ):
            for outcome in outcomes:
                if isinstance(outcome, Skipped):
                    self._recall(outcome.job)
                yield outcome

    def _jobs(self, jobs: Sequence[Job], *, streams: bool) -> Generator[Job, None, None]:
        """Give some photos, and those of the plan's streams, which are read ahead of the engine."""
        yield from jobs
        if streams and self.plan.streams:
            most = BYTES_A_PIXEL * self.desk.max_pixels
            stopping, note = self.desk.stopping, self.desk.note
            yield from ahead(streamed(self.plan.streams, self._ledger, most, note, stopping), stopping)

    def _recall(self, job: Job) -> None:
        """Keep the objects of a photo done before, where one file stands for all photos."""
        if job.target is None and self._ledger and (row := self._ledger.row(job)):
            self._annotated[job] = row.annotated

    def hand_over(
        self, photo: DecodedPhoto, content: bytes | None, annotated: Annotated, **facts: object
    ) -> None:
        """Write a photo's own output, if it has one, then its row; where one file stands for all, keep its objects.

        Raises `OutputError`.
        """
        self.desk.hand_over(photo, content, annotated, **facts)
        if photo.job.target is None:
            self._annotated[photo.job] = annotated

    def annotated(self) -> list[Annotated]:
        """Give the objects of all photos that are done, by this run or an earlier one, in the plan's order.

        Photos are named from the plan's root on.
        """
        jobs = [job for job in dict.fromkeys((*self.plan.jobs, *self._annotated)) if job in self._annotated]
        names = map(self._name, jobs)
        return [replace(self._annotated[job], name=name) for job, name in zip(jobs, names, strict=True)]

    def _name(self, job: Job) -> str:
        """Name a photo in a file of all."""
        root = self.plan.root
        if job.entry is not None:
            return job.entry.title
        return job.name if job.source is None or root is None else name_below(job.name, root)

    def write(self, content: bytes, target: Path | None = None) -> Written:
        """Write what stands for the whole run, to the plan's own target unless another is named.

        Raises `OutputError`.
        """
        if target is None and self.plan.target is not None and self.plan.destination is not None:
            self.plan.destination.write("", content)
            return Written(self.plan.destination.at(""), content)
        target = target or self.plan.target
        deliver(target, content)
        return Written(target, content)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the ledger, and tell of outputs that it kept."""
        if self._ledger:
            self._ledger.close()
            self._tell_edited(self._ledger)


def _named(ledger: Ledger, paths: Iterable[str]) -> str:
    """Name some of the paths that rows have."""
    return name_some(name_photos(ledger.manifest, paths))
