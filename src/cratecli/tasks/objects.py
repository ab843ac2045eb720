"""Find several objects in each photo by MaskCut, with a score each, and none where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence import refine as refine_
from cratecli.emergence.features import View
from cratecli.emergence.heads import Saliency, auto
from cratecli.emergence.maskcut import maskcut, objectness
from cratecli.emergence.masks import bounding_box, clean, enlarge
from cratecli.errors import UsageError
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.io.formats.indexed import encode_labels, tint, voc_palette
from cratecli.io.formats.png import encode_rgb
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.sheet import Framed, frame
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import Desk, Outcomes, Photo, Question, work_through
from cratecli.runs.cache import FeatureCache
from cratecli.runs.jobs import Job
from cratecli.runs.provenance import Provenance
from cratecli.runs.views import as_model, flat, see
from cratecli.tasks.recipes import (
    BASE,
    TAU,
    THUMBNAIL,
    Refine,
    Sight,
    check_refine,
    choose_sight,
    default_recipe,
    papers_layer,
)

Picture = Literal["overlay", "labels"]
PICTURES: tuple[Picture, ...] = get_args(Picture)

MOST_PATCHES = 16_384  # of a grid to cut: their affinity takes a gigabyte
PIECE = 0.1  # of an object: smaller pieces that refinement splits off are dropped
PAPER_SIZE = 480  # px, square in the paper; the photo's aspect is kept here


@dataclass(frozen=True)
class ObjectRecipe(Sight):
    """How photos are cut: τ is a cosine, `count` the most objects a photo, `min_score` a score of 0–1.

    The tokens of `layers` are cut, the heads of `attention` asked for the score; of `sizes` the first counts.
    Raises `UsageError` for what makes no sense.
    """

    attention: tuple[int, ...]
    tau: float = TAU
    count: int = 3
    min_score: float = 0.2
    refine: Refine = "none"

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        super().__post_init__()
        if not -1 <= self.tau <= 1:
            raise UsageError(f"tau {self.tau} is not a cosine, -1 to 1")
        if not 1 <= self.count <= 100:
            raise UsageError(f"{self.count} objects a photo is not within 1 to 100")
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"min-score {self.min_score} is not within 0 to 1")
        check_refine(self.refine)

    @property
    def places(self) -> tuple[tuple[int, ...], list[int], list[int]]:
        """Give all layers to look at; where among them are those to cut, and those whose heads are asked."""
        layers = tuple(sorted({*self.layers, *self.attention}))
        cut, asked = ([layers.index(layer) for layer in each] for each in (self.layers, self.attention))
        return layers, cut, asked

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give it as options of `crate objects`, by name, nothing left to a default."""
        return self.sight_settings | {
            "size": str(self.sizes[0]),
            "n": str(self.count),
            "tau": repr(self.tau),
            "min-score": repr(self.min_score),
            "refine": self.refine,
        }

    def __str__(self) -> str:
        """Say the recipe in words."""
        cut = f"n {self.count}, tau {self.tau:g}, min-score {self.min_score:g}, refine {self.refine}"
        return f"{self.sight}, {cut}"


def default_object_recipe(model: WhiteBox) -> ObjectRecipe:
    """Choose what the paper does; a model trained on thumbnails is shown less.

    The paper: 480 px, τ = 0.15, three masks (2308.16271, B.4), of the penultimate layer of a CRATE, the last of a ViT.
    """
    attention = choose_sight(model, default_recipe(model)).layers
    side = 2 * min(model.image_size, BASE) if model.image_size < THUMBNAIL else PAPER_SIZE
    return ObjectRecipe((papers_layer(model),), (side,), attention)


def choose_object_recipe(
    model: WhiteBox,
    *,
    layers: Sequence[int] | None = None,
    size: int | None = None,
    count: int | None = None,
    tau: float | None = None,
    min_score: float | None = None,
    refine: Refine | None = None,
) -> ObjectRecipe:
    """Take the model's default recipe, and what was asked for instead. Raises `UsageError`."""
    default = default_object_recipe(model)
    sight = choose_sight(model, default, layers=layers, sizes=None if size is None else [size])
    return replace(
        default,
        layers=sight.layers,
        sizes=sight.sizes,
        count=default.count if count is None else count,
        tau=default.tau if tau is None else tau,
        min_score=default.min_score if min_score is None else min_score,
        refine=default.refine if refine is None else refine,
    )


@dataclass(frozen=True, eq=False)
class Object:
    """One object of a photo: its mask at the photo's upright size, never empty, and its score, 0–1."""

    mask: Bool[np.ndarray, "height width"]
    score: float

    @property
    def area(self) -> int:
        """Count the mask's pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> Box:
        """Give the mask's bounding box, in pixels."""
        box = bounding_box(self.mask)
        if box is None:
            raise ValueError("an object has at least one pixel")
        return box


def objects(
    image: images.PhotoLike,
    model: WhiteBox | str | Path | None = None,
    *,
    layers: Sequence[int] | None = None,
    size: int | None = None,
    count: int | None = None,
    tau: float | None = None,
    min_score: float | None = None,
    refine: Refine | None = None,
) -> list[Object]:
    """Find the objects of one photo, in the order they were cut; a photo may have none.

    `image` is a path, a Pillow image or an upright RGB array (0–255). What is left out is as measured best for the
    model: see `ObjectRecipe` for units and ranges. Raises `InputError` for a bad photo, `UsageError` for an option
    that makes no sense, and what `load_model` raises.
    """
    ready = as_model(model)
    recipe = choose_object_recipe(
        ready, layers=layers, size=size, count=count, tau=tau, min_score=min_score, refine=refine
    )
    return objects_batch([images.as_rgb(image)], ready, recipe)[0]


def objects_batch(
    photos: Sequence[RGB], model: WhiteBox, recipe: ObjectRecipe, cache: FeatureCache | None = None
) -> list[list[Object]]:
    """Find the objects of upright RGB photos."""
    layers, cut, asked = recipe.places
    refuse_large(photos, model, recipe)
    seen = see(photos, model, layers, recipe.sizes[:1], cache=cache)
    return [
        _cut(photo, view.only(*cut), auto([view.only(*asked)]), recipe)
        for photo, (view,) in zip(photos, seen, strict=True)
    ]


def _cut(photo: RGB, view: View, saliency: Saliency, recipe: ObjectRecipe) -> list[Object]:
    """Cut one photo, score what was cut, and bring it to pixels.

    What two objects share the earlier keeps; refinement takes no object's patches from it.
    """
    if flat(photo, view.grid):
        return []
    tokens, size = view.unit_tokens(), Size(*photo.shape[:2])
    scored = [
        (enlarge(mask.astype(np.float32), size), objectness(mask, tokens, saliency.log_attention, recipe.tau))
        for mask in maskcut(tokens, tau=recipe.tau, count=recipe.count)
        if mask.any()
    ]
    kept = [(soft, score) for soft, score in scored if score >= recipe.min_score]
    cell = max(size) / max(view.grid)
    found: list[Object] = []
    for soft, score in kept:
        others = [soft_other >= 0.5 for soft_other, _ in kept if soft_other is not soft]
        pixels = _refined(photo, soft, cell, recipe.refine) & ~np.any([each.mask for each in found], axis=0)
        if recipe.refine != "none" and others:
            pixels &= (soft >= 0.5) | ~np.any(others, axis=0)
        if not pixels.any():  # refinement may erase what it was to improve
            pixels = (soft >= 0.5) & ~np.any([each.mask for each in found], axis=0)
        if pixels.any():
            found.append(Object(pixels, score))
    return found


def refuse_large(photos: Sequence[RGB], model: WhiteBox, sight: Sight) -> None:
    """Raise `InputError` for a grid of more than `MOST_PATCHES`, before the model is asked: MaskCut cannot hold it."""
    question = Question(sight.layers, sight.sizes[:1], most_patches=MOST_PATCHES)
    for photo in photos:
        question.grids(Size(*photo.shape[:2]), model.patch_size)


def _refined(
    photo: RGB, soft: Float[np.ndarray, "height width"], cell: float, refine: Refine
) -> Bool[np.ndarray, "height width"]:
    """Give the pixels of a cut; refined, it loses pieces that are under a tenth of it. `cell` is a patch, in px."""
    if refine == "none":
        return np.asarray(soft >= 0.5)
    if refine == "grabcut":
        pixels = refine_.grabcut(photo, soft, 0.5)
    else:
        pixels = refine_.guided_filter(photo, soft, radius=max(1, round(cell))) >= 0.5
    return clean(pixels, smallest=PIECE * float(pixels.mean()))


@dataclass(frozen=True, eq=False)
class Found:
    """A photo that was searched: its objects as annotations, and its picture, which stands at the job's target."""

    job: Job
    annotated: Annotated
    png: bytes


def objects_jobs(
    jobs: Sequence[Job],
    desk: Desk,
    recipe: ObjectRecipe,
    *,
    picture: Picture | None,
    made: Provenance | None = None,
) -> Outcomes[Found]:
    """Search photos, and write a picture of each if one is wanted; a bad photo is a `Failure`, not the end.

    Raises `OutputError` when an output cannot be written.
    """
    layers, cut, asked = recipe.places

    def finish(photo: Photo, views: Sequence[View]) -> Found:
        (view,) = views
        found = _cut(photo.rgb, view.only(*cut), auto([view.only(*asked)]), recipe)
        annotations = [annotate(each.mask, round(each.score, 4)) for each in found]
        height, width = photo.rgb.shape[:2]
        annotated = Annotated(photo.job.name, height, width, annotations)
        png = None
        if picture is not None:
            png = _draw(photo.rgb, found, picture, made.told(photo.job, photo.sha256) if made else None)
        desk.hand_over(photo, png, annotated)
        return Found(photo.job, annotated, png or b"")

    question = Question(layers, recipe.sizes[:1], most_patches=MOST_PATCHES)
    return work_through(jobs, desk, question, finish)


def _draw(rgb: RGB, found: Sequence[Object], picture: Picture, text: str | None) -> bytes:
    labels = np.zeros(rgb.shape[:2], np.int64)
    for number, each in enumerate(found, 1):
        labels[each.mask] = number
    if picture == "labels":
        return encode_labels(labels, text)
    palette = voc_palette()
    boxes = [
        Framed(each.box, f"{number}  {each.score:.2f}", tuple(palette[number].tolist()))
        for number, each in enumerate(found, 1)
    ]
    return encode_rgb(frame(tint(rgb, labels, palette), boxes), text)
