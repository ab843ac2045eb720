"""One run over photos: its plan, its ledger and the desk that the engine works at, open for as long as it lasts."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
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
from cratecli.runs.batch import Outcomes, as_it_is, work_through
from cratecli.runs.desk import DecodedPhoto, Desk, Finished
from cratecli.runs.gone import AWAY, name_photos
from cratecli.runs.inputs import name_some
from cratecli.runs.jobs import Failure, Job, Skipped, deliver
from cratecli.runs.ledger import Ledger
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Portion, Written
from cratecli.runs.provenance import Command, Provenance, Selection, provenance
from cratecli.runs.streams import PATIENCE, Stream, ahead, streamed
from cratecli.runs.views import Question

Result = TypeVar("Result")


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
        self._in_hand = Portion(plan.jobs, plan.streams)
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
                    tops=plan.tops,
                ):
                    at_work = f"another crate is at work on {plan.manifest}"
                    if not shared or desk.carrier is not None:
                        raise OutputError(f"{at_work}: wait for it, or give another folder")
                    desk.note(f"{at_work}: sharing the photos{', pruning nothing' if plan.prune else ''}")
            except BaseException:
                self._ledger.close()
                raise
            if plan.destination is not None:
                desk.note(f"what is done is noted in {plan.manifest}, which --resume and crate export go by")
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

    def portions(self, finished: Callable[[Stream], int | None]) -> Iterator[Portion]:
        """Give the run's photos: all together, and apart those of streams that a file each stands for.

        `finished` counts the photos of a file that is there, and as this run would make it. Processes that share a run
        deal out streams; one with a carrier shares nothing, and may hold several portions at once.
        """
        own = [each for each in self.plan.streams if each.whole is not None]
        rest = [each for each in self.plan.streams if each.whole is None]
        if self.plan.jobs or rest or not own:
            portion = Portion(self.plan.jobs, rest, self.plan.target, self.plan.destination)
            for failure in self.plan.failed if portion.jobs else ():
                self.settle(failure, portion)
            yield portion
        waiting, ledger = own, self._ledger if self.desk.carrier is None else None
        while waiting and not self.desk.stopping():
            elsewhere = []
            for each in waiting:
                if ledger and not ledger.claim_whole(each.name):
                    elsewhere.append(each)
                    continue
                try:
                    done = finished(each) if self.plan.resume else None
                    yield Portion((), (each,), each.whole, each.destination, done)
                finally:
                    if ledger:
                        ledger.give_back_whole(each.name)
            if len(elsewhere) == len(waiting):
                time.sleep(PATIENCE)
            waiting = elsewhere

    def settle(self, outcome: object, portion: Portion) -> None:
        """Note a photo that one file stands for, and that was done before, or failed."""
        if isinstance(outcome, Skipped) and outcome.job.target is None:
            portion.done[outcome.job] = None
        elif isinstance(outcome, Failure) and outcome.job.target is None:
            failed = Annotated(outcome.job.name, 0, 0, (), error=str(outcome.error))
            portion.done[outcome.job] = failed

    def work(
        self,
        question: Question | None,
        finish: Callable[[DecodedPhoto, list[View]], Result],
        jobs: Sequence[Job] | None = None,
        prepare: Callable[[Job, RGB], RGB] = as_it_is,
        *,
        portion: Portion | None = None,
    ) -> Outcomes[Result]:
        """Work through the plan's photos, some `jobs` of it, or a `portion`; see `work_through`."""
        if portion is None:
            portion = Portion(
                self.plan.jobs if jobs is None else jobs, self.plan.streams if jobs is None else ()
            )
        if portion.finished is not None:
            yield from [Skipped(Job(None, None)) for _ in range(portion.finished)]
            return
        self._in_hand = portion
        with (
            closing(self._jobs(portion)) as some,
            closing(work_through(some, self.desk, question, finish, prepare)) as outcomes,
        ):
            for outcome in outcomes:
                self.settle(outcome, portion)
                yield outcome

    def _jobs(self, portion: Portion) -> Generator[Job, None, None]:
        """Give the photos of a portion; those of streams are read ahead of the engine."""
        yield from portion.jobs
        if portion.streams:
            most = BYTES_A_PIXEL * self.desk.max_pixels
            stopping, note = self.desk.stopping, self.desk.note
            ledger = None if portion.streams[0].whole else self._ledger  # else it is claimed already
            yield from ahead(streamed(portion.streams, ledger, most, note, stopping), stopping)

    def hand_over(
        self, job: Job, sha256: str, content: bytes | None, annotated: Annotated, **facts: Any
    ) -> None:
        """Write a photo's own output, if it has one, then its row; where one file stands for all, keep its objects.

        Raises `OutputError`.
        """
        self.record(job, sha256, Finished(None, annotated, content, facts), self._in_hand)

    def record(self, job: Job, sha256: str, done: Finished[Result], portion: Portion) -> Result:
        """Hand over what was made of a photo of a portion, and give the result. Raises `OutputError`."""
        self.desk.hand_over(job, sha256, done)
        if job.target is None:
            sure = done.facts.get("confidence")
            portion.done[job] = (
                None if self._ledger else replace(done.annotated, confidence=sure, sha256=sha256)
            )
        return done.result

    def annotated(
        self, portion: Portion, folder: Path | None = None, *, failed: bool = False
    ) -> Iterator[Annotated]:
        """Give the objects of a portion's photos that are done, by this run or an earlier one, in the plan's order.

        Photos are named from the plan's root on, their sources from `folder` on; those that `failed` may be among them.
        Rows of a manifest are read again, one after the other.
        """
        for job in sorted(portion.done, key=self.plan.order_of):
            found = portion.done[job]
            if found is None and self._ledger and (row := self._ledger.row(job)):
                found = row.annotated
            if found is not None and (failed or found.error is None):
                yield replace(found, name=self._name(job, portion), source=job.seen_from(folder or Path()))

    def _name(self, job: Job, portion: Portion) -> str:
        """Name a photo in a file of all."""
        root = self.plan.root
        if job.entry is not None:
            return job.entry.member if portion.apart and job.entry.member else job.entry.title
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
