"""Name the parts that photos share: learn them from all photos together, then label every one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB, Labels
from cratecli.emergence import refine as refine_
from cratecli.emergence.masks import bounding_box, enlarge, scale
from cratecli.emergence.parts import Vocabulary, centred, paint, soft_figure
from cratecli.errors import InputError
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.model.engine import Model
from cratecli.runs.cache import fingerprint
from cratecli.runs.limits import temporary_folder
from cratecli.runs.views import Look, as_model, look
from cratecli.tasks.options import PartOptions, Refine
from cratecli.tasks.parts_features import Album, PhotoFeatures, features_batch
from cratecli.tasks.recipes import choose_part_recipe


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

        def seen() -> Iterator[tuple[RGB, str, PhotoFeatures]]:
            for photo in photos:
                one = look(photo, ready, asked.get("range"))
                name = fingerprint(one.rgb)
                found = album.find(name) or features_batch([one.rgb], ready, recipe, one.cache)[0]
                yield one.rgb, name, found

        for _, name, features in seen():
            album.add(name, features)
        if album.looks_again:
            for _, name, features in seen():
                album.add_again(name, features)
        vocabulary = album.learn()
        return [label(rgb, features, vocabulary, recipe.refine) for rgb, _, features in seen()]
