"""How masks compare with the truth of a saliency data set, and the measures of all photos."""

from abc import abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

from cratecli.arrays import Mask, Soft
from cratecli.emergence.masks import bounding_box, iou
from cratecli.emergence.metrics import (
    HIT,
    accuracy,
    box_iou,
    calibration_error,
    f_curve,
    mean_absolute_error,
)
from cratecli.evaluation.intervals import Bootstrap
from cratecli.evaluation.protocol import EvaluationProtocol, told
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import ResultRow
from cratecli.evaluation.scores import DIGITS, PhotoScores
from cratecli.io.truth import Doubt
from cratecli.tasks.options import Heads
from cratecli.wording import count_of

DOUBTS: Mapping[Doubt, str] = {
    "all foreground": "are foreground all over",
    "grey levels": "have many grey levels, of which those above 127 are foreground",
}
OF_MASKS = "IoU, accuracy and CorLoc (boxes with IoU ≥ 0.5) of the mask"


class MaskScores(BaseModel):
    """How one mask, and the soft map behind it, compare with a photo's truth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iou: float = Field(description="Intersection over union of the masks, 0–1.")
    f_curve: str | None = Field(
        description="Fβ of the soft map at 256 thresholds: little-endian float32, base64; null without a soft map."
    )
    mae: float | None = Field(description="Mean absolute error of the soft map, 0–1; null without one.")
    accuracy: float = Field(description="Share of pixels that are right, 0–1.")
    box_iou: float = Field(description="Intersection over union of the masks' bounding boxes, 0–1.")


class SaliencyScores(PhotoScores):
    """A photo's scores: one mask for each row of the result, by the row's name."""

    rows: dict[str, MaskScores]
    confidence: float | None = Field(description="What `segment` says of its mask, 0–1; null if it does not.")
    doubts: list[Doubt] = Field(default=[], description="What may be wrong with the ground truth.")


def compare(mask: Mask, soft: Soft | None, truth: Mask) -> MaskScores:
    """Score a mask, and the soft map behind it, if it is known."""
    return MaskScores(
        iou=round(iou(mask, truth), DIGITS),
        f_curve=None if soft is None else _packed(f_curve(soft, truth)),
        mae=None if soft is None else round(mean_absolute_error(soft, truth), DIGITS),
        accuracy=round(accuracy(mask, truth), DIGITS),
        box_iou=round(box_iou(bounding_box(mask), bounding_box(truth)), DIGITS),
    )


@dataclass(frozen=True, eq=False)
class SaliencyMeasures(EvaluationProtocol[SaliencyScores]):
    """What the scores of masks add up to, whoever made the masks."""

    name: ClassVar[ProtocolName] = "saliency"

    @property
    @abstractmethod
    def made_by(self) -> Heads:
        """Name the heads that the masks to be judged come from."""

    @property
    def main_row(self) -> str:
        """Name their row."""
        heads = self.made_by
        return heads if isinstance(heads, str) else f"heads {','.join(map(str, heads))}"

    def rows(self, scores: Mapping[str, SaliencyScores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Average over photos; of Fβ the maximum of the mean. What is of soft maps is left out where there are none."""

        def highest(sums: Float[np.ndarray, "times levels"]) -> Float[np.ndarray, " times"]:
            return np.asarray(sums.max(axis=1) / len(scores))

        rows = []
        for name in next(iter(scores.values())).rows:
            masks = [each.rows[name] for each in scores.values()]
            measures = [bootstrap.measure("IoU", [each.iou for each in masks])]
            curves = [_unpacked(each.f_curve) for each in masks if each.f_curve is not None]
            errors = [each.mae for each in masks if each.mae is not None]
            if len(curves) == len(errors) == len(masks):
                measures += [bootstrap.measure("maxFβ", curves, highest), bootstrap.measure("MAE", errors)]
            measures += [
                bootstrap.measure("accuracy", [each.accuracy for each in masks]),
                bootstrap.measure("CorLoc", [each.box_iou >= HIT for each in masks]),
            ]
            rows.append(ResultRow(name, tuple(measures)))
        return tuple(rows)

    def findings(self, scores: Mapping[str, SaliencyScores]) -> tuple[str, ...]:
        """Say how well confidence ranks the masks, and where it is an expected IoU, how far it is off."""
        known = [each for each in scores.values() if each.confidence is not None]
        said = np.array([each.confidence for each in known])
        found = np.array([each.rows[self.main_row].iou for each in known])
        if not known or not (np.ptp(said) and np.ptp(found)):
            return ()
        ranks = f"confidence and IoU: Spearman's ρ {spearmanr(said, found).statistic:.2f}"
        if self.made_by != "auto":
            return (ranks,)
        return (f"{ranks}, calibration error {calibration_error(said, found):.2f} (mean gap in ten bins)",)

    def doubts(self, scores: Mapping[str, SaliencyScores]) -> tuple[str, ...]:
        """Say which masks may have been meant otherwise."""
        found = {
            what: [name for name, each in scores.items() if doubt in each.doubts]
            for doubt, what in DOUBTS.items()
        }
        return told(found, f"of {count_of(len(scores), 'mask')}")


def _packed(curve: Float[np.ndarray, "256"]) -> str:
    """Write a curve as text, a tenth of the memory that its numbers would take."""
    return b64encode(curve.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Float[np.ndarray, "256"]:
    return np.frombuffer(b64decode(text), "<f4")
