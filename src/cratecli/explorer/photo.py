"""Gather what a page shows of one photo: its tokens, what `segment` and `objects` answer, and every layer's trace."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from pydantic import BaseModel

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.emergence.projections import Projections, project
from cratecli.errors import InputError
from cratecli.explorer.pack import Packed, levels, pack, runs, text_of
from cratecli.geometry import Size, fit_grid
from cratecli.io.formats.picture import encode
from cratecli.io.sheet import heat
from cratecli.model.engine import Model
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Job
from cratecli.runs.tensors import model_inputs, white_box
from cratecli.runs.views import flat
from cratecli.tasks.layers import LayerTrace, trace_batch
from cratecli.tasks.object_recipes import MOST_PATCHES, choose_object_recipe
from cratecli.tasks.objects import find_objects
from cratecli.tasks.recipes import LayerRecipe, Recipe, ViewRecipe, choose_recipe, defaults
from cratecli.tasks.segment import Segmentation, decide
from cratecli.wording import as_path, quoted

PICTURE, THUMBNAIL = 1024, 144  # px, the longer side of a photo in the page, and in its strip
LEAST = 1e-8  # attention that is shown


class Card(BaseModel):
    """What the strip shows of a photo; `height` and `width` are those of the upright photo, px."""

    name: str
    height: int
    width: int
    thumbnail: str


class Answer(BaseModel):
    """What `crate segment` answers: its mask, as runs, and each head's part in the vote and agreement."""

    layers: list[int]
    shares: list[list[float]]
    scores: list[list[float]]
    confidence: float
    mask: list[int]


class Trace(BaseModel):
    """What each layer does: see `LayerTrace`; components and masks are bytes, `layers components m`."""

    coding_rate: list[float]
    zero_fraction: list[float]
    components: str
    maskcut: str


class ShownObject(BaseModel):
    """An object that `crate objects` found: its mask, as runs, and its score, 0–1."""

    score: float
    mask: list[int]


class PhotoData(BaseModel):
    """All that the page knows of a photo; `photo` and `options` are words of a command, for the shell.

    `whole` is the logarithm of class attention, of a model without a class token.
    """

    picture: str
    rows: int
    cols: int
    prefix: int
    layers: list[int]
    key: Packed
    query: Packed | None
    whole: Packed | None
    flat: bool
    auto: Answer
    trace: Trace
    objects: list[ShownObject]
    photo: str
    options: str
    size: int


def segment_recipe(model: Model, recipe: ViewRecipe) -> Recipe:
    """Choose how `segment` is asked: as the model does best, the photo read as the recipe says."""
    return choose_recipe(model, range=recipe.range)


def card_of(photo: DecodedPhoto) -> Card:
    """Make a photo's card."""
    height, width = photo.rgb.shape[:2]
    return Card(
        name=photo.job.name, height=height, width=width, thumbnail=_picture(photo.rgb, THUMBNAIL, photo)
    )


def look_into(photo: DecodedPhoto, views: Sequence[View], recipe: ViewRecipe, desk: Desk) -> PhotoData:
    """Gather what the page shows of a photo; `views` are those that `segment_recipe` asks for.

    `objects` looks at the same by default, whatever the model. Raises `InputError` for a grid that is too large, and
    where the model's numbers are not finite.
    """
    model, rgb = desk.model, photo.rgb
    try:
        projections = _project(rgb, recipe, model)
        asked = LayerRecipe(recipe.layers, recipe.sizes[:1], range=recipe.range)
        trace = trace_batch([rgb], model, asked, desk.cache)[0]
    except InputError as error:
        raise InputError(f"{photo.job.name}: {error}") from None
    found = find_objects(rgb, views, choose_object_recipe(model, range=recipe.range))
    weights = model.weights
    options = ["-m", weights.name] if weights else []
    options += ["--range", recipe.range] if recipe.range != "auto" else []
    return PhotoData(
        picture=_picture(rgb, PICTURE, photo),
        rows=projections.grid.rows,
        cols=projections.grid.cols,
        prefix=projections.prefix,
        layers=list(recipe.layers),
        key=pack(projections.key),
        query=None if projections.query is None else pack(projections.query),
        whole=None if projections.whole is None else _logs(projections.whole),
        flat=flat(rgb, projections.grid),
        auto=_answer(decide(rgb, views, segment_recipe(model, recipe), model)),
        trace=_traced(trace),
        objects=[ShownObject(score=round(each.score, 4), mask=runs(each.mask)) for each in found],
        photo=_words(photo.job),
        options=" ".join(map(quoted, options)),
        size=recipe.sizes[0],
    )


def facts_of(model: Model) -> dict[str, Any]:
    """Give the facts of the model that a page shows, and the colours of its maps, red, green and blue, 0–255."""
    return {
        "model": model.weights.name if model.weights else "a model without a name",
        "depth": model.depth,
        "heads": model.heads,
        "classToken": model.has_class_token,
        "pooling": model.pooling,
        "patch": model.patch_size,
        "keep": str(defaults(model).attention.keep),
        "partsLayer": defaults(model).parts.layers[0],
        "viridis": text_of(heat(np.linspace(0, 1, 256)[None]).tobytes()),
    }


def _words(job: Job) -> str:
    """Write a photo for the shell; one that was in memory stands for whatever file it is in."""
    if job.called:
        return quoted(as_path(job.called))
    if job.held is not None:
        return "PHOTO"
    return quoted(as_path("-" if job.piped else job.name))


def _logs(attention: Float[np.ndarray, "layers k rows cols"]) -> Packed:
    """Pack attention as the logarithm that masks are cut of."""
    layers, heads, *grid = attention.shape
    return pack(np.log(np.maximum(attention, LEAST)).reshape(layers, heads, math.prod(grid), 1))


def _project(rgb: RGB, recipe: ViewRecipe, model: Model) -> Projections:
    grid = fit_grid(Size(*rgb.shape[:2]), recipe.sizes[0], model.patch_size)
    if grid.patches > MOST_PATCHES:
        raise InputError(
            f"{grid.patches:,} patches are more than a page holds ({MOST_PATCHES:,}): choose a smaller size"
        )
    try:
        box = white_box(model)
        return project(box, model_inputs([rgb], grid, box), recipe.layers)
    except FloatingPointError as error:
        raise InputError(str(error)) from None


def _answer(found: Segmentation) -> Answer:
    return Answer(
        layers=list(found.layers),
        shares=np.round(found.head_shares, 4).tolist(),
        scores=np.round(found.head_scores, 4).tolist(),
        confidence=round(found.confidence, 4),
        mask=runs(found.mask),
    )


def _traced(trace: LayerTrace) -> Trace:
    return Trace(
        coding_rate=np.round(trace.coding_rate, 2).tolist(),
        zero_fraction=np.round(trace.zero_fraction, 4).tolist(),
        components=levels(trace.components),
        maskcut=levels(trace.mask.astype(float)),
    )


def _picture(rgb: RGB, longest: int, photo: DecodedPhoto) -> str:
    """Encode a photo as a JPEG in a data URI, with nothing of its metadata, no side longer than `longest` px."""
    factor = min(1, longest / max(rgb.shape[:2]))
    width, height = (max(1, round(side * factor)) for side in (rgb.shape[1], rgb.shape[0]))
    shown = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)) if factor < 1 else rgb
    return f"data:image/jpeg;base64,{text_of(encode(shown, 'jpg', None, photo.job.name))}"
