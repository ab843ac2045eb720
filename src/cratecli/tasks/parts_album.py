"""Photos that parts are learned from, shown to the model once: their descriptors wait on disk."""

from collections.abc import Callable, Sequence
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
from cratecli.runs.desk import DecodedPhoto
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.session import Session
from cratecli.tasks.parts import Album, PartMap, PhotoFeatures, features_of, label, question_of
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
) -> Outcomes[Job]:
    """Put photos into an album; gives the jobs in its order, and those that failed. Raises what `Album.add` raises.

    `prepare` is as `work_through` has it.
    """

    def finish(photo: DecodedPhoto, views: list[View]) -> tuple[DecodedPhoto, PhotoFeatures]:
        return photo, features_of(views, recipe)

    with closing(session.work(question_of(recipe), finish, prepare=prepare, recorded=False)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Failure | Skipped):
                yield outcome
            else:
                photo, features = outcome
                album.add(photo.rgb, features)
                yield photo.job


def label_album(
    album: Album,
    jobs: Sequence[Job],
    session: Session,
    vocabulary: Vocabulary,
    recipe: PartRecipe,
    *,
    written: Finish = unwritten,
) -> Outcomes[PartsPhoto]:
    """Label the photos of an album, given the jobs it was filled from, in that order; `written` writes pictures.

    A photo that has changed since is a `Failure`. Raises `OutputError` when an output cannot be written.
    """
    places = {job: index for index, job in enumerate(jobs)}

    def finish(photo: DecodedPhoto, _views: list[View]) -> PartsPhoto:
        name, features = album.open(places[photo.job])
        if fingerprint(photo.rgb) != name:
            raise InputError(f"{photo.job.name}: changed while it was in use")
        parts = label(photo.rgb, features, vocabulary, recipe.refine)
        return written(photo, PartsPhoto(photo.job, photo.rgb, parts, features.tokens))

    return session.work(None, finish, jobs)


def label_photos(
    session: Session, vocabulary: Vocabulary, recipe: PartRecipe, *, written: Finish = unwritten
) -> Outcomes[PartsPhoto]:
    """Label photos by a vocabulary that was learned before, as `label_album` does; a bad one is a `Failure`."""

    def finish(photo: DecodedPhoto, views: list[View]) -> PartsPhoto:
        features = features_of(views, recipe)
        parts = label(photo.rgb, features, vocabulary, recipe.refine)
        return written(photo, PartsPhoto(photo.job, photo.rgb, parts, features.tokens))

    return session.work(question_of(recipe), finish)
