"""COCO's average precision, through pycocotools, of one class; and what it would be on photos drawn again.

pycocotools matches what was found with the truth, photo by photo. What it then adds up over photos is added up here
once more for each sample, its sorting and interpolation included.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Kind = Literal["bbox", "segm"]
AP50, AP75 = 0, 5  # where these stand among the ten thresholds of IoU, 0.5 to 0.95


@dataclass(frozen=True, eq=False)
class Precision:
    """Average precision, 0–1, for every threshold of IoU, and the recall; the precision for every sample of photos."""

    whole: Float[np.ndarray, " ious"]
    recall: Float[np.ndarray, " ious"]
    drawn: Float[np.ndarray, "times ious"]


@dataclass(frozen=True, eq=False)
class Matches:
    """What was found in all photos, photo after photo, best first, and whether it has a match, or does not count.

    `first` tells where each photo's begin, and where the last one's end; `truths` how many objects it has.
    """

    scores: Float[np.ndarray, " found"]
    matched: Bool[np.ndarray, "ious found"]
    ignored: Bool[np.ndarray, "ious found"]
    first: Int[np.ndarray, " photos1"]
    truths: Int[np.ndarray, " photos"]
    recalls: Float[np.ndarray, " recalls"]

    def precision(self, counts: Int[np.ndarray, " photos"]) -> Float[np.ndarray, " ious"]:
        """Give the average precision where each photo is there so often; NaN without objects."""
        objects = int(self.truths @ counts)
        if not objects:
            return np.full(len(self.matched), np.nan)
        photos = np.repeat(np.arange(len(counts)), counts)
        lengths = np.diff(self.first)[photos]
        ends = lengths.cumsum()
        index = np.arange(ends[-1]) + np.repeat(self.first[photos] - ends + lengths, lengths)
        index = index[np.argsort(-self.scores[index], kind="stable")]
        right = (self.matched & ~self.ignored)[:, index].cumsum(axis=1)
        wrong = (~self.matched & ~self.ignored)[:, index].cumsum(axis=1)
        precision = right / np.maximum(right + wrong, np.spacing(1.0))
        falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        falling = np.concatenate([falling, np.zeros((len(falling), 1))], axis=1)  # beyond the last recall
        places = [np.searchsorted(each / objects, self.recalls) for each in right]
        return np.array([each[at].mean() for each, at in zip(falling, places, strict=True)])


def average_precision(
    truth: Sequence[Sequence[Mapping[str, Any]]],
    found: Sequence[Sequence[Mapping[str, Any]]],
    sizes: Sequence[tuple[int, int]],
    kind: Kind,
    counts: Int[np.ndarray, "times photos"],
) -> Precision:
    """Judge what was found in each photo, in its order, by COCO's rules, all classes as one.

    The truth is COCO's annotations, crowds among them ignored as COCO does; what was found has `segmentation`, an RLE,
    and `score`. `sizes` are the photos' height and width; `counts` how often each photo is in every sample. Only
    photos with an object or a find count for anything. Raises `ValueError` where no photo has an object.
    """
    if not any(not each["iscrowd"] for photo in truth for each in photo):
        raise ValueError("no photo has an object")
    thresholds = COCOeval(iouType=kind).params.iouThrs
    if not any(found):
        nothing = np.zeros(len(thresholds))
        return Precision(nothing, nothing, np.zeros((len(counts), len(thresholds))))
    with redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        judge = COCOeval(*_loaded(truth, found, sizes), kind)
        judge.params.areaRng, judge.params.areaRngLbl = judge.params.areaRng[:1], ["all"]
        judge.params.maxDets = [max(map(len, found))]
        judge.evaluate()
        judge.accumulate()
    whole = judge.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
    recall = judge.eval["recall"][:, 0, 0, 0]
    matches = _matches(judge)
    drawn = [matches.precision(each) for each in counts]
    return Precision(whole, recall, np.array(drawn).reshape(len(counts), len(thresholds)))


def _loaded(
    truth: Sequence[Sequence[Mapping[str, Any]]],
    found: Sequence[Sequence[Mapping[str, Any]]],
    sizes: Sequence[tuple[int, int]],
) -> tuple[COCO, COCO]:
    """Number photos and annotations from 1, in their order."""
    known = [{**each, "image_id": photo} for photo, some in enumerate(truth, 1) for each in some]
    ours = [{**each, "image_id": photo} for photo, some in enumerate(found, 1) for each in some]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i, "height": height, "width": width} for i, (height, width) in enumerate(sizes, 1)],
        "annotations": [{**each, "id": number, "category_id": 1} for number, each in enumerate(known, 1)],
        "categories": [{"id": 1, "name": "object"}],
    }
    coco.createIndex()
    return coco, coco.loadRes([{**each, "category_id": 1} for each in ours])


def _matches(judge: COCOeval) -> Matches:
    """Take what pycocotools found in each photo; in those without object and find, it leaves nothing."""
    thresholds = len(judge.params.iouThrs)
    nothing = np.zeros((thresholds, 0))
    photos = [
        (each["dtScores"], each["dtMatches"], each["dtIgnore"], np.count_nonzero(each["gtIgnore"] == 0))
        if each is not None
        else ([], nothing, nothing, 0)
        for each in judge.evalImgs
    ]
    scores, matched, ignored, truths = zip(*photos, strict=True)
    return Matches(
        scores=np.concatenate([np.asarray(each, np.float64) for each in scores]),
        matched=np.concatenate(matched, axis=1) > 0,
        ignored=np.concatenate(ignored, axis=1) > 0,
        first=np.cumsum([0, *map(len, scores)]),
        truths=np.array(truths),
        recalls=np.asarray(judge.params.recThrs),
    )
