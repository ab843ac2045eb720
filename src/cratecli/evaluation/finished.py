"""Judge the masks of a finished run on a data set: photos are matched by their bytes, and no model is asked."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from cratecli.errors import InputError
from cratecli.evaluation.intervals import RESAMPLES
from cratecli.evaluation.protocol import EvaluationProtocol, Judged, JudgedPhoto
from cratecli.evaluation.result import Evaluation
from cratecli.evaluation.run import first_failure_ends
from cratecli.evaluation.scores import Scores
from cratecli.handover.edited import edited_outputs
from cratecli.handover.finished_run import FinishedPhoto, FinishedRun, read_run
from cratecli.handover.packed_run import manifest_of
from cratecli.io import images
from cratecli.io.datasets import Pair
from cratecli.io.formats.record import Annotated
from cratecli.io.urls import is_url, shown
from cratecli.model.engine import WeightsId
from cratecli.runs.inputs import name_some
from cratecli.runs.jobs import Failure, Job
from cratecli.wording import count_of

TOLD = ("layers", "sizes", "heads", "by", "keep", "refine")
"""What of a run's recipe stands under the table."""


@dataclass(frozen=True)
class OpenRun:
    """A finished run as the user named it, and how its masks were made."""

    name: str
    run: FinishedRun
    made: dict[str, Any]
    failed: int


@contextmanager
def opened(run: str) -> Iterator[OpenRun]:
    """Open a run's folder, its manifest, or its Parquet file or shard, for the block.

    Raises `InputError` where its masks were made in several ways, and what `manifest_of` and `read_run` raise.
    """
    with manifest_of(run) as (manifest, failed):
        finished, name = read_run(manifest), shown(run) if is_url(run) else run
        ways = [each for each in finished.info["made"] if isinstance(each, dict)]
        alike = {str([each.get(part) for part in ("command", "recipe", "weights_sha256")]) for each in ways}
        if len(alike) != 1:
            raise InputError(
                f"{name}: its masks were made in {len(alike)} ways: run it again into a new folder"
            )
        yield OpenRun(name, finished, ways[0], failed or 0)


@dataclass(frozen=True, eq=False)
class RunProtocol(EvaluationProtocol[Scores]):
    """How the masks of a finished run of `command` are judged."""

    command: ClassVar[str]

    opened: OpenRun

    def __post_init__(self) -> None:
        """Raise `InputError` for a run of another command."""
        if (command := self.opened.made.get("command")) != self.command:
            what = f"crate {command}" if isinstance(command, str) else "a command that it does not name"
            raise InputError(
                f"{self.opened.name}: a run of {what}: crate evaluate {self.name} judges runs of "
                f"crate {self.command}"
            )

    @abstractmethod
    def judge(self, pair: Pair, photo: Annotated) -> Scores:
        """Score the objects that a run has of one photo. Raises `InputError`."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Give the options that the run's masks were made with."""
        recipe = self.opened.made.get("recipe")
        return recipe if isinstance(recipe, dict) else {}

    @property
    def settings(self) -> dict[str, Any]:
        """Give the recipe, and the folders of photos and masks."""
        return self.recipe | self.folders

    @property
    def summary(self) -> str:
        """Describe the recipe in one line."""
        words = (f"{name} {_plain(self.recipe[name])}" for name in TOLD if name in self.recipe)
        return ", ".join([f"the masks of {self.opened.name}", *words])

    @property
    def weights(self) -> WeightsId | None:
        """Name the model that the run asked."""
        name, sha256 = (self.opened.made.get(part) for part in ("weights", "weights_sha256"))
        return WeightsId(name, sha256) if isinstance(name, str) and isinstance(sha256, str) else None

    @property
    def run_name(self) -> str | None:
        """Name the run."""
        return self.opened.name

    def judge_all(
        self, note: Callable[[str], None], stopping: Callable[[], bool] = lambda: False
    ) -> Judged[Scores]:
        """Judge the photos that are in the run, until `stopping`; those that are not are one failure together.

        Raises `InputError` where none is.
        """
        run = self.opened.run
        rows: dict[str, list[FinishedPhoto]] = {}
        for photo in run.photos:
            rows.setdefault(photo.sha256, []).append(photo)
        wanted: dict[int, list[Pair]] = {}
        missing: list[Pair] = []
        used: set[str] = set()
        for pair in self.pairs:
            if stopping():
                return
            try:
                sha256 = hashlib.sha256(images.content(pair.image)).hexdigest()
            except InputError as error:
                yield Failure(Job(pair.image, None), error)
                continue
            if same := rows.get(sha256):
                wanted.setdefault(_named_alike(same, pair).number, []).append(pair)
                used.add(sha256)
            else:
                missing.append(pair)
        if not wanted:
            raise InputError(
                f"{self.opened.name}: none of its photos is in {self.data}: they are matched by their bytes"
            )
        yield from self._missing(missing)
        self._tell(sum(len(each) for sha256, each in rows.items() if sha256 not in used), note)
        found = replace(run, photos=tuple(each for each in run.photos if each.number in wanted))
        for photo, annotated in found.rows():
            for pair in wanted[photo.number]:
                if stopping():
                    return
                try:
                    yield JudgedPhoto(pair.name, self.judge(pair, annotated))
                except InputError as error:
                    yield Failure(Job(pair.image, None), error)

    def _missing(self, pairs: Sequence[Pair]) -> Iterator[Failure]:
        """Tell of photos that the run does not have; those that it knows by name have changed."""
        names = {PurePosixPath(photo.name).name for photo in self.opened.run.photos}
        changed = [pair for pair in pairs if pair.image.name in names]
        others = [pair for pair in pairs if pair.image.name not in names]
        for some, why in (
            (changed, f"changed since {self.opened.name} was made"),
            (others, f"not in {self.opened.name}"),
        ):
            if some:
                error = InputError(f"{name_some([pair.image for pair in some])}: {why}")
                yield Failure(Job(some[0].image, None), error, len(some))

    def _tell(self, beyond: int, note: Callable[[str], None]) -> None:
        name = self.opened.name
        if beyond:
            note(f"{name}: {count_of(beyond, 'photo', ('is', 'are'))} not in {self.data}, and not judged")
        if self.opened.failed:
            note(f"{name}: {count_of(self.opened.failed, 'photo')} had failed")
        masks, _ = edited_outputs(self.opened.run)
        if masks:
            note(f"changed since they were made, and judged as they were made: {name_some(masks)}")


def _named_alike(photos: Sequence[FinishedPhoto], pair: Pair) -> FinishedPhoto:
    """Choose among photos of the same bytes: all have the same masks, unless somebody retouched one."""
    return next((each for each in photos if PurePosixPath(each.name).name == pair.image.name), photos[-1])


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def judge_run(
    protocol: RunProtocol[Scores],
    *,
    resamples: int = RESAMPLES,
    resample_seed: int = 0,
    note: Callable[[str], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
    follow: Callable[[Judged[Scores]], Iterable[object]] = first_failure_ends,
) -> Evaluation:
    """Judge all photos of a run, and compute the measures; `follow` hands on outcomes, as in `run_protocol`."""
    outcomes = follow(protocol.judge_all(note, stopping))
    judged = {each.name: each.scores for each in outcomes if isinstance(each, JudgedPhoto)}
    return protocol.conclude(judged, resamples=resamples, resample_seed=resample_seed)


def evaluate_run(
    choose_protocol: Callable[..., RunProtocol[Any]],
    path: str | Path,
    run: str | Path,
    model: object = None,
    **asked: Any,
) -> Evaluation:
    """Evaluate a finished run, as the `evaluate_…` functions do in place of a model. Raises `ValueError` for both."""
    if model is not None:
        raise ValueError("a run has masks: no model is asked")
    running = {name: asked.pop(name) for name in ("resamples", "resample_seed") if name in asked}
    with opened(str(run)) as finished:
        return judge_run(choose_protocol(Path(path), finished, **asked), **running)
