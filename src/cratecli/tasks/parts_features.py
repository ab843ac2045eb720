"""What parts are learned from: descriptors of photos, added up as they pass, and kept on disk where there is room."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.emergence.parts import Ground, Vocabulary, describe, figure_of, margins_alone
from cratecli.emergence.parts_learner import VocabularyLearner
from cratecli.errors import InputError, OutputError
from cratecli.files import TEMPORARY
from cratecli.model.engine import Model
from cratecli.runs.cache import ViewCache
from cratecli.runs.views import Question, views_of
from cratecli.tasks.recipes import PartRecipe

KEPT = 2_000_000_000  # bytes of descriptors that wait on disk
BLOCK = 4096  # bytes that a file takes at least


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


class Album:
    """Photos that were looked at once, for parts to be learned from: their descriptors wait on disk, for a while.

    A photo is known by its `fingerprint`. When descriptors take more than `most` bytes none is kept any more: then the
    album is not `whole`, and photos have to be looked at again. So neither memory nor disk grow with them.
    """

    def __init__(self, folder: Path, recipe: PartRecipe, most: int = KEPT) -> None:
        """Start an empty album in a folder that is the caller's to remove."""
        self._folder, self._recipe = folder, recipe
        self._learner: VocabularyLearner | None = None
        self._kept = Counter[str]()  # the photos on disk, and how often each was added
        self._room = most
        self._first = self._second = 0
        self.whole = most > 0

    @property
    def reads_again(self) -> bool:
        """Tell whether the foreground of a photo is known only when all photos are."""
        return self._recipe.foreground == "pca"

    @property
    def looks_again(self) -> bool:
        """Tell whether all photos have to be looked at and added again before anything is learned."""
        return self.reads_again and not self.whole

    def add(self, name: str, features: PhotoFeatures) -> None:
        """Put a photo in. Raises `OutputError` when the disk cannot hold it."""
        learner = self._learner or VocabularyLearner(self._recipe.foreground, features.tokens.shape[-1])
        self._learner = learner
        learner.read(features.tokens, features.attention, int(name, 16))
        self._first += int(name, 16)
        margins = margins_alone(self._recipe.foreground, features.tokens.shape[:2], features.saliency)
        if margins is not None:
            learner.read_inside(features.tokens, margins > 0, int(name, 16))
        if self.whole:
            self._keep(name, features)

    def _keep(self, name: str, features: PhotoFeatures) -> None:
        """Write descriptors to disk, or where they are too many, remove all."""
        path = self._path(name)
        if name not in self._kept:
            try:
                np.savez(path, **vars(features))
                self._room -= max(path.stat().st_size, BLOCK)
            except OSError as error:
                reason = f"cannot be written: {error.strerror or error}; {TEMPORARY}"
                raise OutputError(f"{self._folder}: {reason}") from None
        self._kept[name] += 1
        if self._room < 0:
            self.whole = False
            for each in self._kept:
                self._path(each).unlink(missing_ok=True)
            self._kept.clear()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"

    def find(self, name: str) -> PhotoFeatures | None:
        """Take a photo's descriptors out again, if they are there."""
        if name not in self._kept:
            return None
        with np.load(self._path(name)) as arrays:
            return PhotoFeatures(**arrays)

    @cached_property
    def _ground(self) -> Ground:
        return self._learned_so_far.ground()

    @property
    def _learned_so_far(self) -> VocabularyLearner:
        if self._learner is None:
            raise InputError("no photo could be read: there is nothing to learn parts from")
        return self._learner

    def add_again(self, name: str, features: PhotoFeatures) -> None:
        """Read a photo for the second time, where that is needed, when all are in."""
        inside = self._ground.margins(features.tokens, features.saliency) > 0
        self._learned_so_far.read_inside(features.tokens, inside, int(name, 16))
        self._second += int(name, 16)

    @property
    def changed(self) -> bool:
        """Tell whether the photos that were looked at again were others."""
        return self._first != self._second

    def learn(self) -> Vocabulary:
        """Learn the vocabulary of all photos put in. Raises `InputError` when they show too little foreground."""
        learner = self._learned_so_far
        if self.reads_again:
            for name in self._kept.elements():
                if (features := self.find(name)) is not None:
                    self.add_again(name, features)
        try:
            return learner.learn(self._ground, self._recipe.k, self._recipe.seed)
        except ValueError as error:
            raise InputError(f"{error}: give more photos, fewer parts, or --foreground none") from None
