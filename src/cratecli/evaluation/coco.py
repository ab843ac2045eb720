"""Evaluate MaskCut by COCO's average precision, class-agnostic, by the papers' rules (2308.16271, B.4; 2301.11320)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Unpack

from pydantic import BaseModel, ConfigDict, Field

from cratecli.arrays import RGB
from cratecli.emergence.bootstrap import interval
from cratecli.emergence.features import View
from cratecli.emergence.heads import agree
from cratecli.emergence.maskcut import maskcut, objectness
from cratecli.emergence.masks import spread
from cratecli.emergence.precision import AP50, AP75, Kind, Precision, average_precision
from cratecli.errors import NothingMatchedError
from cratecli.evaluation.finished import OpenRun, RunProtocol, evaluate_run
from cratecli.evaluation.intervals import Bootstrap
from cratecli.evaluation.options import CocoOptions
from cratecli.evaluation.protocol import PhotoProtocol
from cratecli.evaluation.published import COCO, COCO_PHOTOS, published
from cratecli.evaluation.records import ProtocolName
from cratecli.evaluation.result import Evaluation, Measure, ResultRow
from cratecli.evaluation.run import evaluate
from cratecli.evaluation.scores import DIGITS, PhotoScores
from cratecli.geometry import Size
from cratecli.io import datasets
from cratecli.io.datasets import CocoSet, Pair
from cratecli.io.formats.record import Annotated, annotate
from cratecli.model.engine import Model
from cratecli.runs.views import Question
from cratecli.tasks.object_recipes import MOST_PATCHES, choose_cut_recipe
from cratecli.tasks.options import CutOptions
from cratecli.tasks.recipes import ObjectRecipe

PUBLISHED, OURS = "every score 1", "our scores"
KINDS: tuple[tuple[str, Kind], ...] = (("box", "bbox"), ("mask", "segm"))


class Cut(BaseModel):
    """One mask that MaskCut made of a photo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rle: dict[str, Any] = Field(description="The mask at the photo's upright size, as COCO's compressed RLE.")
    score: float = Field(description="The score of `crate objects`, 0–1.")


class CocoScores(PhotoScores):
    """A photo's cuts by layer, in their order; they are matched with the truth when all photos are cut."""

    layers: dict[int, list[Cut]]


@dataclass(frozen=True, eq=False)
class CocoProtocol(PhotoProtocol[CocoScores]):
    """Photos with annotated objects; every layer of the recipe is cut on its own, the scores are of the same cuts."""

    name: ClassVar[ProtocolName] = "coco"
    scores_type = CocoScores

    recipe: ObjectRecipe
    coco: CocoSet

    @property
    def question(self) -> Question:
        """Ask for the layers to cut and those that are asked for scores, of the photo squeezed into a square."""
        layers, _, _ = self.recipe.places
        return Question(layers, self.recipe.sizes[:1], most_patches=MOST_PATCHES, square=True)

    @property
    def settings(self) -> dict[str, Any]:
        """Give all of the recipe that decides cuts and scores: every cut counts, and none is refined."""
        unused = ("by", "min_score", "min_best", "refine")
        return {name: value for name, value in self.recipe.as_data().items() if name not in unused}

    @property
    def summary(self) -> str:
        """Describe the recipe in one line."""
        recipe = self.recipe
        layers = ",".join(map(str, recipe.layers))
        return f"layers {layers}, {self.square(recipe.sizes[0])}, tau {recipe.tau}, n {recipe.count}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Explain how cuts reach pixels, and how they are scored."""
        return (
            "MaskCut without CRF, the first cut always accepted; nearest neighbour from the patch grid to the photo",
            f"AP by pycocotools, all classes as one; {PUBLISHED}: in the order of the cuts; {OURS}: the same masks, "
            "scored as crate objects does",
        )

    def score_key(self, pair: Pair, sha256: str, data_set: str = "") -> str:
        """Name a photo by its SHA-256 alone: cuts do not depend on the truth."""
        del pair, data_set
        return sha256

    def prepare(self, pair: Pair, rgb: RGB) -> RGB:
        """Check a photo's size."""
        datasets.refuse_other_size(rgb.shape[:2], self.coco.sizes[pair.name], pair)
        return rgb

    def judge(self, pair: Pair, rgb: RGB, views: Sequence[View]) -> CocoScores:
        """Cut one photo, layer by layer."""
        del pair
        layers, _, asked = self.recipe.places
        (view,), size = views, Size(*rgb.shape[:2])
        log_attention = agree([view.only(*asked)]).log_attention
        cuts = {}
        for layer in self.recipe.layers:
            tokens = view.only(layers.index(layer)).unit_tokens()
            masks = maskcut(tokens, tau=self.recipe.tau, count=self.recipe.count)
            cuts[layer] = [
                Cut(
                    rle=annotate(spread(mask, size), 1.0).rle,
                    score=round(objectness(mask, tokens, log_attention, self.recipe.tau), DIGITS),
                )
                for mask in masks
                if spread(mask, size).any()
            ]
        return CocoScores(layers=cuts)

    def rows(self, scores: Mapping[str, CocoScores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Match the cuts of all photos with the truth, once for each layer and way to score."""
        paper = published(COCO, self.model.weights) if self._official(len(scores)) else {}
        rows = []
        for layer in self.recipe.layers:
            cuts = {name: each.layers[layer] for name, each in scores.items()}
            for row, score in ((PUBLISHED, 1.0), (OURS, None)):
                measures = _matched(self.coco, cuts, bootstrap, score)
                if row == PUBLISHED and (layer,) == choose_cut_recipe(self.model).layers:
                    measures = [replace(each, paper=paper.get(each.name)) for each in measures]
                rows.append(ResultRow(row, tuple(measures), layer))
        return tuple(rows)

    def _official(self, photos: int) -> bool:
        """Tell whether data and settings are the paper's."""
        default = choose_cut_recipe(self.model)
        same = replace(default, layers=self.recipe.layers) == self.recipe
        return same and photos == COCO_PHOTOS and self.pairs[0].truth.name == datasets.VAL2017


class FoundScores(PhotoScores):
    """A photo's objects, as a finished run has them."""

    objects: list[Cut]


@dataclass(frozen=True, eq=False)
class CocoRun(RunProtocol[FoundScores]):
    """The objects of a finished run of `crate objects`, with their scores."""

    name: ClassVar[ProtocolName] = "coco"
    command = "objects"

    coco: CocoSet

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what is matched with what."""
        return (f"AP by pycocotools, all classes as one; {OURS}: those of crate objects",)

    def judge(self, pair: Pair, photo: Annotated) -> FoundScores:
        """Check a photo's size, and take its objects."""
        datasets.refuse_other_size((photo.height, photo.width), self.coco.sizes[pair.name], pair)
        return FoundScores(objects=[Cut(rle=each.rle, score=each.score) for each in photo.objects])

    def rows(self, scores: Mapping[str, FoundScores], bootstrap: Bootstrap) -> tuple[ResultRow, ...]:
        """Match the objects of all photos with the truth."""
        found = {name: each.objects for name, each in scores.items()}
        return (ResultRow(OURS, tuple(_matched(self.coco, found, bootstrap))),)


def _matched(
    coco: CocoSet, found: Mapping[str, Sequence[Cut]], bootstrap: Bootstrap, score: float | None = None
) -> list[Measure]:
    """Compute the precision of boxes and masks found in photos, by name; `score` stands for that of each."""
    truth = [coco.annotations[name] for name in found]
    sizes = [coco.sizes[name] for name in found]
    results = [
        [{"segmentation": each.rle, "score": each.score if score is None else score} for each in cuts]
        for cuts in found.values()
    ]
    measures: list[Measure] = []
    for word, kind in KINDS:
        measures += _measures(word, average_precision(truth, results, sizes, kind, bootstrap.counts))
    return measures


def _measures(word: str, precision: Precision) -> list[Measure]:
    """Give the three precisions that the paper reports, with their intervals."""
    of = {"AP50": slice(AP50, AP50 + 1), "AP75": slice(AP75, AP75 + 1), "AP": slice(None)}
    return [
        Measure(
            f"{word} {name}",
            float(precision.whole[part].mean()),
            *interval(precision.drawn[:, part].mean(axis=1)),
        )
        for name, part in of.items()
    ]


def coco_protocol(path: Path, model: Model, **asked: Unpack[CutOptions]) -> CocoProtocol:
    """Read COCO's annotations. Raises `InputError`, `UsageError`, and `NothingMatchedError` without an object."""
    recipe = choose_cut_recipe(model, **asked)
    coco = _annotated(path)
    return CocoProtocol(path, coco.pairs, model, recipe, coco)


def coco_run(path: Path, run: OpenRun) -> CocoRun:
    """Read COCO's annotations, for a finished run. Raises `InputError`, and `NothingMatchedError` as above."""
    coco = _annotated(path)
    return CocoRun(path, coco.pairs, run, coco)


def _annotated(path: Path) -> CocoSet:
    coco = datasets.coco(path)
    if not any(not each["iscrowd"] for photo in coco.annotations.values() for each in photo):
        raise NothingMatchedError(f"no object is annotated in {coco.pairs[0].truth}")
    return coco


def evaluate_coco(
    path: str | Path,
    model: Model | str | Path | None = None,
    *,
    run: str | Path | None = None,
    **asked: Unpack[CocoOptions],
) -> Evaluation:
    """Evaluate MaskCut on COCO: `path` has `images/` and `instances.json`, or `val2017` and `annotations`.

    `model` is as in `evaluate_saliency`; see `CocoOptions`; `size` is the side of the square input, in px. In place of
    a model, `run` is a finished run of `crate objects`, whose objects are judged as they are. Raises what
    `evaluate_saliency` raises.
    """
    if run is not None:
        return evaluate_run(coco_run, path, run, model, **asked)
    return evaluate(coco_protocol, path, model, **asked)
