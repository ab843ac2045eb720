"""Evaluate parts against labelled parts: NMI, ARI, and part IoU under the best matching."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import ClassVar, Unpack

import numpy as np
from jaxtyping import Int
from pydantic import Field

from cratecli.arrays import RGB
from cratecli.emergence.clusters import contingency, mutual_information, part_iou, rand_index
from cratecli.errors import InputError
from cratecli.evaluation.intervals import Bootstrap
from cratecli.evaluation.options import PartOptions, PartsOptions
from cratecli.evaluation.protocol import EvaluationProtocol, JudgedPhoto, SeenPhoto, Stage
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import Evaluation, ResultRow
from cratecli.evaluation.run import evaluate
from cratecli.evaluation.scores import PhotoScores, ScoreStore
from cratecli.io import datasets, images
from cratecli.io.datasets import Pair
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import Desk, Photo
from cratecli.runs.cache import FeatureCache
from cratecli.runs.jobs import Job
from cratecli.tasks.parts import Album, Labelled, PartRecipe, choose_part_recipe, label_album, learn_parts


class PartsScores(PhotoScores):
    """A photo's contingency table."""

    table: list[list[int]] = Field(
        description="Pixels by predicted part (rows) and true part (columns), each from 0, the background"
    )


@dataclass(frozen=True, eq=False)
class PartsProtocol(EvaluationProtocol[PartsScores]):
    """Photos with labelled parts, 0 for the background; parts are learned from all of them, as `crate parts` does.

    So no photo is judged before the model has seen all. Where scores are kept in a file, the features lie beside it
    until all are judged: a resumed run learns the parts anew without asking the model again.
    """

    name: ClassVar[ProtocolName] = "parts"
    scores_type = PartsScores

    recipe: PartRecipe

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give the options of `crate parts`."""
        return self.recipe.settings

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

    def stages(self, desk: Desk, store: ScoreStore[PartsScores]) -> Iterator[Stage[PartsScores]]:
        """Show all photos to the model, and then label and judge them."""
        data_set = self._data_set() if store.path else ""
        known = [self.known(pair, store, data_set) for pair in self.pairs]
        if None not in known:
            yield (photo for photo in known if photo is not None)
            return
        features = None if store.path is None else store.path.with_suffix(".features")
        if features is not None and desk.cache is None:
            desk = replace(desk, cache=FeatureCache(features, self.model))
        pairs = {Job(pair.image, None): pair for pair in self.pairs}
        with TemporaryDirectory(prefix="crate-") as folder:
            album, seen = Album(Path(folder), self.recipe), list[Job]()
            yield self._see(pairs, album, seen, desk)
            yield self._label(pairs, album, seen, desk, store, data_set=data_set)
        if features is not None:
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

    def _see(
        self, pairs: Mapping[Job, Pair], album: Album, seen: list[Job], desk: Desk
    ) -> Stage[PartsScores]:
        """Put photos into the album, and the jobs of those in it into `seen`."""

        def prepare(job: Job, rgb: RGB) -> RGB:
            datasets.refuse_other_size(rgb, datasets.read_labels(pairs[job].truth).shape, pairs[job])
            return rgb

        with closing(learn_parts(album, list(pairs), desk, self.recipe, prepare)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Job):
                    seen.append(outcome)
                    yield SeenPhoto(outcome)
                else:
                    yield outcome

    def _label(
        self,
        pairs: Mapping[Job, Pair],
        album: Album,
        seen: Sequence[Job],
        desk: Desk,
        store: ScoreStore[PartsScores],
        *,
        data_set: str,
    ) -> Stage[PartsScores]:
        """Learn the parts, label every photo of the album, and compare its labels with the truth."""
        vocabulary = album.learn()
        judged: dict[Job, JudgedPhoto[PartsScores]] = {}

        def judge(photo: Photo, labelled: Labelled) -> Labelled:
            pair = pairs[photo.job]
            truth = datasets.read_labels(pair.truth)
            scores = PartsScores(table=contingency(labelled.parts.labels, truth).tolist())
            store.add(self.score_key(pair, photo.sha256, data_set), pair.name, scores)
            judged[photo.job] = JudgedPhoto(pair.name, scores)
            return labelled

        with closing(label_album(album, seen, desk, vocabulary, self.recipe, written=judge)) as outcomes:
            for outcome in outcomes:
                yield judged.pop(outcome.job) if isinstance(outcome, Labelled) else outcome

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


def _stacked(tables: Sequence[Int[np.ndarray, "found true"]]) -> Int[np.ndarray, "photos found true"]:
    """Give tables one size, with zeros where labels are missing."""
    rows, cols = np.max([each.shape for each in tables], axis=0)
    return np.stack([np.pad(each, ((0, rows - each.shape[0]), (0, cols - each.shape[1]))) for each in tables])


def parts_protocol(path: Path, model: WhiteBox, **asked: Unpack[PartOptions]) -> PartsProtocol:
    """List a data set's photos and labels. Raises `InputError`, `NothingMatchedError`, `UsageError`."""
    recipe = choose_part_recipe(model, **asked)
    return PartsProtocol(model, path, datasets.paired(path, "masks_part"), recipe)


def evaluate_parts(
    path: str | Path, model: WhiteBox | str | Path | None = None, **asked: Unpack[PartsOptions]
) -> Evaluation:
    """Evaluate a model's parts of `path/images` against the labels in `path/masks_part`, 0 for the background.

    `model` is as in `evaluate_saliency`; see `PartsOptions`; `seed` is the clustering's. Raises what
    `evaluate_saliency` raises, and `InputError` for photos that show too little foreground.
    """
    return evaluate(parts_protocol, path, model, **asked)
