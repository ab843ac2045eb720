"""Find several objects in each photo, with a score each, and none where there is none."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack, get_args, overload

import numpy as np
from jaxtyping import Int

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import refine as refine_
from cratecli.emergence.chooser import FINEST
from cratecli.emergence.features import View
from cratecli.emergence.heads import agree, common_grid
from cratecli.emergence.maskcut import maskcut, objectness
from cratecli.emergence.masks import bounding_box, clean, enlarge
from cratecli.emergence.pieces import find_pieces, pick, score
from cratecli.emergence.rules import Keep
from cratecli.errors import CrateError
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.io.formats import Ending
from cratecli.io.formats.indexed import encode_labels, tint, voc_palette
from cratecli.io.formats.picture import encode
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.sheet import Framed, frame
from cratecli.model.engine import Model
from cratecli.runs.batch import Outcomes
from cratecli.runs.cache import FeatureCache, ViewCache
from cratecli.runs.desk import DecodedPhoto, Desk, Finished
from cratecli.runs.in_order import work_in_order
from cratecli.runs.jobs import Job
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.runs.provenance import Provenance
from cratecli.runs.session import Session, provenance_of
from cratecli.runs.views import Look, Question, as_model, flat, look, views_of
from cratecli.tasks.combined import work_and_write
from cratecli.tasks.object_recipes import MOST_PATCHES, choose_object_recipe
from cratecli.tasks.options import Combined, ObjectOptions, Refine, is_combined
from cratecli.tasks.ranker import piece_ranker
from cratecli.tasks.recipes import ObjectRecipe

Picture = Literal["overlay", "labels"]
PICTURES: tuple[Picture, ...] = get_args(Picture)

KEEP = Keep("otsu")  # what cuts the maps of candidates
PIECE = 0.1  # of an object: smaller pieces that refinement splits off are dropped


@dataclass(frozen=True, eq=False)
class Object:
    """One object of a photo: its mask at the photo's upright size, never empty, and its score, 0–1."""

    mask: Mask
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
    image: images.PhotoLike | Look,
    model: Model | str | Path | None = None,
    **asked: Unpack[ObjectOptions],
) -> list[Object]:
    """Find the objects of one photo, the best first (by MaskCut in the order they were cut); it may have none.

    `image` is a path, a Pillow image, an upright RGB array (0–255), or a `Look`. What is left out of `ObjectOptions` is
    as measured best for the model. Raises `InputError` for a bad photo, `UsageError` for an option that makes no sense,
    and what `load_model` raises.
    """
    seen = look(image, model, asked.get("range"))
    return objects_batch([seen.rgb], seen.model, choose_object_recipe(seen.model, **asked), seen.cache)[0]


@overload
def objects_many(
    photos: Iterable[images.PhotoLike],
    model: Model | str | Path | None = ...,
    *,
    batch_size: int = ...,
    cache: str | Path | None = ...,
    errors: Literal["raise"] = ...,
    **asked: Unpack[ObjectOptions],
) -> Iterator[list[Object]]: ...
@overload
def objects_many(
    photos: Iterable[images.PhotoLike],
    model: Model | str | Path | None = ...,
    *,
    batch_size: int = ...,
    cache: str | Path | None = ...,
    errors: Literal["return"],
    **asked: Unpack[ObjectOptions],
) -> Iterator[list[Object] | CrateError]: ...
def objects_many(
    photos: Iterable[images.PhotoLike],
    model: Model | str | Path | None = None,
    *,
    batch_size: int = 8,
    cache: str | Path | None = None,
    errors: Literal["raise", "return"] = "raise",
    **asked: Unpack[ObjectOptions],
) -> Iterator[list[Object] | CrateError]:
    """Find the objects of many photos, and give a list for each, in their order; see `segment_many`."""
    ready = as_model(model)
    recipe = choose_object_recipe(ready, **asked)
    kept = None if cache is None else FeatureCache(Path(cache), ready)
    desk = Desk(ready, batch_size, kept, range=recipe.range)

    def finish(photo: DecodedPhoto, views: Sequence[View]) -> list[Object]:
        return find_objects(photo.rgb, views, recipe)

    return work_in_order(photos, desk, _question(recipe), finish, errors)


def objects_batch(
    photos: Sequence[RGB], model: Model, recipe: ObjectRecipe, cache: ViewCache | None = None
) -> list[list[Object]]:
    """Find the objects of upright RGB photos; those that share a grid go through the model together."""
    seen = views_of(photos, model, _question(recipe), cache=cache)
    return [find_objects(photo, views, recipe) for photo, views in zip(photos, seen, strict=True)]


def _question(recipe: ObjectRecipe) -> Question:
    if recipe.by == "maskcut":
        return Question(recipe.places[0], recipe.sizes, most_patches=MOST_PATCHES)
    return Question(recipe.layers, recipe.sizes)


@dataclass(frozen=True, eq=False)
class _Found:
    """What was found of an object: its soft mask at the photo's size, cut at 0.5; and its score, 0–1."""

    soft: Soft
    score: float


def find_objects(photo: RGB, views: Sequence[View], recipe: ObjectRecipe) -> list[Object]:
    """Find the objects of one photo by views of the recipe's layers and sizes, and bring them to pixels.

    What two objects share the earlier keeps; refinement takes nothing of an object from it.
    """
    if flat(photo, common_grid(views)):
        return []
    if recipe.by == "maskcut":
        found, cell = _cut(photo, views[0], recipe), max(photo.shape) / max(views[0].grid)
    else:
        found, cell = _pick(photo, views, recipe), max(photo.shape) / FINEST
    if max((each.score for each in found), default=0.0) < recipe.min_best:
        return []
    kept = [each for each in found if each.score >= recipe.min_score]
    objects: list[Object] = []
    for one in kept:
        others = [other.soft >= 0.5 for other in kept if other is not one]
        pixels = _refined(photo, one.soft, cell, recipe.refine) & ~np.any(
            [each.mask for each in objects], axis=0
        )
        if recipe.refine != "none" and others:
            pixels &= (one.soft >= 0.5) | ~np.any(others, axis=0)
        if not pixels.any():  # refinement may erase what it was to improve
            pixels = (one.soft >= 0.5) & ~np.any([each.mask for each in objects], axis=0)
        if pixels.any():
            objects.append(Object(pixels, one.score))
    return objects


def _cut(photo: RGB, whole: View, recipe: ObjectRecipe) -> list[_Found]:
    """Cut a photo's tokens by MaskCut, and score each cut, in their order."""
    _, cut, asked = recipe.places
    log_attention = agree([whole.only(*asked)]).log_attention
    tokens, size = whole.only(*cut).unit_tokens(), Size(*photo.shape[:2])
    return [
        _Found(enlarge(mask.astype(np.float32), size), objectness(mask, tokens, log_attention, recipe.tau))
        for mask in maskcut(tokens, tau=recipe.tau, count=recipe.count)
        if mask.any()
    ]


def _pick(photo: RGB, views: Sequence[View], recipe: ObjectRecipe) -> list[_Found]:
    """Pick the best of the pieces of all heads' masks, the best first."""
    found = find_pieces(views, photo, KEEP)
    scores = score(found, piece_ranker())
    size = Size(*photo.shape[:2])
    return [
        _Found(
            enlarge(found.masks[place][found.pixels.labels].astype(np.float32), size), float(scores[place])
        )
        for place in pick(found.masks, scores, found.pixels.sizes, recipe.count)
    ]


def _refined(photo: RGB, soft: Soft, cell: float, refine: Refine) -> Mask:
    """Give the pixels of what was found; refined, without pieces that are under a tenth of it. `cell` is in px."""
    pixels = refine_.refined(photo, soft, 0.5, cell, refine)
    return pixels if refine == "none" else clean(pixels, smallest=PIECE * float(pixels.mean()))


@dataclass(frozen=True, eq=False)
class ObjectsPhoto:
    """A photo of a run: its objects as annotations, and its picture, which stands at the job's target.

    `notes`: see `DecodedPhoto`.
    """

    job: Job
    annotated: Annotated
    content: bytes
    notes: tuple[str, ...]


def objects_run(
    plan: Plan,
    desk: Desk,
    recipe: ObjectRecipe,
    *,
    kind: Picture | Combined | None,
    ending: Ending = "png",
) -> Outcomes[ObjectsPhoto | Written]:
    """Find objects in the photos of a plan, and write a picture of each, or one file of all, or nothing.

    A bad photo is a `Failure`, not the end. Raises `OutputError` when an output cannot be written.
    """
    picture = None if is_combined(kind) else kind
    made = provenance_of("objects", recipe.as_data(), plan, desk, several=is_combined(kind), as_=kind)
    finish = FinishObjects(recipe, picture, ending, made)
    with Session(plan, replace(desk, range=recipe.range), made) as session:
        yield from work_and_write(session, _question(recipe), finish, kind, recipe=str(recipe), made=made)


@dataclass(frozen=True, eq=False)
class FinishObjects:
    """Finds a photo's objects, and makes their annotations and picture, if one is asked for; see `FinishMask`."""

    recipe: ObjectRecipe
    picture: Picture | None
    ending: Ending
    made: Provenance

    def __call__(self, photo: DecodedPhoto, views: Sequence[View]) -> Finished[ObjectsPhoto]:
        """Finish a photo. Raises `InputError`."""
        objects = find_objects(photo.rgb, views, self.recipe)
        annotations = [annotate(each.mask, round(each.score, 4)) for each in objects]
        height, width = photo.rgb.shape[:2]
        annotated = Annotated(photo.job.name, height, width, annotations)
        content = None
        if self.picture is not None:
            text = self.made.of_photo(photo.job, photo.sha256).to_json()
            labels = _labels(photo.rgb, objects)
            if self.picture == "labels":
                content = encode_labels(labels, text)
            else:
                content = encode(_overlay(photo.rgb, objects, labels), self.ending, text, photo.job.name)
        done = ObjectsPhoto(photo.job, annotated, content or b"", photo.notes)
        return Finished(done, annotated, content)


def _labels(rgb: RGB, objects: Sequence[Object]) -> Int[np.ndarray, "height width"]:
    labels = np.zeros(rgb.shape[:2], np.int64)
    for number, each in enumerate(objects, 1):
        labels[each.mask] = number
    return labels


def _overlay(rgb: RGB, objects: Sequence[Object], labels: Int[np.ndarray, "height width"]) -> RGB:
    palette = voc_palette()
    boxes = [
        Framed(each.box, f"{number}  {each.score:.2f}", tuple(palette[number].tolist()))
        for number, each in enumerate(objects, 1)
    ]
    return frame(tint(rgb, labels, palette), boxes)
