"""Segment photos: the heads' attention becomes one mask a photo."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack, overload

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import chooser, refine
from cratecli.emergence import clicks as clicks_
from cratecli.emergence import confidence as confidence_
from cratecli.emergence import heads as heads_
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.masks import bounding_box, clean, contrast, enlarge, scale, threshold
from cratecli.errors import CrateError
from cratecli.geometry import Box, Clicks, Size
from cratecli.io import images
from cratecli.model.engine import Model, WeightsId
from cratecli.runs.cache import FeatureCache, ViewCache
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.in_order import work_in_order
from cratecli.runs.views import Look, Question, as_model, flat, look, views_of
from cratecli.tasks.choices import refuse_clicks
from cratecli.tasks.drawn import drawn_by_head, head_id
from cratecli.tasks.options import SegmentOptions
from cratecli.tasks.ranker import confidence_weights, ranker
from cratecli.tasks.recipes import Recipe, choose_recipe


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One photo's mask, and why it is so.

    `mask` and `soft` (0–1, before its threshold: the scaled map, or with heads `auto` the candidates' vote) have the
    photo's upright size, as has `box`. `heads` lists those that made the map, or have at least an even share of the
    vote; `head_scores` is the label-free score of every head at each of `layers`, `head_shares` its share of the map
    or the vote; they sum to 1. `confidence`, 0–1, is with heads `auto` the expected IoU of the mask with the truth; of
    a click, how far the vote is for one thing. Else it is how far heads, layers and views agree, times how much more
    attention a patch gets inside what they agree on. Below `min_confidence` the mask is empty. `head` drew `soft`.
    """

    mask: Mask
    soft: Soft
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    head_scores: Float[np.ndarray, "layers k"]
    head_shares: Float[np.ndarray, "layers k"]
    threshold: float
    confidence: float
    weights: WeightsId | None
    head: WeightsId | None = None

    @property
    def size(self) -> Size:
        """Give the photo's height and width, in pixels."""
        return Size(*self.mask.shape)

    @property
    def area(self) -> int:
        """Count the mask's pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> Box | None:
        """Give the mask's bounding box, in pixels; `None` when it is empty."""
        return bounding_box(self.mask)

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing in the mask."""
        return not self.mask.any()


def segment(
    image: images.PhotoLike | Look,
    model: Model | str | Path | None = None,
    **asked: Unpack[SegmentOptions],
) -> Segmentation:
    """Segment one photo: a path or URL, a file's bytes, a Pillow image, an upright RGB array (0–255), or a `Look`.

    `model` is what `load_model` gave, or a name or file for it; none is the default model. What is left out of
    `SegmentOptions` is as measured best for the model; see `Keep.parse` for `keep`.
    Raises `InputError` for a bad photo, `UsageError` for an option that makes no sense, and what `load_model`
    raises.
    """
    seen = look(image, model, asked.get("range"))
    return segment_batch([seen.rgb], seen.model, choose_recipe(seen.model, **asked), seen.cache)[0]


@overload
def segment_many(
    photos: Iterable[images.PhotoLike],
    model: Model | str | Path | None = ...,
    *,
    batch_size: int = ...,
    cache: str | Path | None = ...,
    errors: Literal["raise"] = ...,
    **asked: Unpack[SegmentOptions],
) -> Iterator[Segmentation]: ...
@overload
def segment_many(
    photos: Iterable[images.PhotoLike],
    model: Model | str | Path | None = ...,
    *,
    batch_size: int = ...,
    cache: str | Path | None = ...,
    errors: Literal["return"],
    **asked: Unpack[SegmentOptions],
) -> Iterator[Segmentation | CrateError]: ...
def segment_many(
    photos: Iterable[images.PhotoLike],
    model: Model | str | Path | None = None,
    *,
    batch_size: int = 8,
    cache: str | Path | None = None,
    errors: Literal["raise", "return"] = "raise",
    **asked: Unpack[SegmentOptions],
) -> Iterator[Segmentation | CrateError]:
    """Segment many photos, and give a `Segmentation` for each, in their order, as soon as it is there.

    Photos are taken as they are needed, read ahead of the model and grouped by size, `batch_size` at most to a forward
    pass. `cache` is a folder that keeps what the model saw, for other questions. A bad photo raises its `InputError`;
    with `errors="return"` the error stands in its place, and the rest goes on. All else is as in `segment`.
    """
    ready = as_model(model)
    recipe = choose_recipe(ready, **asked)
    refuse_clicks(recipe.at, "segment_many asks many")
    kept = None if cache is None else FeatureCache(Path(cache), ready)
    desk = Desk(ready, batch_size, kept, range=recipe.range)

    def finish(photo: DecodedPhoto, views: Sequence[View]) -> Segmentation:
        return decide(photo.rgb, views, recipe, ready)

    return work_in_order(photos, desk, question_of(recipe), finish, errors)


def segment_batch(
    photos: Sequence[RGB], model: Model, recipe: Recipe, cache: ViewCache | None = None
) -> list[Segmentation]:
    """Segment upright RGB photos; those that share their input grids go through the model together."""
    seen = views_of(photos, model, question_of(recipe), cache=cache)
    return [decide(photo, views, recipe, model) for photo, views in zip(photos, seen, strict=True)]


def question_of(recipe: Recipe) -> Question:
    """Give what a recipe asks the model."""
    return Question(recipe.layers, recipe.sizes, clicks=recipe.clicks)


def decide(photo: RGB, views: Sequence[View], recipe: Recipe, model: Model) -> Segmentation:
    """Turn one photo's views of the recipe's layers into its mask."""
    size = Size(*photo.shape[:2])
    if recipe.clicks:
        views = [view.as_clicked() for view in views]
        if recipe.heads == "auto":
            return _answer(photo, views, recipe, model)
    cell = max(size) / max(heads_.common_grid(views))
    head = head_id(recipe.head, model)
    match recipe.heads:
        case "auto":
            judged = chooser.judge(views, photo, recipe.keep)
            saliency, scores = judged.listed.saliency, chooser.score(judged, ranker(frame=recipe.frame))
        case "agree":
            saliency = heads_.agree(views)
        case "all":
            saliency = heads_.fixed(views, range(model.heads))
        case named:
            saliency = heads_.fixed(views, named)
    cut = threshold(saliency.log_attention, recipe.keep)
    constant = not scale(saliency.log_attention).any() or flat(photo, heads_.common_grid(views))
    heads, shares = saliency.chosen, saliency.shares
    confidence = saliency.agreement * contrast(saliency.log_attention, cut)
    if recipe.heads == "auto":
        weights = confidence_weights(model.learned, frame=recipe.frame)
        confidence = confidence_.expected_iou(confidence_.signs(judged, scores), weights)
        votes = chooser.votes(scores)
        cut, cell = chooser.CUT, max(size) / chooser.FINEST
        if head:
            vote = chooser.soft_mask(judged, votes, judged.size)
            soft = drawn_by_head(recipe.head, photo, views, vote, model)
        else:
            soft = chooser.soft_mask(judged, votes, size)
        shares = judged.listed.shares(votes)
        heads = heads_.trusted_heads(shares)
    else:
        soft = enlarge(scale(saliency.log_attention), size)
    if constant:
        soft, confidence = np.zeros_like(soft), 0.0
    mask = np.zeros(size, bool)
    if not constant and confidence >= recipe.min_confidence:
        mask = refine.refined(photo, soft, cut, cell, recipe.refine)
    return Segmentation(
        mask=tidy(mask, recipe),
        soft=soft,
        layers=absolute_layers(recipe.layers, model.depth),
        heads=heads,
        head_scores=saliency.scores,
        head_shares=shares,
        threshold=cut,
        confidence=confidence,
        weights=model.weights,
        head=head,
    )


def _answer(photo: RGB, views: Sequence[View], recipe: Recipe, model: Model) -> Segmentation:
    """Make the mask that the attention of clicked patches votes for; `views` hold it in the class token's place."""
    clicks = Clicks(recipe.at, recipe.not_at)
    answer = clicks_.answer(views, photo, clicks, recipe.keep)
    soft, confidence = answer.soft_mask(Size(*photo.shape[:2])), answer.confidence
    if flat(photo, heads_.common_grid(views)):
        soft, confidence = np.zeros_like(soft), 0.0
    mask = np.zeros(soft.shape, bool)
    if soft.any() and confidence >= recipe.min_confidence:
        mask = clicks_.answered_mask(photo, soft, clicks, recipe.refine)
    shares = answer.listed.shares(answer.shares)
    return Segmentation(
        mask=tidy(mask, recipe),
        soft=soft,
        layers=absolute_layers(recipe.layers, model.depth),
        heads=heads_.trusted_heads(shares),
        head_scores=answer.listed.saliency.scores,
        head_shares=shares,
        threshold=chooser.CUT,
        confidence=confidence,
        weights=model.weights,
    )


def tidy(mask: Mask, recipe: Recipe) -> Mask:
    """Drop the pieces and fill the holes of a mask, as the recipe says."""
    return clean(mask, smallest=recipe.min_area, largest=recipe.largest, fill_holes=recipe.fill_holes)
