"""Judge attention by coarse segmentation on PASCAL VOC (2308.16271, B.3): the best head for every class and photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence import heads as heads_
from cratecli.emergence.features import View
from cratecli.emergence.keep import Keep
from cratecli.emergence.masks import scale, spread, threshold
from cratecli.emergence.metrics import VOID, class_iou
from cratecli.errors import InputError
from cratecli.evaluation.protocol import How, PhotoTrial, run
from cratecli.evaluation.published import VOC, VOC_PHOTOS, published
from cratecli.evaluation.result import Draws, Evaluation, Name, Resampling, Row
from cratecli.evaluation.scores import Found
from cratecli.geometry import Size
from cratecli.io import datasets
from cratecli.io.datasets import Pair
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import Question
from cratecli.runs.views import as_model
from cratecli.tasks.objects import PAPER_SIZE
from cratecli.tasks.recipes import THUMBNAIL, Sight, choose_sight, default_recipe

DIGITS = 6  # of what is kept of a photo
LEAST = 1e-30  # attention whose logarithm is taken for none
TOP, MASS = Keep("top", 0.6), Keep("mass", 0.6)  # of the entries, as the paper; of the attention, as DINO
VAL = "val"
BEST_TOP, BEST_MASS, AUTO = "best head, top 60 %", "best head, 60 % of the mass", "auto, top 60 %"


@dataclass(frozen=True, eq=False)
class VocTrial(PhotoTrial):
    """Photos with labelled classes; every layer of the sight is judged on its own, in a single view."""

    protocol: ClassVar[Name] = "voc"

    sight: Sight
    split: str

    @property
    def question(self) -> Question:
        """Ask for the layers, of the photo squeezed into a square."""
        return Question(self.sight.layers, self.sight.sizes[:1], square=True)

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give layers, size and split."""
        return self.sight.sight_settings | {"split": self.split}

    @property
    def recipe_told(self) -> str:
        """Say the recipe in words."""
        return f"layers {self.settings['layer']}, {self.square(self.sight.sizes[0])}, single view"

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how masks reach pixels, and what is averaged."""
        return (
            "maps thresholded on the patch grid, then nearest neighbour to the photo's own size; void (255) ignored",
            "mIoU: mean over a photo's classes, then over photos; the best head is chosen by truth, for each class; "
            "auto needs no truth",
        )

    @property
    def official(self) -> bool:
        """Tell whether data and settings are the paper's, as far as it says."""
        same = replace(voc_sight(self.model), layers=self.sight.layers) == self.sight
        return len(self.pairs) == VOC_PHOTOS and self.split == VAL and same

    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo's size."""
        datasets.refuse_other_size(rgb, datasets.read_labels(pair.truth).shape, pair)
        return rgb

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> Found:
        """Give every row's mean IoU over the photo's classes, by layer. Raises `InputError` where there is no class."""
        del rgb
        labels = datasets.read_labels(pair.truth)
        size = Size(*labels.shape)
        if not np.any((labels > 0) & (labels < VOID)):
            raise InputError(f"{pair.truth}: shows no class")
        judged = {}
        for place, layer in enumerate(self.sight.layers):
            view = views[0].only(place)
            log_maps = np.log(np.maximum(view.attention[0], LEAST))
            auto = heads_.auto([view]).log_attention
            judged[str(layer)] = {
                BEST_TOP: _best(_kept(log_maps, TOP, size), labels),
                BEST_MASS: _best(_kept(log_maps, MASS, size), labels),
                AUTO: _best(_kept(auto[None], TOP, size), labels),
            }
        return judged

    def rows(self, found: Mapping[str, Found], how: Resampling) -> tuple[Row, ...]:
        """Average over photos; the paper's number stands beside what it is of."""
        draws = Draws.of(len(found), how)
        default = voc_sight(self.model).layers
        rows = []
        for layer in self.sight.layers:
            for name in (BEST_TOP, BEST_MASS, AUTO):
                values = np.array([each[str(layer)][name] for each in found.values()])
                measure = draws.measure("mIoU", values)
                whole = self.official and len(found) == VOC_PHOTOS
                if whole and name == BEST_TOP and (layer,) == default:
                    measure = replace(measure, paper=published(VOC, self.model.weights).get("mIoU"))
                rows.append(Row(name, (measure,), layer))
        return tuple(rows)


def _kept(
    log_maps: Float[np.ndarray, "k rows cols"], keep: Keep, size: Size
) -> Bool[np.ndarray, "k height width"]:
    """Threshold maps, and bring them to pixels."""
    return np.stack([spread(np.asarray(scale(each) >= threshold(each, keep)), size) for each in log_maps])


def _best(masks: Bool[np.ndarray, "k height width"], labels: np.ndarray) -> float:
    return round(float(class_iou(masks, labels).max(axis=1).mean()), DIGITS)


def voc_sight(model: WhiteBox, layers: Sequence[int] | None = None, size: int | None = None) -> Sight:
    """Choose the paper's layer, the penultimate of a CRATE and the last of a ViT; or what was asked for.

    The size is MaskCut's, 480 px, as the paper names none here; for a model trained on thumbnails the largest that
    `segment` uses. Raises `UsageError`.
    """
    recipe = default_recipe(model)
    small = model.image_size < THUMBNAIL
    layer = -2 if small and model.depth > 1 else recipe.layers[-1]
    default = Sight((layer,), (max(recipe.sizes) if small else PAPER_SIZE,))
    return choose_sight(model, default, layers=layers, sizes=None if size is None else [size])


def voc_trial(path: Path, model: WhiteBox, sight: Sight, *, split: str = VAL) -> VocTrial:
    """Read a VOCdevkit's list. Raises `InputError`, `NothingMatchedError`."""
    return VocTrial(model, path, datasets.voc(path, split), sight, split)


def evaluate_voc(
    path: str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    split: str = VAL,
    layers: Sequence[int] | None = None,
    size: int | None = None,
    **how: Unpack[How],
) -> Evaluation:
    """Judge a model's attention on a split of VOC's segmentation; `path` is a VOCdevkit folder, or a year's in it.

    `model` and `how` are as `evaluate_saliency` has them. Each of `layers` is judged on its own; `size` is
    the side of the square input, in px. Raises what `evaluate_saliency` raises.
    """
    ready = as_model(model)
    trial = voc_trial(Path(path), ready, voc_sight(ready, layers, size), split=split)
    return run(trial, **how)
