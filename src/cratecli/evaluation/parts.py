"""Judge parts by labelled parts: information and pairs shared, and overlap under the best matching."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal, Unpack

import numpy as np
from jaxtyping import Int

from cratecli.arrays import RGB
from cratecli.emergence.clusters import contingency, mutual_information, part_iou, rand_index
from cratecli.emergence.parts import Foreground
from cratecli.errors import InputError
from cratecli.evaluation.protocol import How, Judged, LookedAt, Stage, Trial, run
from cratecli.evaluation.result import Draws, Evaluation, Name, Resampling, Row
from cratecli.evaluation.scores import Found, Scores
from cratecli.io import datasets, images
from cratecli.io.datasets import Pair
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import DecodedPhoto, Desk
from cratecli.runs.cache import FeatureCache
from cratecli.runs.jobs import Job
from cratecli.runs.views import as_model
from cratecli.tasks.parts import Album, Labelled, PartRecipe, choose_part_recipe, label_album, learn_parts
from cratecli.tasks.recipes import Refine


@dataclass(frozen=True, eq=False)
class PartsTrial(Trial):
    """Photos with labelled parts, 0 for the ground; parts are learned from all of them, as `crate parts` does.

    So no photo is judged before all have been looked at. What the model showed waits beside the scores, where these
    are kept in a file: taken up again, a run learns anew without asking the model.
    """

    protocol: ClassVar[Name] = "parts"

    recipe: PartRecipe

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give the options of `crate parts`."""
        return self.recipe.settings

    @property
    def recipe_told(self) -> str:
        """Say the recipe in words."""
        return str(self.recipe)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what is counted."""
        return (
            "NMI and ARI of all pixels, the ground a part of its own, and within the true object",
            "part IoU: clusters and true parts matched one to one (Hungarian), all photos together; the mean over true "
            "parts, one without a cluster counting 0",
            "parts are learned once, from all photos; for intervals only the judged photos are drawn again",
        )

    def stages(self, desk: Desk, scores: Scores) -> Iterator[Stage]:
        """Look at all photos, and then label and judge them."""
        whole = self._whole() if scores.path else ""
        recalled = [self.recall(pair, scores, whole) for pair in self.pairs]
        known = [each for each in recalled if each is not None]
        if len(known) == len(self.pairs):
            yield (each for each in known)
            return
        cache = desk.cache
        features = None if scores.path is None else scores.path.with_suffix(".features")
        if cache is None and features is not None:
            cache = FeatureCache(features, self.model)
        desk = replace(desk, cache=cache)

        def keep(pair: Pair, sha256: str, found: Found) -> None:
            scores.add(self.key(pair, sha256, whole), pair.name, found)

        pairs = {Job(pair.image, None): pair for pair in self.pairs}
        with TemporaryDirectory(prefix="crate-") as folder:
            album, put = Album(Path(folder), self.recipe), list[Job]()
            yield self._look(pairs, album, put, desk)
            yield self._label(pairs, album, put, desk, keep=keep)
        if features is not None:
            rmtree(features, ignore_errors=True)

    def rows(self, found: Mapping[str, Found], how: Resampling) -> tuple[Row, ...]:
        """Add the photos' tables up."""
        draws = Draws.of(len(found), how)
        tables = _stacked([np.array(each["table"]) for each in found.values()])
        inside = tables[:, :, 1:]
        measures = (
            draws.measure("NMI", tables, mutual_information),
            draws.measure("ARI", tables, rand_index),
            draws.measure("NMI, object", inside, mutual_information),
            draws.measure("ARI, object", inside, rand_index),
            draws.measure("part IoU", tables, part_iou),
        )
        return (Row(f"k {self.recipe.k}", measures),)

    def _look(self, pairs: Mapping[Job, Pair], album: Album, put: list[Job], desk: Desk) -> Stage:
        """Put photos into an album, and note which are in it."""

        def prepare(job: Job, rgb: RGB) -> RGB:
            datasets.refuse_other_size(rgb, datasets.read_labels(pairs[job].truth).shape, pairs[job])
            return rgb

        with closing(learn_parts(album, list(pairs), desk, self.recipe, prepare)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Job):
                    put.append(outcome)
                    yield LookedAt(outcome)
                else:
                    yield outcome

    def _label(
        self,
        pairs: Mapping[Job, Pair],
        album: Album,
        put: Sequence[Job],
        desk: Desk,
        *,
        keep: Callable[[Pair, str, Found], None],
    ) -> Stage:
        """Learn the parts, label every photo, and count how its pixels are labelled, here and in truth."""
        vocabulary = album.learn()
        tables: dict[Job, tuple[str, list[list[int]]]] = {}

        def written(photo: DecodedPhoto, found: Labelled) -> Labelled:
            truth = datasets.read_labels(pairs[photo.job].truth)
            tables[photo.job] = photo.sha256, contingency(found.parts.labels, truth).tolist()
            return found

        with closing(label_album(album, put, desk, vocabulary, self.recipe, written=written)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Labelled):
                    pair = pairs[outcome.job]
                    sha256, table = tables.pop(outcome.job)
                    keep(pair, sha256, {"table": table})
                    yield Judged(pair.name, {"table": table})
                else:
                    yield outcome

    def _whole(self) -> str:
        """Name all photos and their truth together, by their bytes: on each, what is learned depends."""
        together = hashlib.sha256()
        for pair in self.pairs:
            try:
                sha256 = hashlib.sha256(images.content(pair.image)).hexdigest()
                together.update(self.key(pair, sha256).encode())
            except InputError:  # it is told when the photo is looked at
                together.update(pair.name.encode())
        return together.hexdigest()


def _stacked(tables: Sequence[Int[np.ndarray, "found true"]]) -> Int[np.ndarray, "photos found true"]:
    """Give tables one size, with zeros where labels are missing."""
    rows, cols = np.max([each.shape for each in tables], axis=0)
    return np.stack([np.pad(each, ((0, rows - each.shape[0]), (0, cols - each.shape[1]))) for each in tables])


def parts_trial(path: Path, model: WhiteBox, recipe: PartRecipe) -> PartsTrial:
    """Read a data set's layout. Raises `InputError`, `NothingMatchedError`."""
    return PartsTrial(model, path, datasets.paired(path, "masks_part"), recipe)


def evaluate_parts(
    path: str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    k: int | Literal["auto"] = 4,
    foreground: Foreground | None = None,
    refine: Refine = "none",
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    part_seed: int = 0,
    **how: Unpack[How],
) -> Evaluation:
    """Judge the parts a model finds in `path/images` by the labels in `path/masks_part`, 0 for the ground.

    `model` and `how` are as `evaluate_saliency` has them, the recipe as `parts` has it; `part_seed` is the
    clustering's. Raises what `evaluate_saliency` raises, and `InputError` for photos that show too little foreground.
    """
    ready = as_model(model)
    recipe = choose_part_recipe(
        ready, layers=layers, sizes=sizes, foreground=foreground, k=k, refine=refine, seed=part_seed
    )
    trial = parts_trial(Path(path), ready, recipe)
    return run(trial, **how)
