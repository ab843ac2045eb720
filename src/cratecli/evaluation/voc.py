"""Evaluate attention by coarse segmentation on PASCAL VOC (2308.16271, B.3): the best head for each class and photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB, Labels
from cratecli.emergence import heads as heads_
from cratecli.emergence.features import View
from cratecli.emergence.masks import scale, spread, threshold
from cratecli.emergence.metrics import VOID, class_iou
from cratecli.emergence.rules import Keep
from cratecli.errors import InputError
from cratecli.evaluation.intervals import Bootstrap
from cratecli.evaluation.options import VAL, VocOptions
from cratecli.evaluation.protocol import PhotoProtocol
from cratecli.evaluation.published import VOC, VOC_PHOTOS, published
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import Evaluation, ResultRow
from cratecli.evaluation.run import evaluate
from cratecli.evaluation.scores import DIGITS, PhotoScores
from cratecli.geometry import Size
from cratecli.io import datasets
from cratecli.io.datasets import Pair
from cratecli.io.truth import read_labels
from cratecli.model.engine import Model
from cratecli.runs.views import Question
from cratecli.tasks.options import OneSizeOptions
from cratecli.tasks.recipes import ViewRecipe, choose_voc_recipe

LEAST = 1e-30  # attention whose logarithm stands for none
TOP, MASS = Keep("top", 0.6), Keep("mass", 0.6)  # of the entries, as the paper; of the attention, as DINO
BEST_TOP, BEST_MASS, AGREE = "best head, top 60 %", "best head, 60 % of the mass", "agree, top 60 %"


class VocScores(PhotoScores):
    """A photo's mean IoU over its classes, 0–1, by layer and by the name of the row."""

    layers: dict[int, dict[str, float]]


@dataclass(frozen=True, eq=False)
class VocProtocol(PhotoProtocol[VocScores]):
    """Photos with labelled classes; every layer of the recipe is evaluated on its own, in a single view."""

    name: ClassVar[ProtocolName] = "voc"
    scores_type = VocScores

    recipe: ViewRecipe
    split: str

    @property
    def question(self) -> Question:
        """Ask for the layers, of the photo squeezed into a square."""
        return Question(self.recipe.layers, self.recipe.sizes[:1], square=True)

    @property
    def settings(self) -> dict[str, Any]:
        """Give layers, size and split."""
        return self.recipe.as_data() | {"split": self.split}

    @property
    def summary(self) -> str:
        """Describe the recipe in one line."""
        layers = ",".join(map(str, self.recipe.layers))
        return f"layers {layers}, {self.square(self.recipe.sizes[0])}, single view"

    @property
    def notes(self) -> tuple[str, ...]:
        """Explain how masks reach pixels, and what is averaged."""
        return (
            "maps thresholded on the patch grid, then nearest neighbour to the photo's own size; void (255) ignored",
            "mIoU: mean over a photo's classes, then over photos; the best head is chosen by truth, for each class; "
            "agree needs no truth",
        )

    @property
    def official(self) -> bool:
        """Tell whether data and settings are the paper's, as far as it says."""
        same = replace(choose_voc_recipe(self.model), layers=self.recipe.layers) == self.recipe
        return len(self.pairs) == VOC_PHOTOS and self.split == VAL and same

    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo's size."""
        datasets.refuse_other_size(rgb.shape[:2], read_labels(pair.truth).shape, pair)
        return rgb

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> VocScores:
        """Score every row in every layer. Raises `InputError` for a photo without a class."""
        del rgb
        labels = read_labels(pair.truth)
        size = Size(*labels.shape)
        if not np.any((labels > 0) & (labels < VOID)):
            raise InputError(f"{pair.truth}: shows no class")
        layers = {}
        for place, layer in enumerate(self.recipe.layers):
            view = views[0].only(place)
            log_maps = np.log(np.maximum(view.attention[0], LEAST))
            agreed = heads_.agree([view]).log_attention
            layers[layer] = {
                BEST_TOP: _best(_kept(log_maps, TOP, size), labels),
                BEST_MASS: _best(_kept(log_maps, MASS, size), labels),
                AGREE: _best(_kept(agreed[None], TOP, size), labels),
            }
        return VocScores(layers=layers)

    def rows(self, scores: Mapping[str, VocScores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Average over photos; the paper's number stands beside its own row and layer."""
        default = choose_voc_recipe(self.model).layers
        rows = []
        for layer in self.recipe.layers:
            for name in (BEST_TOP, BEST_MASS, AGREE):
                measure = bootstrap.measure("mIoU", [each.layers[layer][name] for each in scores.values()])
                whole = self.official and len(scores) == VOC_PHOTOS
                if whole and name == BEST_TOP and (layer,) == default:
                    measure = replace(measure, paper=published(VOC, self.model.weights).get("mIoU"))
                rows.append(ResultRow(name, (measure,), layer))
        return tuple(rows)


def _kept(
    log_maps: Float[np.ndarray, "k rows cols"], keep: Keep, size: Size
) -> Bool[np.ndarray, "k height width"]:
    """Threshold maps, and bring them to pixels."""
    return np.stack([spread(np.asarray(scale(each) >= threshold(each, keep)), size) for each in log_maps])


def _best(masks: Bool[np.ndarray, "k height width"], labels: Labels) -> float:
    """Give the IoU of the best mask for each class, averaged over classes."""
    return round(float(class_iou(masks, labels).max(axis=1).mean()), DIGITS)


def voc_protocol(
    path: Path, model: Model, *, split: str = VAL, **asked: Unpack[OneSizeOptions]
) -> VocProtocol:
    """List the photos of a VOCdevkit's split. Raises `InputError`, `NothingMatchedError`, `UsageError`."""
    recipe = choose_voc_recipe(model, **asked)
    return VocProtocol(path, datasets.voc(path, split), model, recipe, split)


def evaluate_voc(
    path: str | Path, model: Model | str | Path | None = None, **asked: Unpack[VocOptions]
) -> Evaluation:
    """Evaluate a model's attention on a split of VOC's segmentation; `path` is a VOCdevkit folder, or a year's in it.

    `model` is as in `evaluate_saliency`; see `VocOptions`. Raises what `evaluate_saliency` raises.
    """
    return evaluate(voc_protocol, path, model, **asked)
