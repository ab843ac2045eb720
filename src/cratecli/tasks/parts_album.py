"""A run's photos: learned from, in one pass or two, and labelled in another."""

from collections.abc import Callable, Container, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.emergence.parts import Vocabulary
from cratecli.errors import InputError
from cratecli.runs.batch import Outcomes, as_it_is
from cratecli.runs.cache import fingerprint
from cratecli.runs.desk import DecodedPhoto, Result
from cratecli.runs.jobs import Failure, Job, SeenPhoto, Skipped
from cratecli.runs.portions import Portion
from cratecli.runs.session import Session
from cratecli.tasks.parts import PartMap, label
from cratecli.tasks.parts_features import Album, PhotoFeatures, features_of, question_of
from cratecli.tasks.recipes import PartRecipe


@dataclass(frozen=True, eq=False)
class PartsPhoto:
    """A photo of a run with its parts, the descriptors of its patches, and the files that were written of it."""

    job: Job
    rgb: RGB
    parts: PartMap
    tokens: Float[np.ndarray, "rows cols d"]
    written: tuple[Path, ...] = ()


Finish = Callable[[DecodedPhoto, PartsPhoto], PartsPhoto]
"""Writes the pictures of a labelled photo, in a thread of the engine."""


def unwritten(_photo: DecodedPhoto, labelled: PartsPhoto) -> PartsPhoto:
    """Write nothing."""
    return labelled


def fill_album(
    album: Album, session: Session, recipe: PartRecipe, prepare: Callable[[Job, RGB], RGB] = as_it_is
) -> Generator[SeenPhoto | Failure | Skipped, None, set[str]]:
    """Put the photos of a run into an album, until it can be learned from; gives the names of those that failed.

    Those of which no descriptors could be kept are looked at twice, where the recipe needs that. `prepare` is as
    `work_through` has it. Raises what `Album.add` raises.
    """

    def finish(photo: DecodedPhoto, views: list[View]) -> tuple[Job, str, PhotoFeatures]:
        return photo.job, fingerprint(photo.rgb), features_of(views, recipe)

    failed = set[str]()
    question = question_of(recipe)
    with closing(session.work(question, finish, prepare=prepare, recorded=False)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Failure | Skipped):
                failed.add(name_of(outcome.job))
                yield outcome
            else:
                job, name, features = outcome
                album.add(name, features)
                yield SeenPhoto(job)
    if not album.looks_again or session.desk.stopping():
        return failed
    session.desk.note("all photos are looked at again, now that foreground and background are known")
    portion = readable(session, failed)
    with closing(
        session.work(question, finish, prepare=prepare, portion=portion, recorded=False)
    ) as outcomes:
        for outcome in told_once(outcomes, failed):
            if isinstance(outcome, Failure | Skipped):
                yield outcome
            else:
                _, name, features = outcome
                album.add_again(name, features)
    if album.changed and not session.desk.stopping():
        session.desk.note("photos changed, or could not be read again, while parts were learned from them")
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


def label_photos(
    session: Session,
    vocabulary: Vocabulary,
    recipe: PartRecipe,
    *,
    album: Album | None = None,
    failed: set[str] | None = None,
    written: Finish = unwritten,
) -> Outcomes[PartsPhoto]:
    """Label the photos of a run by a vocabulary; `written` writes pictures.

    Those of a whole `album` are not shown to the model again, and one that has changed since is a `Failure`. Photos
    that have `failed` before are left out. Raises `OutputError` when an output cannot be written.
    """
    kept = album if album is not None and album.whole else None
    failed = set() if failed is None else failed

    def finish(photo: DecodedPhoto, views: list[View]) -> PartsPhoto:
        if kept is None:
            features = features_of(views, recipe)
        elif (found := kept.find(fingerprint(photo.rgb))) is not None:
            features = found
        else:
            raise InputError(f"{photo.job.name}: changed while it was in use")
        parts = label(photo.rgb, features, vocabulary, recipe.refine)
        return written(photo, PartsPhoto(photo.job, photo.rgb, parts, features.tokens))

    question = question_of(recipe) if kept is None else None
    with closing(session.work(question, finish, portion=readable(session, failed))) as outcomes:
        yield from told_once(outcomes, failed)
