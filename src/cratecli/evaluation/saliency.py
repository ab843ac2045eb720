"""Evaluate masks by the saliency field's measures: IoU, maxFβ, mean absolute error, accuracy and CorLoc."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import heads as heads_
from cratecli.emergence.features import View
from cratecli.emergence.masks import bounding_box, enlarge, iou, scale, threshold
from cratecli.emergence.metrics import (
    HIT,
    accuracy,
    box_iou,
    calibration_error,
    f_curve,
    mean_absolute_error,
)
from cratecli.emergence.oracle import best_maps
from cratecli.emergence.windows import off_centre as off_centre_window
from cratecli.errors import InputError, NothingMatchedError
from cratecli.evaluation.intervals import Bootstrap
from cratecli.evaluation.options import SaliencyOptions
from cratecli.evaluation.protocol import PhotoProtocol, told
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import Evaluation, ResultRow
from cratecli.evaluation.run import evaluate
from cratecli.evaluation.scores import DIGITS, PhotoScores
from cratecli.geometry import Box, Size
from cratecli.io import datasets
from cratecli.io.datasets import Pair
from cratecli.io.truth import Doubt, read_mask, read_true_mask
from cratecli.model.engine import Model
from cratecli.runs.views import Question
from cratecli.tasks.options import NO_HEAD, MaskOptions
from cratecli.tasks.recipes import Recipe, choose_recipe
from cratecli.tasks.segment import decide, tidy
from cratecli.wording import count_of

SHORTLIST = 4  # maps that the oracle chooses among to the pixel
MEAN, ORACLE = "mean of heads", "oracle"
DOUBTS: Mapping[Doubt, str] = {
    "all foreground": "are foreground all over",
    "grey levels": "have many grey levels, of which those above 127 are foreground",
}


class MaskScores(BaseModel):
    """How one mask, and the soft map behind it, compare with a photo's truth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iou: float = Field(description="Intersection over union of the masks, 0–1.")
    f_curve: str = Field(description="Fβ of the soft map at 256 thresholds: little-endian float32, base64.")
    mae: float = Field(description="Mean absolute error of the soft map, 0–1.")
    accuracy: float = Field(description="Share of pixels that are right, 0–1.")
    box_iou: float = Field(description="Intersection over union of the masks' bounding boxes, 0–1.")


class SaliencyScores(PhotoScores):
    """A photo's scores: one mask for each row of the result, by the row's name."""

    rows: dict[str, MaskScores]
    confidence: float = Field(description="What `segment` says of its mask, 0–1.")
    doubts: list[Doubt] = Field(default=[], description="What may be wrong with the ground truth.")


@dataclass(frozen=True, eq=False)
class SaliencyProtocol(PhotoProtocol[SaliencyScores]):
    """Photos with one mask each; with `windows`, cropped off-centre. On request the mean of heads and the oracle too.

    These two are of the same views, thresholded by the same rule and cleaned, without refinement; the oracle is the
    single head, layer and view of the best IoU with the truth, photo by photo.
    """

    name: ClassVar[ProtocolName] = "saliency"
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
        notes = [
            "IoU, accuracy and CorLoc (boxes with IoU ≥ 0.5) of the mask; maxFβ (β² 0.3) and MAE of the soft map"
        ]
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
        datasets.refuse_other_size(rgb, read_mask(pair.truth).shape, pair)
        return np.ascontiguousarray(self._cut(pair, rgb))

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> SaliencyScores:
        """Score the mask of every row."""
        true = read_true_mask(pair.truth)
        truth = self._cut(pair, true.mask)
        segmentation = decide(rgb, views, self.recipe, self.model)
        rows = {self._main: _compare(segmentation.mask, segmentation.soft, truth)}
        if self.mean_of_heads:
            mean = heads_.fixed(views, range(self.model.heads)).log_attention
            rows[MEAN] = _compare(*self._plain(mean, truth), truth)
        if self.oracle:
            maps = best_maps(views, truth, self.recipe.keep, SHORTLIST)
            masks = [self._plain(each, truth) for each in maps]
            rows[ORACLE] = _compare(*max(masks, key=lambda each: iou(each[0], truth)), truth)
        confidence = round(segmentation.confidence, DIGITS)
        return SaliencyScores(rows=rows, confidence=confidence, doubts=list(true.doubts))

    def findings(self, scores: Mapping[str, SaliencyScores]) -> tuple[str, ...]:
        """Say how well confidence ranks the masks, and where it is an expected IoU, how far it is off."""
        said = np.array([each.confidence for each in scores.values()])
        found = np.array([each.rows[self._main].iou for each in scores.values()])
        if not (np.ptp(said) and np.ptp(found)):
            return ()
        ranks = f"confidence and IoU: Spearman's ρ {spearmanr(said, found).statistic:.2f}"
        if self.recipe.heads != "auto" or self.recipe.head != NO_HEAD:
            return (ranks,)
        return (f"{ranks}, calibration error {calibration_error(said, found):.2f} (mean gap in ten bins)",)

    def doubts(self, scores: Mapping[str, SaliencyScores]) -> tuple[str, ...]:
        """Say which masks may have been meant otherwise."""
        found = {
            what: [name for name, each in scores.items() if doubt in each.doubts]
            for doubt, what in DOUBTS.items()
        }
        return told(found, f"of {count_of(len(scores), 'mask')}")

    def rows(self, scores: Mapping[str, SaliencyScores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Average over photos; of Fβ the maximum of the mean."""

        def highest(sums: Float[np.ndarray, "times levels"]) -> Float[np.ndarray, " times"]:
            return np.asarray(sums.max(axis=1) / len(scores))

        rows = []
        for name in next(iter(scores.values())).rows:
            masks = [each.rows[name] for each in scores.values()]
            measures = (
                bootstrap.measure("IoU", [each.iou for each in masks]),
                bootstrap.measure("maxFβ", [_unpacked(each.f_curve) for each in masks], highest),
                bootstrap.measure("MAE", [each.mae for each in masks]),
                bootstrap.measure("accuracy", [each.accuracy for each in masks]),
                bootstrap.measure("CorLoc", [each.box_iou >= HIT for each in masks]),
            )
            rows.append(ResultRow(name, measures))
        return tuple(rows)

    @property
    def _main(self) -> str:
        heads = self.recipe.heads
        return heads if isinstance(heads, str) else f"heads {','.join(map(str, heads))}"

    def _cut(self, pair: Pair, whole: np.ndarray) -> np.ndarray:
        window = self.windows.get(pair.name)
        return whole if window is None else whole[window.top : window.bottom, window.left : window.right]

    def _plain(self, log_attention: Float[np.ndarray, "rows cols"], truth: Mask) -> tuple[Mask, Soft]:
        """Make a map a mask without refinement, cleaned by the recipe's rules; gives the soft map too."""
        soft = enlarge(scale(log_attention), Size(*truth.shape))
        recipe = self.recipe
        mask = tidy(soft >= threshold(log_attention, recipe.keep), recipe)
        return mask, soft


def _packed(curve: Float[np.ndarray, "256"]) -> str:
    """Write a curve as text, a tenth of the memory that its numbers would take."""
    return b64encode(curve.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Float[np.ndarray, "256"]:
    return np.frombuffer(b64decode(text), "<f4")


def _compare(mask: Mask, soft: Soft, truth: Mask) -> MaskScores:
    return MaskScores(
        iou=round(iou(mask, truth), DIGITS),
        f_curve=_packed(f_curve(soft, truth)),
        mae=round(mean_absolute_error(soft, truth), DIGITS),
        accuracy=round(accuracy(mask, truth), DIGITS),
        box_iou=round(box_iou(bounding_box(mask), bounding_box(truth)), DIGITS),
    )


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
        model,
        path,
        pairs,
        recipe,
        windows=windows,
        without_window=listed - len(pairs),
        mean_of_heads=mean_of_heads,
        oracle=oracle,
    )


def evaluate_saliency(
    path: str | Path, model: Model | str | Path | None = None, **asked: Unpack[SaliencyOptions]
) -> Evaluation:
    """Evaluate a model's masks of `path/images` against `path/masks`; see `cratecli.io.truth` for how these are read.

    `images` and `masks` name other folders in `path`; those of DUTS, ECSSD, HKU-IS, DUT-OMRON and MSRA10K are found.
    `model` is what `load_model` gave, any other `Model`, or a name or file; none is the default model. What is
    left out is chosen as `segment` does; see `SaliencyOptions`. Raises `InputError` for a broken data set, or the first
    broken photo, `NothingMatchedError` for an empty one, `UsageError` for an option that makes no sense, and what
    `load_model` raises.
    """
    return evaluate(saliency_protocol, path, model, **asked)
