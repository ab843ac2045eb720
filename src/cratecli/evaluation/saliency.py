"""Judge masks by what the saliency field counts: IoU, maxFβ, mean absolute error, accuracy, and boxes found."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB, Mask
from cratecli.emergence import heads as heads_
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.masks import bounding_box, clean, enlarge, iou, scale, threshold
from cratecli.emergence.metrics import HIT, accuracy, box_iou, f_curve, mean_absolute_error
from cratecli.emergence.oracle import best_maps
from cratecli.emergence.windows import off_centre as off_centre_window
from cratecli.errors import NothingMatchedError
from cratecli.evaluation.protocol import How, PhotoTrial, run
from cratecli.evaluation.result import Draws, Evaluation, Name, Resampling, Row
from cratecli.evaluation.scores import Found
from cratecli.geometry import Box, Size
from cratecli.io import datasets
from cratecli.io.datasets import Pair
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, as_model
from cratecli.tasks.recipes import Recipe, Refine, choose_recipe
from cratecli.tasks.segment import decide

SHORTLIST = 4  # maps that the oracle chooses among to the pixel
DIGITS = 6  # of what is kept of a photo
MEAN, ORACLE = "mean of heads", "oracle"


@dataclass(frozen=True, eq=False)
class SaliencyTrial(PhotoTrial):
    """Photos with one mask each; with `windows`, cut off-centre. On request the mean of heads and the oracle too.

    These two are of the same views, thresholded by the same rule and cleaned, without refinement; the oracle is the
    single head, layer and view of the best IoU with the truth, photo by photo.
    """

    protocol: ClassVar[Name] = "saliency"

    recipe: Recipe
    windows: Mapping[str, Box] = field(default_factory=dict)
    without: int = 0
    mean_of_heads: bool = False
    oracle: bool = False

    @property
    def question(self) -> Question:
        """Ask what `segment` asks."""
        return Question(self._layers, self.recipe.sizes)

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give the options of `crate segment`, and ours."""
        ours = {
            "off-centre": bool(self.windows),
            "mean-of-heads": self.mean_of_heads,
            "oracle": self.oracle,
        }
        return self.recipe.settings | ours

    @property
    def recipe_told(self) -> str:
        """Say the recipe in words."""
        return str(self.recipe)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what the numbers are of."""
        told = [
            "IoU, accuracy and CorLoc (boxes with IoU ≥ 0.5) of the mask; maxFβ (β² 0.3) and MAE of the soft map"
        ]
        if self.windows:
            without = f"; {self.without} photos have none and are left out" if self.without else ""
            told.append(f"off-centre: a 70 % window in the corner farthest from the object's middle{without}")
        raw = [MEAN] * self.mean_of_heads + ["oracle (best head, layer and view by truth)"] * self.oracle
        if raw:
            told.append(f"{' and '.join(raw)} without refinement")
        return tuple(told)

    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo's size, and cut its window."""
        datasets.refuse_other_size(rgb, datasets.read_mask(pair.truth).shape, pair)
        return np.ascontiguousarray(self._cut(pair, rgb))

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> Found:
        """Judge every row's mask of one photo."""
        truth = self._cut(pair, datasets.read_mask(pair.truth))
        found = decide(rgb, views, self.recipe, self._layers, self.model)
        judged = {self._main: _compare(found.mask, found.soft, truth)}
        if self.mean_of_heads:
            mean = heads_.fixed(views, range(self.model.heads)).log_attention
            judged[MEAN] = _compare(*self._plain(mean, truth), truth)
        if self.oracle:
            maps = best_maps(views, truth, self.recipe.keep, SHORTLIST)
            masks = [self._plain(each, truth) for each in maps]
            judged[ORACLE] = _compare(*max(masks, key=lambda each: iou(each[0], truth)), truth)
        return judged

    def rows(self, found: Mapping[str, Found], how: Resampling) -> tuple[Row, ...]:
        """Average over photos; of Fβ the maximum of the mean."""
        draws, photos = Draws.of(len(found), how), len(found)

        def highest(sums: Float[np.ndarray, "times levels"]) -> Float[np.ndarray, " times"]:
            return np.asarray(sums.max(axis=1) / photos)

        rows = []
        for name in next(iter(found.values())):
            of = {part: np.array([each[name][part] for each in found.values()]) for part in _PARTS}
            curves = np.stack([_unpacked(each[name]["f"]) for each in found.values()])
            measures = (
                draws.measure("IoU", of["iou"]),
                draws.measure("maxFβ", curves, highest),
                draws.measure("MAE", of["mae"]),
                draws.measure("accuracy", of["accuracy"]),
                draws.measure("CorLoc", of["box_iou"] >= HIT),
            )
            rows.append(Row(name, measures))
        return tuple(rows)

    @property
    def _layers(self) -> tuple[int, ...]:
        return absolute_layers(self.recipe.layers, self.model.depth)

    @property
    def _main(self) -> str:
        heads = self.recipe.heads
        return heads if isinstance(heads, str) else f"heads {','.join(map(str, heads))}"

    def _cut(self, pair: Pair, whole: np.ndarray) -> np.ndarray:
        window = self.windows.get(pair.name)
        return whole if window is None else whole[window.top : window.bottom, window.left : window.right]

    def _plain(
        self, log_attention: Float[np.ndarray, "rows cols"], truth: Mask
    ) -> tuple[Mask, Float[np.ndarray, "height width"]]:
        """Make a map a mask without refinement, cleaned as the recipe says; gives the soft map too."""
        soft = enlarge(scale(log_attention), Size(*truth.shape))
        recipe = self.recipe
        mask = clean(
            soft >= threshold(log_attention, recipe.keep),
            smallest=recipe.min_area,
            largest=recipe.largest,
            fill_holes=recipe.fill_holes,
        )
        return mask, soft


_PARTS = ("iou", "mae", "accuracy", "box_iou")


def _packed(curve: Float[np.ndarray, "256"]) -> str:
    """Write a curve as text, a tenth of what its numbers would take in memory."""
    return b64encode(curve.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Float[np.ndarray, "256"]:
    return np.frombuffer(b64decode(text), "<f4")


def _compare(mask: Mask, soft: Float[np.ndarray, "height width"], truth: Mask) -> Found:
    """Judge one mask and its soft map."""
    return {
        "iou": round(iou(mask, truth), DIGITS),
        "f": _packed(f_curve(soft, truth)),
        "mae": round(mean_absolute_error(soft, truth), DIGITS),
        "accuracy": round(accuracy(mask, truth), DIGITS),
        "box_iou": round(box_iou(bounding_box(mask), bounding_box(truth)), DIGITS),
    }


def saliency_trial(
    path: Path,
    model: WhiteBox,
    recipe: Recipe,
    *,
    off_centre: bool = False,
    mean_of_heads: bool = False,
    oracle: bool = False,
) -> SaliencyTrial:
    """Read a data set's layout, and with `off_centre` its masks. Raises `InputError`, `NothingMatchedError`."""
    pairs: Sequence[Pair] = datasets.paired(path, "masks")
    windows: dict[str, Box] = {}
    there = len(pairs)
    if off_centre:
        for pair in pairs:
            if (window := off_centre_window(datasets.read_mask(pair.truth))) is not None:
                windows[pair.name] = window
        pairs = [pair for pair in pairs if pair.name in windows]
        if not pairs:
            raise NothingMatchedError(f"{path}: no photo has a window with its object off-centre")
    return SaliencyTrial(
        model,
        path,
        pairs,
        recipe,
        windows=windows,
        without=there - len(pairs),
        mean_of_heads=mean_of_heads,
        oracle=oracle,
    )


def evaluate_saliency(
    path: str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    off_centre: bool = False,
    mean_of_heads: bool = False,
    oracle: bool = False,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    heads: Literal["auto", "all"] | Sequence[int] = "auto",
    keep: str | None = None,
    refine: Refine | None = None,
    **how: Unpack[How],
) -> Evaluation:
    """Judge a model's masks of `path/images` by `path/masks`, each above 127 where the object is.

    `model` is what `load_model` gave, any other `WhiteBox`, or a name or file; none is the default model. What is left
    out of the recipe is as `segment` has it; `how` are the values of `How`. Raises `InputError` for a data set that is
    broken, or the first photo that is, `NothingMatchedError` for an empty one, `UsageError` for an option that makes no
    sense, and what `load_model` raises.
    """
    ready = as_model(model)
    recipe = choose_recipe(ready, layers=layers, sizes=sizes, heads=heads, keep=keep, refine=refine)
    trial = saliency_trial(
        Path(path), ready, recipe, off_centre=off_centre, mean_of_heads=mean_of_heads, oracle=oracle
    )
    return run(trial, **how)
