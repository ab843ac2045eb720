"""Evaluation protocols: one model on one data set with ground truth, judged photo by photo and then added up."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import InputError
from cratecli.evaluation.intervals import RESAMPLES, Bootstrap
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import Evaluation, ResultRow
from cratecli.evaluation.scores import Scores, ScoreStore
from cratecli.files import relative_path
from cratecli.geometry import Size, fit_grid
from cratecli.io import images
from cratecli.io.datasets import Pair
from cratecli.model.engine import Model, WeightsId
from cratecli.runs.batch import Outcomes, work_through
from cratecli.runs.cache import identity
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Job, SeenPhoto
from cratecli.runs.views import Question
from cratecli.version import __version__

FORMAT = 3  # of a photo's scores: a change of what they hold takes the next number

SHOWN = 3  # names of photos in a note


@dataclass(frozen=True)
class JudgedPhoto(Generic[Scores]):
    """A photo, by name, and its scores, computed now or, if `known`, by an earlier run."""

    name: str
    scores: Scores
    known: bool = False


Judged = Outcomes[JudgedPhoto[Scores] | SeenPhoto]
"""The outcomes of an evaluation; a bad photo is a `Failure`, not the end."""


@dataclass(frozen=True, eq=False)
class EvaluationProtocol(ABC, Generic[Scores]):
    """How masks, objects or parts are evaluated on a data set: the photos of the folder `data`, in `pairs`.

    Each is paired with its truth.
    """

    name: ClassVar[ProtocolName]

    data: Path
    pairs: Sequence[Pair]

    @property
    @abstractmethod
    def weights(self) -> WeightsId | None:
        """Name the model that is evaluated, if it has a name."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Give all that decides the scores as plain data, nothing left to a default."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """Describe the recipe in one line."""

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """Explain how the measures are computed, a sentence each."""

    @abstractmethod
    def rows(self, scores: Mapping[str, Scores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Add up the scores of photos, by name, in the order of `pairs`."""

    @property
    def run_name(self) -> str | None:
        """Name the finished run that is judged, as the user did; none where a model is asked."""
        return None

    @property
    def folders(self) -> dict[str, Any]:
        """Name the folders of photos and masks, as seen from the data set's."""
        pair = self.pairs[0]
        places = {"images": pair.image.parent, "masks": pair.truth.parent}
        return {name: Path(relative_path(each, self.data)).as_posix() for name, each in places.items()}

    def findings(self, scores: Mapping[str, Scores]) -> tuple[str, ...]:
        """Say what the scores show besides the rows, a sentence each."""
        del scores
        return ()

    def doubts(self, scores: Mapping[str, Scores]) -> tuple[str, ...]:
        """Say what may be wrong with the ground truth, a sentence each."""
        del scores
        return ()

    def conclude(
        self, scores: Mapping[str, Scores], *, resamples: int = RESAMPLES, resample_seed: int = 0
    ) -> Evaluation:
        """Compute the measures from the scores by photo. Raises `InputError` where no photo has any."""
        if not scores:
            raise InputError(f"{self.data}: none of its photos could be evaluated")
        ordered = {pair.name: scores[pair.name] for pair in self.pairs if pair.name in scores}
        bootstrap = Bootstrap(len(ordered), resamples, resample_seed)
        return Evaluation(
            protocol=self.name,
            data=self.data,
            photos=len(ordered),
            failed=len(self.pairs) - len(ordered),
            rows=self.rows(ordered, bootstrap),
            recipe=self.summary,
            settings=self.settings,
            notes=(*self.notes, *self.findings(ordered), *self.doubts(ordered), str(bootstrap)),
            weights=self.weights,
            run=self.run_name,
        )


@dataclass(frozen=True, eq=False)
class ModelProtocol(EvaluationProtocol[Scores]):
    """How one model is evaluated.

    It sees the photos, and they are judged, in one of `passes` over the data set, or each in a pass of its own.
    """

    scores_type: ClassVar[type[Any]]
    passes: ClassVar[int] = 1

    model: Model

    @abstractmethod
    def judge_all(self, desk: Desk, store: ScoreStore[Scores]) -> Judged[Scores]:
        """Judge all photos, and put their scores into the store; those that it knows are given first."""

    @property
    def weights(self) -> WeightsId | None:
        """Name the model, if it has a name."""
        return self.model.weights

    def square(self, size: int) -> str:
        """Name the square that a photo is squeezed into: whole patches, as near to `size` px as can be."""
        patch = self.model.patch_size
        side = patch * fit_grid(Size(1, 1), size, patch).rows
        return f"{side} × {side} px"

    def score_key(self, pair: Pair, sha256: str, data_set: str = "") -> str:
        """Name a photo by its SHA-256, its truth's, and the data set's where scores depend on that.

        Raises `InputError` for a truth that cannot be read.
        """
        truth = hashlib.sha256(images.content(pair.truth)).hexdigest()
        return hashlib.sha256(f"{sha256} {truth} {data_set}".encode()).hexdigest()

    def known(self, pair: Pair, store: ScoreStore[Scores], data_set: str = "") -> JudgedPhoto[Scores] | None:
        """Find the scores that an earlier run computed, if any."""
        if len(store):
            with suppress(InputError):  # reported when the photo is read to be judged
                sha256 = hashlib.sha256(images.content(pair.image)).hexdigest()
                if (scores := store.find(self.score_key(pair, sha256, data_set))) is not None:
                    return JudgedPhoto(pair.name, scores, known=True)
        return None

    def open_store(self, folder: Path | None, *, resume: bool) -> ScoreStore[Scores]:
        """Choose the file for scores in a folder, named after all that decides them; without one, memory."""
        if folder is None:
            return ScoreStore(self.scores_type)
        numbers = self.model.place.numbers
        decisive = [FORMAT, __version__, self.name, self.settings, identity(self.model), numbers]
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return ScoreStore(self.scores_type, folder / f"{self.name}-{digest[:16]}.jsonl", resume=resume)


@dataclass(frozen=True, eq=False)
class PhotoProtocol(ModelProtocol[Scores]):
    """A protocol that judges every photo by itself."""

    @property
    @abstractmethod
    def question(self) -> Question:
        """Say which layers and sizes of every photo the model is asked for."""

    @abstractmethod
    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo against its truth, and crop it, before the model sees it. Raises `InputError`."""

    @abstractmethod
    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> Scores:
        """Score one photo against its truth. Raises `InputError`."""

    def judge_all(self, desk: Desk, store: ScoreStore[Scores]) -> Judged[Scores]:
        """Judge the photos in one pass."""
        pairs: dict[Job, Pair] = {}
        for pair in self.pairs:
            if (known := self.known(pair, store)) is not None:
                yield known
            else:
                pairs[Job(pair.image, None)] = pair

        def finish(photo: DecodedPhoto, views: Sequence[View]) -> JudgedPhoto[Scores]:
            pair = pairs[photo.job]
            scores = self.judge(pair, photo.rgb, views)
            store.add(self.score_key(pair, photo.sha256), pair.name, scores)
            return JudgedPhoto(pair.name, scores)

        def prepare(job: Job, rgb: RGB) -> RGB:
            return self.prepare(pairs[job], rgb)

        yield from work_through(list(pairs), desk, self.question, finish, prepare)


def told(found: Mapping[str, Sequence[str]], of_all: str) -> tuple[str, ...]:
    """Say what is found in which photos, a sentence for each that has some, with the first of their names."""
    return tuple(
        f"{len(names)} {of_all} {what}: {', '.join(names[:SHOWN])}{', …' * (len(names) > SHOWN)}"
        for what, names in found.items()
        if names
    )
