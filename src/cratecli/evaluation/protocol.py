"""One model on one data set: photos are judged one by one, as they come, and then added up."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypedDict

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import InputError
from cratecli.evaluation.result import RESAMPLES, Evaluation, Name, Resampling, Row
from cratecli.evaluation.scores import Found, Scores
from cratecli.geometry import Size, fit_grid
from cratecli.io import images
from cratecli.io.datasets import Pair
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import DecodedPhoto, Desk, Outcomes, work_through
from cratecli.runs.cache import identity
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.views import Question
from cratecli.version import __version__

FORMAT = 1  # of what is kept of a photo: a change of what is found out takes the next number


@dataclass(frozen=True)
class Judged:
    """A photo, by name, and what was found out about it, now or, if `known`, by a run before."""

    name: str
    found: Found
    known: bool = False


@dataclass(frozen=True)
class LookedAt:
    """A photo that is judged later, when all have been looked at."""

    job: Job


Stage = Outcomes[Judged | LookedAt]
"""What becomes of the photos in one pass; a bad one is a `Failure`, not the end."""


@dataclass(frozen=True, eq=False)
class Trial(ABC):
    """What a model is asked of a data set, and what that adds up to."""

    protocol: ClassVar[Name]

    model: WhiteBox
    data: Path
    pairs: Sequence[Pair]

    @property
    @abstractmethod
    def settings(self) -> dict[str, str | bool]:
        """Give what decides the outcome as options of the command line, nothing left to a default."""

    @property
    @abstractmethod
    def recipe_told(self) -> str:
        """Say in words how the model is asked."""

    def square(self, size: int) -> str:
        """Say which square a photo is squeezed into: whole patches, as near to `size` px as can be."""
        patch = self.model.patch_size
        side = patch * fit_grid(Size(1, 1), size, patch).rows
        return f"{side} × {side} px"

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """Say in words how photos are judged."""

    @abstractmethod
    def stages(self, desk: Desk, scores: Scores) -> Iterator[Stage]:
        """Go through the photos, but for those whose scores are known, once or more often."""

    @abstractmethod
    def rows(self, found: Mapping[str, Found], how: Resampling) -> tuple[Row, ...]:
        """Add up what was found out about photos, by name, in their order."""

    def key(self, pair: Pair, sha256: str, among: str = "") -> str:
        """Name a photo, known by its bytes, and its truth, `among` others that matter. Raises `InputError`."""
        truth = hashlib.sha256(images.content(pair.truth)).hexdigest()
        return hashlib.sha256(f"{sha256} {truth} {among}".encode()).hexdigest()

    def recall(self, pair: Pair, scores: Scores, among: str = "") -> Judged | None:
        """Find what is known of a photo; see `key`."""
        if scores:
            with suppress(InputError):  # it is told when the photo is looked at
                sha256 = hashlib.sha256(images.content(pair.image)).hexdigest()
                if (found := scores.find(self.key(pair, sha256, among))) is not None:
                    return Judged(pair.name, found, known=True)
        return None

    def scores(self, folder: Path | None, *, resume: bool) -> Scores:
        """Give the place for what is found out: a file in a folder, named after all that decides it, or memory."""
        if folder is None:
            return Scores()
        dtype = str(next(self.model.parameters()).dtype)
        sure = self.model.least_confidence
        told = [FORMAT, __version__, self.protocol, self.settings, identity(self.model), dtype, sure]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return Scores(folder / f"{self.protocol}-{digest[:16]}.jsonl", resume=resume)

    def conclude(self, found: Mapping[str, Found], how: Resampling) -> Evaluation:
        """Make the record. Raises `InputError` where no photo could be judged."""
        if not found:
            raise InputError(f"{self.data}: no photo of it could be judged")
        ordered = {pair.name: found[pair.name] for pair in self.pairs if pair.name in found}
        return Evaluation(
            protocol=self.protocol,
            data=self.data,
            photos=len(ordered),
            failed=len(self.pairs) - len(ordered),
            rows=self.rows(ordered, how),
            recipe=self.recipe_told,
            settings=self.settings,
            notes=(*self.notes, str(how)),
            weights=self.model.weights,
        )


@dataclass(frozen=True, eq=False)
class PhotoTrial(Trial):
    """A trial that judges every photo by itself."""

    @property
    @abstractmethod
    def question(self) -> Question:
        """Say what the model is asked of every photo."""

    @abstractmethod
    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo against its truth, before the model sees it. Raises `InputError`."""

    @abstractmethod
    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> Found:
        """Find out about one photo all that `rows` needs. Raises `InputError`."""

    def stages(self, desk: Desk, scores: Scores) -> Iterator[Stage]:
        """Go through the photos once."""
        yield self._judged(desk, scores)

    def _judged(self, desk: Desk, scores: Scores) -> Stage:
        pairs: dict[Job, Pair] = {}
        for pair in self.pairs:
            if (known := self.recall(pair, scores)) is not None:
                yield known
            else:
                pairs[Job(pair.image, None)] = pair

        def finish(photo: DecodedPhoto, views: Sequence[View]) -> Judged:
            pair = pairs[photo.job]
            found = self.judge(pair, photo.rgb, views)
            scores.add(self.key(pair, photo.sha256), pair.name, found)
            return Judged(pair.name, found)

        def prepare(job: Job, rgb: RGB) -> RGB:
            return self.prepare(pairs[job], rgb)

        yield from work_through(list(pairs), desk, self.question, finish, prepare)


class How(TypedDict, total=False):
    """How photos are judged, the same for every protocol.

    `batch_size` views go through the model at once (8). Photos are drawn again `resamples` times for intervals (1,000,
    0 for none), by `seed` (0). Where `scores` names a folder, they are kept there photo by photo, and believed with
    `resume`.
    """

    batch_size: int
    resamples: int
    seed: int
    scores: Path | None
    resume: bool


def run(
    trial: Trial,
    *,
    batch_size: int = 8,
    resamples: int = RESAMPLES,
    seed: int = 0,
    scores: Path | None = None,
    resume: bool = False,
) -> Evaluation:
    """Judge all photos and add up; see `How`. Raises the `InputError` of the first bad one."""
    found: dict[str, Found] = {}
    desk = Desk(trial.model, batch_size)
    with trial.scores(scores, resume=resume) as kept:
        for stage in trial.stages(desk, kept):
            with closing(stage):
                for outcome in stage:
                    if isinstance(outcome, Failure):
                        raise outcome.error
                    if isinstance(outcome, Judged):
                        found[outcome.name] = outcome.found
    return trial.conclude(found, Resampling(resamples, seed))
