"""Evaluate parts against labelled parts: NMI, ARI, and part IoU under the best matching."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, ClassVar, Unpack

import numpy as np
from jaxtyping import Int
from pydantic import Field

from cratecli.arrays import RGB
from cratecli.emergence.clusters import contingency, mutual_information, part_iou, rand_index
from cratecli.errors import InputError
from cratecli.evaluation.intervals import Bootstrap
from cratecli.evaluation.options import PartsOptions
from cratecli.evaluation.protocol import Judged, JudgedPhoto, ModelProtocol, told
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import Evaluation, ResultRow
from cratecli.evaluation.run import evaluate
from cratecli.evaluation.scores import PhotoScores, ScoreStore
from cratecli.io import datasets, images
from cratecli.io.formats.indexed import VOID
from cratecli.io.truth import read_labels
from cratecli.model.engine import Model
from cratecli.runs.cache import FeatureCache
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Job
from cratecli.runs.limits import temporary_folder
from cratecli.runs.planned import Plan
from cratecli.runs.session import Session
from cratecli.tasks.options import PartOptions
from cratecli.tasks.parts_album import Labelling, PartsPhoto, fill_album, label_photos
from cratecli.tasks.parts_features import Album
from cratecli.tasks.recipes import PartRecipe, choose_part_recipe
from cratecli.wording import count_of


class PartsScores(PhotoScores):
    """A photo's contingency table."""

    table: list[list[int]] = Field(
        description="Pixels by predicted part (rows) and true part (columns), each from 0, the background."
    )


@dataclass(frozen=True, eq=False)
class PartsProtocol(ModelProtocol[PartsScores]):
    """Photos with labelled parts, 0 for the background; parts are learned from all of them, as `crate parts` does.

    So no photo is judged before the model has seen all. Where scores are kept in a file, the features lie beside it
    until all are judged: a resumed run learns the parts anew without asking the model again.
    """

    name: ClassVar[ProtocolName] = "parts"
    scores_type = PartsScores
    passes = 2

    recipe: PartRecipe

    @property
    def settings(self) -> dict[str, Any]:
        """Give the recipe."""
        return self.recipe.as_data() | self.folders

    @property
    def summary(self) -> str:
        """Describe the recipe in one line."""
        return str(self.recipe)

    @property
    def notes(self) -> tuple[str, ...]:
        """Explain what is counted."""
        return (
            "NMI and ARI of all pixels, the background a part of its own, and within the true object",
            "part IoU: clusters and true parts matched one to one (Hungarian), all photos together; the mean over true "
            "parts, one without a cluster counting 0",
            "parts are learned once, from all photos; for intervals only the judged photos are resampled",
        )

    def judge_all(self, desk: Desk, store: ScoreStore[PartsScores]) -> Judged[PartsScores]:
        """Show all photos to the model, and then label and judge them."""
        data_set = self._data_set() if store.path else ""
        known = [self.known(pair, store, data_set) for pair in self.pairs]
        if None not in known:
            yield from (photo for photo in known if photo is not None)
            return
        features = None if store.path is None else store.path.with_suffix(".features")
        if features is not None and desk.cache is None:
            desk = replace(desk, cache=FeatureCache(features, self.model))
        pairs = {Job(pair.image, None): pair for pair in self.pairs}
        judged: dict[Job, JudgedPhoto[PartsScores]] = {}

        def judge(photo: DecodedPhoto, labelled: PartsPhoto) -> PartsPhoto:
            pair = pairs[photo.job]
            truth = read_labels(pair.truth)
            scores = PartsScores(table=contingency(labelled.parts.labels, truth).tolist())
            store.add(self.score_key(pair, photo.sha256, data_set), pair.name, scores)
            judged[photo.job] = JudgedPhoto(pair.name, scores)
            return labelled

        def prepare(job: Job, rgb: RGB) -> RGB:
            datasets.refuse_other_size(rgb.shape[:2], read_labels(pairs[job].truth).shape, pairs[job])
            return rgb

        with temporary_folder() as folder, Session(Plan(tuple(pairs)), desk) as session:
            album = Album(folder, self.recipe)
            failed = yield from fill_album(album, session, self.recipe, prepare)
            if desk.stopping():
                return
            vocabulary = album.learn()
            labelled = label_photos(session, Labelling(vocabulary, self.recipe, judge, album), failed)
            with closing(labelled):
                for outcome in labelled:
                    yield judged.pop(outcome.job) if isinstance(outcome, PartsPhoto) else outcome
        if features is not None and not desk.stopping():
            rmtree(features, ignore_errors=True)

    def rows(self, scores: Mapping[str, PartsScores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Compute the measures of the photos' summed contingency tables."""
        tables = _stacked([np.array(each.table) for each in scores.values()])
        inside = tables[:, :, 1:]
        measures = (
            bootstrap.measure("NMI", tables, mutual_information),
            bootstrap.measure("ARI", tables, rand_index),
            bootstrap.measure("NMI, object", inside, mutual_information),
            bootstrap.measure("ARI, object", inside, rand_index),
            bootstrap.measure("part IoU", tables, part_iou),
        )
        return (ResultRow(f"k {self.recipe.k}", measures),)

    def doubts(self, scores: Mapping[str, PartsScores]) -> tuple[str, ...]:
        """Say which labels may have been meant otherwise."""
        found = dict[str, list[str]]()
        for name, each in scores.items():
            labels = np.flatnonzero(np.sum(each.table, axis=0)).tolist()
            if len(labels) == 1:
                whole = "label no part: all is background" if labels == [0] else "have one label all over"
                found.setdefault(whole, []).append(name)
            if VOID in labels:
                void = f"have pixels of label {VOID}, void in VOC, which counts as a part"
                found.setdefault(void, []).append(name)
        return told(found, f"of {count_of(len(scores), 'label map')}")

    def _data_set(self) -> str:
        """Name all photos and their truth by one SHA-256: the parts that are learned depend on each."""
        together = hashlib.sha256()
        for pair in self.pairs:
            try:
                sha256 = hashlib.sha256(images.content(pair.image)).hexdigest()
                together.update(self.score_key(pair, sha256).encode())
            except InputError:  # reported when the model is to see the photo
                together.update(pair.name.encode(errors="surrogateescape"))
        return together.hexdigest()


def _stacked(tables: Sequence[Int[np.ndarray, "predicted true"]]) -> Int[np.ndarray, "photos predicted true"]:
    """Give tables one size, with zeros where labels are missing."""
    rows, cols = np.max([each.shape for each in tables], axis=0)
    return np.stack([np.pad(each, ((0, rows - each.shape[0]), (0, cols - each.shape[1]))) for each in tables])


def parts_protocol(
    path: Path,
    model: Model,
    *,
    images: str | None = None,
    masks: str | None = None,
    **asked: Unpack[PartOptions],
) -> PartsProtocol:
    """List a data set's photos and labels. Raises `InputError`, `NothingMatchedError`, `UsageError`."""
    recipe = choose_part_recipe(model, **asked)
    return PartsProtocol(path, datasets.paired(path, datasets.PARTS, images, masks), model, recipe)


def evaluate_parts(
    path: str | Path, model: Model | str | Path | None = None, **asked: Unpack[PartsOptions]
) -> Evaluation:
    """Evaluate a model's parts of `path/images` against the labels in `path/masks_part`, 0 for the background.

    `images` and `masks` name other folders in `path`; `seed` is the clustering's. `model` is as in
    `evaluate_saliency`; see `PartsOptions`. Raises what `evaluate_saliency` raises, and `InputError` for photos
    that show too little foreground.
    """
    return evaluate(parts_protocol, path, model, **asked)
