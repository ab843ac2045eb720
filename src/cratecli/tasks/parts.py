"""Name the parts that photos share: learn them from all photos together, then label every one."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB, Labels
from cratecli.emergence import refine as refine_
from cratecli.emergence.features import View
from cratecli.emergence.masks import bounding_box, enlarge, scale
from cratecli.emergence.parts import (
    Foreground,
    Vocabulary,
    VocabularyLearner,
    centred,
    describe,
    figure_of,
    paint,
    soft_figure,
)
from cratecli.errors import InputError, OutputError, UsageError
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import Desk, Outcomes, Photo, Question, as_it_is, work_through
from cratecli.runs.cache import FeatureCache, fingerprint
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.views import as_model, see
from cratecli.tasks.recipes import THUMBNAIL, Refine, Sight, check_refine, choose_sight, default_recipe

Kind = Literal["labels", "rgb", "components"]


@dataclass(frozen=True)
class PartRecipe(Sight):
    """How parts are learned: of `sizes` the largest describes patches, by the tokens of `layers`.

    With `foreground` attention, the heads of the `attention` layers are asked at all sizes, as `segment` does.
    `k` is 1 to 100, or `auto`. Raises `UsageError` for what makes no sense.
    """

    attention: tuple[int, ...]
    foreground: Foreground = "pca"
    k: int | Literal["auto"] = 4
    refine: Refine = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        super().__post_init__()
        if self.foreground not in get_args(Foreground):
            raise UsageError(
                f"foreground {self.foreground!r} is not one of {', '.join(get_args(Foreground))}"
            )
        if self.k != "auto" and not 1 <= self.k <= 100:
            raise UsageError(f"k {self.k} is not auto, or within 1 to 100")
        check_refine(self.refine)
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed {self.seed} is not within 0 to {2**32 - 1}")

    @property
    def question(self) -> Question:
        """Say what the model is asked: at all sizes only where heads are asked for the foreground."""
        asked = self.attention if self.foreground == "attention" else ()
        layers = tuple(sorted({*self.layers, *asked}))
        return Question(layers, self.sizes if asked else (max(self.sizes),))

    def seen(self, views: Sequence[View]) -> "Seen":
        """Keep of a photo's views what parts are made of."""
        layers = self.question.layers
        view = max(views, key=lambda view: view.grid.patches).only(*map(layers.index, self.layers))
        attention = view.attention.mean(axis=(0, 1))
        saliency = np.zeros((0, 0))
        if self.foreground == "attention":
            saliency = figure_of([each.only(*map(layers.index, self.attention)) for each in views])
        return Seen(describe(view), attention / max(attention.mean(), 1e-12), saliency)

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give it as options of `crate parts`, by name, nothing left to a default."""
        return self.sight_settings | {
            "k": str(self.k),
            "foreground": self.foreground,
            "refine": self.refine,
            "seed": str(self.seed),
        }

    def __str__(self) -> str:
        """Say the recipe in words."""
        return (
            f"{self.sight}, k {self.k}, foreground {self.foreground}, refine {self.refine}, seed {self.seed}"
        )


def choose_part_recipe(
    model: WhiteBox,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    foreground: Foreground | None = None,
    k: int | Literal["auto"] = 4,
    refine: Refine = "none",
    seed: int = 0,
) -> PartRecipe:
    """Take what the paper does, or what `benchmarks/` found best for a model trained on thumbnails; and what was asked.

    The paper: the layer that `segment` looks at, and the first principal component for a foreground. Raises
    `UsageError`.
    """
    seg = choose_sight(model, default_recipe(model))
    small = model.image_size < THUMBNAIL
    default = Sight((min(3, model.depth - 1),) if small else seg.layers, seg.sizes)
    sight = choose_sight(model, default, layers=layers, sizes=sizes)
    rule = foreground or ("attention" if small else "pca")
    return PartRecipe(sight.layers, sight.sizes, seg.layers, foreground=rule, k=k, refine=refine, seed=seed)


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
        found = []
        for name, colour in zip(self.vocabulary.names, self.vocabulary.colours, strict=True):
            mask = self.labels == colour
            box = bounding_box(mask)
            if box is not None:
                rows, cols = (float(index.mean()) for index in np.nonzero(mask))
                area = int(np.count_nonzero(mask))
                found.append(Part(name, colour, area, box, (cols, rows)))
        return found


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a photo: descriptors, relative class attention, and the saliency that is foreground above 0.

    `saliency` is empty where heads are not asked for the foreground.
    """

    tokens: Float[np.ndarray, "rows cols d"]
    attention: Float[np.ndarray, "..."]
    saliency: Float[np.ndarray, "rows2 cols2"]


def look(
    photos: Sequence[RGB], model: WhiteBox, recipe: PartRecipe, cache: FeatureCache | None = None
) -> list[Seen]:
    """Show photos to the model: at the largest size, and at all of them if heads are asked for the foreground."""
    question = recipe.question
    return [recipe.seen(views) for views in see(photos, model, question.layers, question.sizes, cache=cache)]


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

    def add(self, photo: RGB, seen: Seen) -> None:
        """Put a photo in. Raises `OutputError` when the disk cannot hold it."""
        self._learner = self._learner or VocabularyLearner(self._recipe.foreground, seen.tokens.shape[-1])
        name = fingerprint(photo)
        self._learner.read(seen.tokens, seen.attention, int(name, 16))
        path = self._folder / f"{len(self)}.npz"
        try:
            np.savez(path, tokens=seen.tokens, saliency=seen.saliency)
        except OSError as error:
            hint = "set TMPDIR to a disk with more room"
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}; {hint}") from None
        self._names.append(name)

    def open(self, index: int) -> tuple[str, Seen]:
        """Take a photo's fingerprint and descriptors out again."""
        with np.load(self._folder / f"{index}.npz") as arrays:
            return self._names[index], Seen(arrays["tokens"], np.zeros(0), arrays["saliency"])

    def learn(self) -> Vocabulary:
        """Learn the vocabulary of all photos put in. Raises `InputError` when they show too little foreground."""
        if self._learner is None:
            raise InputError("no photo could be read: there is nothing to learn parts from")
        ground = self._learner.ground()
        for index in range(len(self)):
            name, seen = self.open(index)
            inside = ground.margins(seen.tokens, seen.saliency) > 0
            self._learner.read_inside(seen.tokens, inside, int(name, 16))
        try:
            return self._learner.learn(ground, self._recipe.k, self._recipe.seed)
        except ValueError as error:
            raise InputError(f"{error}: give more photos, fewer parts, or --foreground none") from None


@dataclass(frozen=True, eq=False)
class Labelled:
    """A photo that was labelled, and the files that were written of it."""

    job: Job
    rgb: RGB
    parts: PartMap
    written: tuple[Path, ...] = ()


def learn_parts(
    album: Album,
    jobs: Sequence[Job],
    desk: Desk,
    recipe: PartRecipe,
    prepare: Callable[[Job, RGB], RGB] = as_it_is,
) -> Outcomes[Job]:
    """Put photos into an album; gives the jobs in its order, and those that failed. Raises what `Album.add` raises.

    `prepare` is as `work_through` has it.
    """

    def finish(photo: Photo, views: list[View]) -> tuple[Photo, Seen]:
        return photo, recipe.seen(views)

    reading = work_through(jobs, replace(desk, ledger=None), recipe.question, finish, prepare)
    with closing(reading) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Failure | Skipped):
                yield outcome
            else:
                photo, seen = outcome
                album.add(photo.rgb, seen)
                yield photo.job


def label_album(
    album: Album,
    jobs: Sequence[Job],
    desk: Desk,
    vocabulary: Vocabulary,
    recipe: PartRecipe,
    *,
    written: Callable[[Photo, Labelled], Labelled] = lambda _photo, found: found,
) -> Outcomes[Labelled]:
    """Label the photos of an album, given the jobs it was filled from, in that order; `written` writes pictures.

    A photo that has changed since is a `Failure`. Raises `OutputError` when an output cannot be written.
    """
    places = {job: index for index, job in enumerate(jobs)}

    def finish(photo: Photo, _views: list[View]) -> Labelled:
        name, seen = album.open(places[photo.job])
        if fingerprint(photo.rgb) != name:
            raise InputError(f"{photo.job.name}: changed while it was in use")
        found = Labelled(photo.job, photo.rgb, label(photo.rgb, seen, vocabulary, recipe.refine))
        return written(photo, found)

    return work_through(jobs, desk, None, finish)


def label_jobs(
    jobs: Sequence[Job],
    desk: Desk,
    vocabulary: Vocabulary,
    recipe: PartRecipe,
    *,
    written: Callable[[Photo, Labelled], Labelled] = lambda _photo, found: found,
) -> Outcomes[Labelled]:
    """Label photos by a vocabulary that was learned before, as `label_album` does; a bad one is a `Failure`."""

    def finish(photo: Photo, views: list[View]) -> Labelled:
        seen = recipe.seen(views)
        found = Labelled(photo.job, photo.rgb, label(photo.rgb, seen, vocabulary, recipe.refine))
        return written(photo, found)

    return work_through(jobs, desk, recipe.question, finish)


def label(photo: RGB, seen: Seen, vocabulary: Vocabulary, refine: Refine) -> PartMap:
    """Label one photo. With `refine`, edges follow the photo: all of them (guided), or the foreground's (grabcut)."""
    known, width = len(vocabulary.inside.mean), seen.tokens.shape[-1]
    if known != width:
        raise InputError(f"the part vocabulary knows patches by {known} numbers, the model by {width}")
    margins = vocabulary.ground.margins(seen.tokens, seen.saliency)
    size = Size(*photo.shape[:2])
    smooth = figure = None
    if refine == "guided":
        radius = max(1, round(max(size) / max(margins.shape)))
        smooth = partial(refine_.guided_filter, photo, radius=radius)
    elif refine == "grabcut":
        soft, cut = soft_figure(margins)
        figure = refine_.grabcut(photo, enlarge(soft, size), cut)
    inside = margins > 0
    coordinates = vocabulary.coordinates(seen.tokens, inside)
    labels = paint(
        margins, vocabulary.nearness(coordinates), vocabulary.colours, size, smooth=smooth, figure=figure
    )
    everything = vocabulary.ground.everything.project(centred(seen.tokens).reshape(-1, seen.tokens.shape[-1]))
    return PartMap(
        labels=labels,
        colours=vocabulary.colour(coordinates),
        components=np.stack([scale(each) for each in everything.T], axis=-1).reshape(*margins.shape, -1),
        inside=inside,
        vocabulary=vocabulary,
    )


def parts(
    photos: Sequence[images.PhotoLike],
    model: WhiteBox | str | Path | None = None,
    *,
    k: int | Literal["auto"] = 4,
    foreground: Foreground | None = None,
    refine: Refine = "none",
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> list[PartMap]:
    """Find the parts that photos share: paths, Pillow images or upright RGB arrays (0–255).

    Labels mean the same in all of them; what each shows is in `PartMap.parts`. What is left out is as measured best
    for the model: see `PartRecipe`. Raises `InputError` for a bad photo, or photos that show too little foreground,
    `UsageError` for an option that makes no sense, and what `load_model` raises.
    """
    ready = as_model(model)
    recipe = choose_part_recipe(
        ready,
        layers=layers,
        sizes=sizes,
        foreground=foreground,
        k=k,
        refine=refine,
        seed=seed,
    )
    with TemporaryDirectory(prefix="crate-") as folder:
        album = Album(Path(folder), recipe)
        for photo in photos:
            rgb = images.as_rgb(photo)
            album.add(rgb, look([rgb], ready, recipe)[0])
        vocabulary = album.learn()
        return [
            label(images.as_rgb(photo), album.open(index)[1], vocabulary, refine)
            for index, photo in enumerate(photos)
        ]
