"""Judge MaskCut by COCO's average precision, class-agnostic, by the published rules (2308.16271, B.4; 2301.11320)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Unpack

from cratecli.arrays import RGB
from cratecli.emergence.bootstrap import interval, resamples
from cratecli.emergence.features import View
from cratecli.emergence.heads import auto
from cratecli.emergence.maskcut import maskcut, objectness
from cratecli.emergence.masks import spread
from cratecli.emergence.precision import AP50, AP75, Kind, Precision, average_precision
from cratecli.errors import NothingMatchedError
from cratecli.evaluation.protocol import How, PhotoTrial, run
from cratecli.evaluation.published import COCO, COCO_PHOTOS, published
from cratecli.evaluation.result import Evaluation, Measure, Name, Resampling, Row
from cratecli.evaluation.scores import Found
from cratecli.geometry import Size
from cratecli.io import datasets
from cratecli.io.datasets import CocoSet, Pair
from cratecli.io.formats.record import annotate
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, as_model
from cratecli.tasks.objects import MOST_PATCHES, ObjectRecipe, choose_object_recipe

DIGITS = 6  # of a score that is kept
PUBLISHED, OURS = "every score 1", "our scores"
KINDS: tuple[tuple[str, Kind], ...] = (("box", "bbox"), ("mask", "segm"))


@dataclass(frozen=True, eq=False)
class CocoTrial(PhotoTrial):
    """Photos with annotated objects; every layer of the recipe is cut on its own, the scores are of the same cuts."""

    protocol: ClassVar[Name] = "coco"

    recipe: ObjectRecipe
    coco: CocoSet

    @property
    def question(self) -> Question:
        """Ask for the layers to cut and those that are asked for scores, of the photo squeezed into a square."""
        layers, _, _ = self.recipe.places
        return Question(layers, self.recipe.sizes[:1], most_patches=MOST_PATCHES, square=True)

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give layers, size, τ and the most objects."""
        return {name: self.recipe.settings[name] for name in ("layer", "size", "tau", "n")}

    @property
    def recipe_told(self) -> str:
        """Say the recipe in words."""
        told = self.settings
        return (
            f"layers {told['layer']}, {self.square(self.recipe.sizes[0])}, tau {told['tau']}, n {told['n']}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how cuts reach pixels, and how they are scored."""
        return (
            "MaskCut without CRF, the first cut always accepted; nearest neighbour from the patch grid to the photo",
            f"AP by pycocotools, all classes as one; {PUBLISHED}: in the order of the cuts; {OURS}: the same masks, "
            "scored as crate objects does",
        )

    def key(self, pair: Pair, sha256: str, among: str = "") -> str:
        """Name a photo by its bytes alone: what is cut does not depend on the truth."""
        del pair, among
        return sha256

    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo's size."""
        datasets.refuse_other_size(rgb, self.coco.sizes[pair.name], pair)
        return rgb

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> Found:
        """Cut one photo: masks as RLE, with our score, by layer, in the order of the cuts."""
        del pair
        layers, _, asked = self.recipe.places
        (view,), size = views, Size(*rgb.shape[:2])
        log_attention = auto([view.only(*asked)]).log_attention
        cut = {}
        for layer in self.recipe.layers:
            tokens = view.only(layers.index(layer)).unit_tokens()
            masks = maskcut(tokens, tau=self.recipe.tau, count=self.recipe.count)
            cut[str(layer)] = [
                {
                    "rle": annotate(spread(mask, size), 1.0).rle,
                    "score": round(objectness(mask, tokens, log_attention, self.recipe.tau), DIGITS),
                }
                for mask in masks
                if spread(mask, size).any()
            ]
        return cut

    def rows(self, found: Mapping[str, Found], how: Resampling) -> tuple[Row, ...]:
        """Judge all photos together, once for each layer and way to score; photos are drawn again for intervals."""
        truth = [self.coco.annotations[name] for name in found]
        sizes = [self.coco.sizes[name] for name in found]
        counts = resamples(len(found), how.times, how.seed)
        paper = published(COCO, self.model.weights) if self._official(len(found)) else {}
        rows = []
        for layer in self.recipe.layers:
            cuts = [each[str(layer)] for each in found.values()]
            for name in (PUBLISHED, OURS):
                ours = [[_result(each, ours=name == OURS) for each in photo] for photo in cuts]
                measures: list[Measure] = []
                for word, kind in KINDS:
                    precision = average_precision(truth, ours, sizes, kind, counts)
                    measures += _measures(word, precision)
                if name == PUBLISHED and (layer,) == choose_object_recipe(self.model).layers:
                    measures = [replace(each, paper=paper.get(each.name)) for each in measures]
                rows.append(Row(name, tuple(measures), layer))
        return tuple(rows)

    def _official(self, photos: int) -> bool:
        """Tell whether data and settings are the paper's."""
        default = choose_object_recipe(self.model)
        same = replace(default, layers=self.recipe.layers) == self.recipe
        return same and photos == COCO_PHOTOS and self.pairs[0].truth.name == datasets.VAL2017


def _result(cut: Mapping[str, Any], *, ours: bool) -> dict[str, Any]:
    return {"segmentation": cut["rle"], "score": cut["score"] if ours else 1.0}


def _measures(word: str, precision: Precision) -> list[Measure]:
    """Name the three numbers that the paper gives."""
    of = {"AP50": slice(AP50, AP50 + 1), "AP75": slice(AP75, AP75 + 1), "AP": slice(None)}
    return [
        Measure(
            f"{word} {name}",
            float(precision.whole[part].mean()),
            *interval(precision.drawn[:, part].mean(axis=1)),
        )
        for name, part in of.items()
    ]


def coco_trial(path: Path, model: WhiteBox, recipe: ObjectRecipe) -> CocoTrial:
    """Read COCO's annotations. Raises `InputError`, and `NothingMatchedError` where nothing is annotated."""
    found = datasets.coco(path)
    if not any(not each["iscrowd"] for photo in found.annotations.values() for each in photo):
        raise NothingMatchedError(f"no object is annotated in {found.pairs[0].truth}")
    return CocoTrial(model, path, found.pairs, recipe, found)


def evaluate_coco(
    path: str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    layers: Sequence[int] | None = None,
    size: int | None = None,
    tau: float | None = None,
    count: int | None = None,
    **how: Unpack[How],
) -> Evaluation:
    """Judge MaskCut on COCO: `path` holds `images/` and `instances.json`, or the official `val2017` and `annotations`.

    `model` and `how` are as `evaluate_saliency` has them. Each of `layers` is cut on its own; `size` is
    the side of the square input, in px. Raises what `evaluate_saliency` raises.
    """
    ready = as_model(model)
    recipe = choose_object_recipe(ready, layers=layers, size=size, tau=tau, count=count)
    trial = coco_trial(Path(path), ready, recipe)
    return run(trial, **how)
