"""Evaluate masks by the saliency field's measures: IoU, maxFβ, mean absolute error, accuracy and CorLoc."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import heads as heads_
from cratecli.emergence.features import View
from cratecli.emergence.masks import enlarge, iou, scale, threshold
from cratecli.emergence.oracle import best_maps
from cratecli.emergence.windows import off_centre as off_centre_window
from cratecli.errors import InputError, NothingMatchedError
from cratecli.evaluation.finished import OpenRun, RunProtocol, evaluate_run
from cratecli.evaluation.options import SaliencyOptions
from cratecli.evaluation.protocol import PhotoProtocol
from cratecli.evaluation.result import Evaluation
from cratecli.evaluation.run import evaluate
from cratecli.evaluation.saliency_scores import OF_MASKS, SaliencyMeasures, SaliencyScores, compare
from cratecli.evaluation.scores import DIGITS
from cratecli.geometry import Box, Size
from cratecli.io import datasets
from cratecli.io.datasets import Pair
from cratecli.io.formats.record import Annotated
from cratecli.io.truth import read_mask, read_true_mask
from cratecli.model.engine import Model
from cratecli.runs.views import Question
from cratecli.tasks.options import Heads, MaskOptions
from cratecli.tasks.recipes import Recipe, choose_recipe
from cratecli.tasks.segment import decide, tidy
from cratecli.wording import count_of

SHORTLIST = 4  # maps that the oracle chooses among to the pixel
MEAN, ORACLE = "mean of heads", "oracle"


@dataclass(frozen=True, eq=False)
class SaliencyProtocol(SaliencyMeasures, PhotoProtocol[SaliencyScores]):
    """Photos with one mask each; with `windows`, cropped off-centre. On request the mean of heads and the oracle too.

    These two are of the same views, thresholded by the same rule and cleaned, without refinement; the oracle is the
    single head, layer and view of the best IoU with the truth, photo by photo.
    """

    scores_type = SaliencyScores

    recipe: Recipe
    windows: Mapping[str, Box] = field(default_factory=dict)
    without_window: int = 0
    mean_of_heads: bool = False
    oracle: bool = False

    @property
    def question(self) -> Question:
        """Ask what `segment` asks."""
        return Question(self.recipe.layers, self.recipe.sizes)

    @property
    def settings(self) -> dict[str, Any]:
        """Give the recipe, and this protocol's options."""
        return (
            self.recipe.as_data()
            | self.folders
            | {
                "off_centre": bool(self.windows),
                "mean_of_heads": self.mean_of_heads,
                "oracle": self.oracle,
            }
        )

    @property
    def summary(self) -> str:
        """Describe the recipe in one line."""
        return str(self.recipe)

    @property
    def notes(self) -> tuple[str, ...]:
        """Explain what the measures are of."""
        notes = [f"{OF_MASKS}; maxFβ (β² 0.3) and MAE of the soft map"]
        if self.windows:
            without = (
                f"; {count_of(self.without_window, 'photo', ('has none and is', 'have none and are'))} left out"
                if self.without_window
                else ""
            )
            notes.append(
                f"off-centre: a 70 % window in the corner farthest from the object's middle{without}"
            )
        raw = [MEAN] * self.mean_of_heads + ["oracle (best head, layer and view by truth)"] * self.oracle
        if raw:
            notes.append(f"{' and '.join(raw)} without refinement")
        return tuple(notes)

    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo's size, and cut its window."""
        datasets.refuse_other_size(rgb.shape[:2], read_mask(pair.truth).shape, pair)
        return np.ascontiguousarray(self._cut(pair, rgb))

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> SaliencyScores:
        """Score the mask of every row."""
        true = read_true_mask(pair.truth)
        truth = self._cut(pair, true.mask)
        segmentation = decide(rgb, views, self.recipe, self.model)
        rows = {self.main_row: compare(segmentation.mask, segmentation.soft, truth)}
        if self.mean_of_heads:
            mean = heads_.fixed(views, range(self.model.heads)).log_attention
            rows[MEAN] = compare(*self._plain(mean, truth), truth)
        if self.oracle:
            maps = best_maps(views, truth, self.recipe.keep, SHORTLIST)
            masks = [self._plain(each, truth) for each in maps]
            rows[ORACLE] = compare(*max(masks, key=lambda each: iou(each[0], truth)), truth)
        confidence = round(segmentation.confidence, DIGITS)
        return SaliencyScores(rows=rows, confidence=confidence, doubts=list(true.doubts))

    @property
    def made_by(self) -> Heads:
        """Name the recipe's heads."""
        return self.recipe.heads

    def _cut(self, pair: Pair, whole: np.ndarray) -> np.ndarray:
        window = self.windows.get(pair.name)
        return whole if window is None else whole[window.top : window.bottom, window.left : window.right]

    def _plain(self, log_attention: Float[np.ndarray, "rows cols"], truth: Mask) -> tuple[Mask, Soft]:
        """Make a map a mask without refinement, cleaned by the recipe's rules; gives the soft map too."""
        soft = enlarge(scale(log_attention), Size(*truth.shape))
        recipe = self.recipe
        mask = tidy(soft >= threshold(log_attention, recipe.keep), recipe)
        return mask, soft


@dataclass(frozen=True, eq=False)
class SaliencyRun(SaliencyMeasures, RunProtocol[SaliencyScores]):
    """The masks of a finished run of `crate segment`; of soft maps it has none."""

    command = "segment"

    @property
    def notes(self) -> tuple[str, ...]:
        """Explain what the measures are of, and what is left out."""
        return (f"{OF_MASKS}; maxFβ and MAE are of soft maps, which a run does not keep",)

    def judge(self, pair: Pair, photo: Annotated) -> SaliencyScores:
        """Score the mask of one photo."""
        true = read_true_mask(pair.truth)
        datasets.refuse_other_size((photo.height, photo.width), true.mask.shape, pair)
        rows = {self.main_row: compare(photo.mask, None, true.mask)}
        return SaliencyScores(rows=rows, confidence=photo.confidence, doubts=list(true.doubts))

    @property
    def made_by(self) -> Heads:
        """Name the heads that the run says it asked."""
        heads: Heads = self.recipe.get("heads", "mask")
        return heads


def saliency_protocol(
    path: Path,
    model: Model,
    *,
    off_centre: bool = False,
    mean_of_heads: bool = False,
    oracle: bool = False,
    images: str | None = None,
    masks: str | None = None,
    **asked: Unpack[MaskOptions],
) -> SaliencyProtocol:
    """List a data set's photos and masks, and with `off_centre` read the masks.

    Raises `InputError`, `NothingMatchedError`, and `UsageError` for an option that makes no sense.
    """
    recipe = choose_recipe(model, **asked)
    pairs: Sequence[Pair] = datasets.paired(path, datasets.SALIENCY, images, masks)
    windows: dict[str, Box] = {}
    listed = len(pairs)
    if off_centre:
        unread = set[str]()  # fail one by one, when they are judged
        for pair in pairs:
            try:
                window = off_centre_window(read_mask(pair.truth))
            except InputError:
                unread.add(pair.name)
            else:
                windows |= {} if window is None else {pair.name: window}
        pairs = [pair for pair in pairs if pair.name in windows or pair.name in unread]
        if not windows:
            raise NothingMatchedError(f"{path}: no photo has a window with its object off-centre")
    return SaliencyProtocol(
        path,
        pairs,
        model,
        recipe,
        windows=windows,
        without_window=listed - len(pairs),
        mean_of_heads=mean_of_heads,
        oracle=oracle,
    )


def saliency_run(
    path: Path, run: OpenRun, *, images: str | None = None, masks: str | None = None
) -> SaliencyRun:
    """List a data set's photos and masks, for a finished run. Raises `InputError`, `NothingMatchedError`."""
    return SaliencyRun(path, datasets.paired(path, datasets.SALIENCY, images, masks), run)


def evaluate_saliency(
    path: str | Path,
    model: Model | str | Path | None = None,
    *,
    run: str | Path | None = None,
    **asked: Unpack[SaliencyOptions],
) -> Evaluation:
    """Evaluate a model's masks of `path/images` against `path/masks`; see `cratecli.io.truth` for how these are read.

    `images` and `masks` name other folders in `path`; those of DUTS, ECSSD, HKU-IS, DUT-OMRON and MSRA10K are found.
    `model` is what `load_model` gave, any other `Model`, or a name or file; none is the default model. What is
    left out is chosen as `segment` does; see `SaliencyOptions`. In place of a model, `run` is a finished run of
    `crate segment`: its folder, or its Parquet file or shard; beside it only `images`, `masks`, `resamples` and
    `resample_seed` have a meaning. Raises `InputError` for a broken data set, or the first broken photo,
    `NothingMatchedError` for an empty one, `UsageError` for an option that makes no sense, and what `load_model`
    raises.
    """
    if run is not None:
        return evaluate_run(saliency_run, path, run, model, **asked)
    return evaluate(saliency_protocol, path, model, **asked)
