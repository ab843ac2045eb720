"""A run's photos: learned from, in one pass or two, and labelled in another."""

from collections.abc import Callable, Container, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.emergence.parts import Vocabulary
from cratecli.errors import InputError
from cratecli.io.formats.record import Annotated
from cratecli.runs.batch import Outcomes, as_it_is
from cratecli.runs.cache import fingerprint
from cratecli.runs.desk import DecodedPhoto, Finished, Result
from cratecli.runs.jobs import Failure, Job, SeenPhoto, Skipped
from cratecli.runs.portions import Portion
from cratecli.runs.session import Session
from cratecli.runs.views import Question
from cratecli.tasks.combined import work_portion
from cratecli.tasks.parts import PartMap, label
from cratecli.tasks.parts_features import Album, PhotoFeatures, features_of, question_of
from cratecli.tasks.recipes import PartRecipe


@dataclass(frozen=True, eq=False)
class PartsPhoto:
    """A photo of a run with its parts, and the descriptors of its patches."""

    job: Job
    rgb: RGB
    parts: PartMap
    tokens: Float[np.ndarray, "rows cols d"]


def undrawn(_photo: DecodedPhoto, labelled: PartsPhoto) -> PartsPhoto:
    """Make nothing of a labelled photo."""
    return labelled


@dataclass(frozen=True, eq=False)
class _Described:
    job: Job
    name: str
    features: PhotoFeatures


@dataclass(frozen=True)
class _Describe:
    """Keeps of a photo what parts are learned from, here or on another machine."""

    recipe: PartRecipe

    def __call__(self, photo: DecodedPhoto, views: list[View]) -> Finished[_Described]:
        described = _Described(photo.job, fingerprint(photo.rgb), features_of(views, self.recipe))
        height, width = photo.rgb.shape[:2]
        return Finished(described, Annotated(photo.job.name, height, width, ()))


def fill_album(
    album: Album, session: Session, recipe: PartRecipe, prepare: Callable[[Job, RGB], RGB] = as_it_is
) -> Generator[SeenPhoto | Failure | Skipped, None, set[str]]:
    """Put the photos of a run into an album, until it can be learned from; gives the names of those that failed.

    Those of which no descriptors could be kept are looked at twice, where the recipe needs that. No row is believed,
    and none written. `prepare` is as `work_through` has it. Raises what `Album.add` raises.
    """
    look = Session(session.plan, session.desk)  # without a manifest
    question, describe, failed = question_of(recipe), _Describe(recipe), set[str]()

    def looked() -> Outcomes[_Described]:
        portion = readable(look, failed)
        outcomes: Outcomes[_Described] = work_portion(look, portion, question, describe, prepare)
        with closing(outcomes):
            for outcome in outcomes:
                portion.done.clear()  # no file stands for these photos: they are forgotten
                yield outcome

    with closing(looked()) as seen:
        for outcome in seen:
            if isinstance(outcome, Failure | Skipped):
                failed.add(name_of(outcome.job))
                yield outcome
            else:
                album.add(outcome.name, outcome.features)
                yield SeenPhoto(outcome.job)
    if not album.looks_again or look.desk.stopping():
        return failed
    look.desk.note("all photos are looked at again, now that foreground and background are known")
    with closing(looked()) as seen:
        for outcome in told_once(seen, failed):
            if isinstance(outcome, Failure | Skipped):
                yield outcome
            else:
                album.add_again(outcome.name, outcome.features)
    if album.changed and not look.desk.stopping():
        look.desk.note("photos changed, or could not be read again, while parts were learned from them")
    return failed


def name_of(job: Job) -> str:
    """Tell a job from the others of a run, even if both have one name, in this pass over the photos and the next."""
    return f"{job.number} {job.name}"


def readable(session: Session, failed: Container[str]) -> Portion:
    """Give the photos of a run but for those that failed; of streams it is known again when they come."""
    return Portion([job for job in session.plan.jobs if name_of(job) not in failed], session.plan.streams)


def told_once(outcomes: Outcomes[Result], failed: set[str]) -> Iterator[Result | Failure | Skipped]:
    """Leave out the failures that are known from an earlier pass, and take note of the others."""
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            if (name := name_of(outcome.job)) in failed:
                continue
            failed.add(name)
        yield outcome


@dataclass(frozen=True, eq=False)
class Labelling(Generic[Result]):
    """Labels photos by a vocabulary, here or on other machines, and makes of each what `then` does.

    Those of a whole `album` are not shown to the model again; then one that has changed since raises `InputError`.
    """

    vocabulary: Vocabulary
    recipe: PartRecipe
    then: Callable[[DecodedPhoto, PartsPhoto], Result]
    album: Album | None = None

    @property
    def question(self) -> Question | None:
        """Say what the model is asked."""
        return question_of(self.recipe) if self._kept is None else None

    @property
    def _kept(self) -> Album | None:
        return self.album if self.album is not None and self.album.whole else None

    def __call__(self, photo: DecodedPhoto, views: list[View]) -> Result:
        """Label a photo."""
        if self._kept is None:
            features = features_of(views, self.recipe)
        elif (found := self._kept.find(fingerprint(photo.rgb))) is not None:
            features = found
        else:
            raise InputError(f"{photo.job.name}: changed while it was in use")
        parts = label(photo.rgb, features, self.vocabulary, self.recipe.refine)
        return self.then(photo, PartsPhoto(photo.job, photo.rgb, parts, features.tokens))


def label_photos(
    session: Session, labelling: Labelling[Result], failed: set[str] | None = None
) -> Outcomes[Result]:
    """Label the photos of a run, but for those that have `failed` before; nothing is recorded."""
    failed = set() if failed is None else failed
    portion = readable(session, failed)
    with closing(session.work(labelling.question, labelling, portion=portion)) as outcomes:
        yield from told_once(outcomes, failed)


def label_and_record(
    session: Session, labelling: Labelling[Finished[Result]], failed: set[str] | None = None
) -> Outcomes[Result]:
    """Label the photos of a run, as `label_photos` does, and record what is made of them. Raises `OutputError`."""
    failed = set() if failed is None else failed
    portion = readable(session, failed)
    outcomes: Outcomes[Result] = work_portion(session, portion, labelling.question, labelling)
    with closing(outcomes):
        yield from told_once(outcomes, failed)
