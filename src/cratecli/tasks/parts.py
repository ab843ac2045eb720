"""Name the parts that photos share: learn them from all photos together, then label every one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB, Labels
from cratecli.emergence import refine as refine_
from cratecli.emergence.features import View
from cratecli.emergence.masks import bounding_box, enlarge, scale
from cratecli.emergence.parts import (
    Vocabulary,
    VocabularyLearner,
    centred,
    describe,
    figure_of,
    paint,
    soft_figure,
)
from cratecli.errors import InputError, OutputError
from cratecli.files import TEMPORARY
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.model.engine import Model
from cratecli.runs.cache import ViewCache, fingerprint
from cratecli.runs.limits import temporary_folder
from cratecli.runs.views import Look, Question, as_model, look, views_of
from cratecli.tasks.options import PartOptions, Refine
from cratecli.tasks.recipes import PartRecipe, choose_part_recipe


@dataclass(frozen=True, eq=False)
class Part:
    """One part of one photo: `colour` is its label, `area` and `box` in px, `centroid` its mean x and y in px."""

    name: str
    colour: int
    area: int
    box: Box
    centroid: tuple[float, float]


@dataclass(frozen=True, eq=False)
class PartMap:
    """One photo's parts: `labels` at its upright size, 0 where it is ground, else a part's colour in VOC's palette.

    `colours` are the first three principal components of the foreground, `components` the first four of everything,
    each 0–1 on the patch grid (2308.16271, figures 3 and 6); `inside` is the foreground on that grid.
    """

    labels: Labels
    colours: Float[np.ndarray, "rows cols 3"]
    components: Float[np.ndarray, "rows cols 4"]
    inside: Bool[np.ndarray, "rows cols"]
    vocabulary: Vocabulary

    @property
    def parts(self) -> list[Part]:
        """Measure the parts that are there, in the vocabulary's order."""
        present = []
        for name, colour in zip(self.vocabulary.names, self.vocabulary.colours, strict=True):
            mask = self.labels == colour
            box = bounding_box(mask)
            if box is not None:
                rows, cols = (float(index.mean()) for index in np.nonzero(mask))
                area = int(np.count_nonzero(mask))
                present.append(Part(name, colour, area, box, (cols, rows)))
        return present


@dataclass(frozen=True, eq=False)
class PhotoFeatures:
    """What parts are learned from: patch descriptors, relative class attention, and saliency.

    `saliency` is above 0 in the foreground, and empty where heads are not asked for it.
    """

    tokens: Float[np.ndarray, "rows cols d"]
    attention: Float[np.ndarray, "..."]
    saliency: Float[np.ndarray, "rows2 cols2"]


def question_of(recipe: PartRecipe) -> Question:
    """Say what the model is asked: at all sizes only where heads are asked for the foreground."""
    asked = recipe.attention if recipe.foreground == "attention" else ()
    layers = tuple(sorted({*recipe.layers, *asked}))
    return Question(layers, recipe.sizes if asked else (max(recipe.sizes),))


def features_of(views: Sequence[View], recipe: PartRecipe) -> PhotoFeatures:
    """Keep of a photo's views what parts are learned from."""
    layers = question_of(recipe).layers
    view = max(views, key=lambda view: view.grid.patches).only(*map(layers.index, recipe.layers))
    attention = view.attention.mean(axis=(0, 1))
    saliency = np.zeros((0, 0))
    if recipe.foreground == "attention":
        saliency = figure_of([each.only(*map(layers.index, recipe.attention)) for each in views])
    return PhotoFeatures(describe(view), attention / max(attention.mean(), 1e-12), saliency)


def features_batch(
    photos: Sequence[RGB], model: Model, recipe: PartRecipe, cache: ViewCache | None = None
) -> list[PhotoFeatures]:
    """Show upright RGB photos to the model, and keep what parts are learned from."""
    seen = views_of(photos, model, question_of(recipe), cache=cache)
    return [features_of(views, recipe) for views in seen]


def label(photo: RGB, features: PhotoFeatures, vocabulary: Vocabulary, refine: Refine) -> PartMap:
    """Label one photo. With `refine`, edges follow the photo: all of them (guided), or the foreground's (grabcut)."""
    known, width = len(vocabulary.inside.mean), features.tokens.shape[-1]
    if known != width:
        raise InputError(f"the part vocabulary knows patches by {known} numbers, the model by {width}")
    margins = vocabulary.ground.margins(features.tokens, features.saliency)
    size = Size(*photo.shape[:2])
    smooth = figure = None
    if refine == "guided":
        radius = max(1, round(max(size) / max(margins.shape)))
        smooth = partial(refine_.guided_filter, photo, radius=radius)
    elif refine == "grabcut":
        soft, cut = soft_figure(margins)
        figure = refine_.grabcut(photo, enlarge(soft, size), cut)
    inside = margins > 0
    coordinates = vocabulary.coordinates(features.tokens, inside)
    labels = paint(
        margins, vocabulary.nearness(coordinates), vocabulary.colours, size, smooth=smooth, figure=figure
    )
    everything = vocabulary.ground.everything.project(
        centred(features.tokens).reshape(-1, features.tokens.shape[-1])
    )
    return PartMap(
        labels=labels,
        colours=vocabulary.colour(coordinates),
        components=np.stack([scale(each) for each in everything.T], axis=-1).reshape(*margins.shape, -1),
        inside=inside,
        vocabulary=vocabulary,
    )


class Album:
    """Photos that were looked at once: their descriptors wait on disk, so that memory does not grow with them."""

    def __init__(self, folder: Path, recipe: PartRecipe) -> None:
        """Start an empty album in a folder that is the caller's to remove."""
        self._folder, self._recipe = folder, recipe
        self._learner: VocabularyLearner | None = None
        self._names: list[str] = []

    def __len__(self) -> int:
        """Count the photos."""
        return len(self._names)

    def add(self, photo: RGB, features: PhotoFeatures) -> None:
        """Put a photo in. Raises `OutputError` when the disk cannot hold it."""
        self._learner = self._learner or VocabularyLearner(self._recipe.foreground, features.tokens.shape[-1])
        name = fingerprint(photo)
        self._learner.read(features.tokens, features.attention, int(name, 16))
        path = self._folder / f"{len(self)}.npz"
        try:
            np.savez(path, tokens=features.tokens, saliency=features.saliency)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}; {TEMPORARY}") from None
        self._names.append(name)

    def open(self, index: int) -> tuple[str, PhotoFeatures]:
        """Take a photo's fingerprint and descriptors out again."""
        with np.load(self._folder / f"{index}.npz") as arrays:
            return self._names[index], PhotoFeatures(arrays["tokens"], np.zeros(0), arrays["saliency"])

    def learn(self) -> Vocabulary:
        """Learn the vocabulary of all photos put in. Raises `InputError` when they show too little foreground."""
        if self._learner is None:
            raise InputError("no photo could be read: there is nothing to learn parts from")
        ground = self._learner.ground()
        for index in range(len(self)):
            name, features = self.open(index)
            inside = ground.margins(features.tokens, features.saliency) > 0
            self._learner.read_inside(features.tokens, inside, int(name, 16))
        try:
            return self._learner.learn(ground, self._recipe.k, self._recipe.seed)
        except ValueError as error:
            raise InputError(f"{error}: give more photos, fewer parts, or --foreground none") from None


def parts(
    photos: Iterable[images.PhotoLike | Look],
    model: Model | str | Path | None = None,
    **asked: Unpack[PartOptions],
) -> list[PartMap]:
    """Find the parts that photos share: paths, Pillow images, upright RGB arrays (0–255), or `Look`s at one model.

    Labels mean the same in all of them; what each shows is in `PartMap.parts`. What is left out of `PartOptions` is as
    measured best for the model. Raises `InputError` for a bad photo, or photos that show too little foreground,
    `UsageError` for an option that makes no sense, and what `load_model` raises.
    """
    photos = list(photos)
    first = next((photo for photo in photos if isinstance(photo, Look)), None)
    ready = first.model if first is not None and model is None else as_model(model)
    recipe = choose_part_recipe(ready, **asked)
    with temporary_folder() as folder:
        album = Album(folder, recipe)
        for photo in photos:
            seen = look(photo, ready, asked.get("range"))
            album.add(seen.rgb, features_batch([seen.rgb], ready, recipe, seen.cache)[0])
        vocabulary = album.learn()
        return [
            label(look(photo, ready, asked.get("range")).rgb, album.open(index)[1], vocabulary, recipe.refine)
            for index, photo in enumerate(photos)
        ]
