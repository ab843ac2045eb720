"""Compute COCO's average precision of one class with pycocotools, also on bootstrap samples of the photos.

pycocotools matches detections with the ground truth, photo by photo. Its accumulation over photos, with sorting and
interpolation, is repeated here for each bootstrap sample.
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
AP50, AP75 = 0, 5  # positions among the ten thresholds of IoU, 0.5 to 0.95


@dataclass(frozen=True, eq=False)
class Precision:
    """Holds average precision and recall, 0–1, at every threshold of IoU.

    `whole` and `recall` are over all photos, `drawn` is the average precision of every bootstrap sample.
    """

    whole: Float[np.ndarray, " ious"]
    recall: Float[np.ndarray, " ious"]
    drawn: Float[np.ndarray, "times ious"]


@dataclass(frozen=True, eq=False)
class Matches:
    """Holds the detections of all photos, photo after photo, by falling score, and which match an object.

    `ignored` detections do not count. `first` is the position of each photo's first detection, then the number of all;
    `truths` is the number of each photo's objects; `recalls` are the recall values at which precision is averaged.
    """

    scores: Float[np.ndarray, " detections"]
    matched: Bool[np.ndarray, "ious detections"]
    ignored: Bool[np.ndarray, "ious detections"]
    first: Int[np.ndarray, " photos1"]
    truths: Int[np.ndarray, " photos"]
    recalls: Float[np.ndarray, " recalls"]

    def precision(self, counts: Int[np.ndarray, " photos"]) -> Float[np.ndarray, " ious"]:
        """Compute the average precision, 0–1, with each photo counted `counts` times; NaN without objects."""
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
    detections: Sequence[Sequence[Mapping[str, Any]]],
    sizes: Sequence[tuple[int, int]],
    kind: Kind,
    counts: Int[np.ndarray, "times photos"],
) -> Precision:
    """Compute average precision of the detections in each photo by COCO's rules, all classes as one.

    `truth` holds COCO's annotations of each photo (crowds are ignored, as COCO does); a detection has `segmentation`,
    an RLE, and `score`. `sizes` are the photos' heights and widths (px); `counts` is how often each photo is in every
    bootstrap sample. Raises `ValueError` where no photo has an object.
    """
    if not any(not each["iscrowd"] for photo in truth for each in photo):
        raise ValueError("no photo has an object")
    thresholds = COCOeval(iouType=kind).params.iouThrs
    if not any(detections):
        nothing = np.zeros(len(thresholds))
        return Precision(nothing, nothing, np.zeros((len(counts), len(thresholds))))
    with redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        judge = COCOeval(*_loaded(truth, detections, sizes), kind)
        judge.params.areaRng, judge.params.areaRngLbl = judge.params.areaRng[:1], ["all"]
        judge.params.maxDets = [max(map(len, detections))]
        judge.evaluate()
        judge.accumulate()
    whole = judge.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
    recall = judge.eval["recall"][:, 0, 0, 0]
    matches = _matches(judge)
    drawn = [matches.precision(each) for each in counts]
    return Precision(whole, recall, np.array(drawn).reshape(len(counts), len(thresholds)))


def _loaded(
    truth: Sequence[Sequence[Mapping[str, Any]]],
    detections: Sequence[Sequence[Mapping[str, Any]]],
    sizes: Sequence[tuple[int, int]],
) -> tuple[COCO, COCO]:
    """Load ground truth and detections into pycocotools; photos and annotations are numbered from 1."""
    known = [{**each, "image_id": photo} for photo, some in enumerate(truth, 1) for each in some]
    ours = [{**each, "image_id": photo} for photo, some in enumerate(detections, 1) for each in some]
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
    """Collect the matches of pycocotools in each photo; it leaves `None` for one without objects and detections."""
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
