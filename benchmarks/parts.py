"""How good `crate parts` is, as it comes: parts against the labels of car parts, foreground against true masks.

    python benchmarks/parts.py DATA --write benchmarks/parts.md

DATA holds `car_parts80` (`images`, `masks_part`, 0 is background) and `horses40` (`images`, `masks`). Settings were
chosen on photos with an even index by name; the others are the test. The halves are learned apart.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import cv2
import numpy as np
from models import built_in, one_thread, untrained
from page import command_line, publish, table_header, table_row
from photos import Photo, saliency
from sklearn.cluster import KMeans

from cratecli.emergence.clusters import contingency, mutual_information, rand_index
from cratecli.emergence.masks import iou
from cratecli.emergence.parts import paint
from cratecli.emergence.rules import Foreground
from cratecli.geometry import Size
from cratecli.io import datasets, images, truth
from cratecli.model.unroll import WhiteBox
from cratecli.runs.cache import fingerprint
from cratecli.tasks.parts import label
from cratecli.tasks.parts_features import Album, PhotoFeatures, features_batch
from cratecli.tasks.recipes import PartRecipe, choose_part_recipe

SEEDS = range(3)  # of random weights, over which their rows are a mean
STEP = 4  # of the pixels that are judged, in both directions
COUNTS = range(2, 9)
COLOUR, PLACE = 1 / 30, 4.0  # what Lab, and a place in 0–1, are multiplied with, to weigh about the same
NOT_TUNED, TUNED, WHOLE = "not tuned on", "tuned on", "all"
GROUPS = {NOT_TUNED: slice(1, None, 2), TUNED: slice(0, None, 2), WHOLE: slice(None)}

Labelling = Callable[[slice, int | Literal["auto"]], list[np.ndarray]]


def cars(folder: Path) -> Iterator[Photo]:
    """Read cars with a part's number, 0 for background, where other sets have a mask."""
    for pair in datasets.paired(folder, datasets.PARTS):
        yield Photo(pair.name, images.read(pair.image), truth.read_labels(pair.truth))


class Score(NamedTuple):
    """Normalised mutual information and adjusted Rand index, within the true foreground and everywhere."""

    inside_nmi: float
    inside_ari: float
    nmi: float
    ari: float

    @classmethod
    def of(cls, photos: Sequence[Photo], labels: Sequence[np.ndarray]) -> "Score":
        """Judge all photos together; what is called ground is a cluster of its own."""
        true = np.concatenate([photo.truth[::STEP, ::STEP].reshape(-1) for photo in photos])
        found = np.concatenate([each.reshape(-1) for each in labels])
        table = contingency(found[None], true[None])[None].astype(np.float64)
        both = [(mutual_information(each)[0], rand_index(each)[0]) for each in (table[:, :, 1:], table)]
        return cls(*both[0], *both[1])


class Parts:
    """The command itself, on photos that a model has seen."""

    def __init__(self, photos: Sequence[Photo], seen: Sequence[PhotoFeatures], recipe: PartRecipe) -> None:
        self._photos, self._seen, self._recipe = photos, seen, recipe

    def __call__(self, group: slice, k: int | Literal["auto"]) -> list[np.ndarray]:
        """Learn parts from a group of photos and label them, at every fourth pixel."""
        photos, seen = self._photos[group], self._seen[group]
        with TemporaryDirectory() as folder:
            album = Album(Path(folder), replace(self._recipe, k=k))
            for photo, each in zip(photos, seen, strict=True):
                album.add(fingerprint(photo.rgb), each)
            learned = album.learn()
        found = (label(p.rgb, each, learned, "none").labels for p, each in zip(photos, seen, strict=True))
        return [labels[::STEP, ::STEP] for labels in found]


class Patches:
    """K-means of what a patch looks like without a model: its colour, its place in the photo, or both."""

    def __init__(
        self, photos: Sequence[Photo], margins: Sequence[np.ndarray], *, colour: bool, place: bool
    ) -> None:
        self._photos, self._margins = photos, margins
        self._values = [
            features(photo.rgb, Size(*each.shape), colour=colour, place=place)
            for photo, each in zip(photos, margins, strict=True)
        ]

    def __call__(self, group: slice, k: int | Literal["auto"]) -> list[np.ndarray]:
        """Cluster a group's foreground and label it, drawn as the command draws its own."""
        if k == "auto":
            raise ValueError("the number of parts is not chosen here")
        values, margins = self._values[group], self._margins[group]
        inside = np.concatenate([each[margin > 0] for each, margin in zip(values, margins, strict=True)])
        centroids = KMeans(k, n_init=4, random_state=0).fit(inside).cluster_centers_
        return [
            paint(margin, nearness(each, centroids), range(1, k + 1), Size(*photo.rgb.shape[:2]))[
                ::STEP, ::STEP
            ]
            for photo, each, margin in zip(self._photos[group], values, margins, strict=True)
        ]


def features(rgb: np.ndarray, grid: Size, *, colour: bool, place: bool) -> np.ndarray:
    """Describe patches by mean colour (Lab), place, or both."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    mean = cv2.resize(lab, (grid.width, grid.height), interpolation=cv2.INTER_AREA)
    rows, cols = np.mgrid[: grid.height, : grid.width]
    where = np.stack([(rows + 0.5) / grid.height, (cols + 0.5) / grid.width], axis=-1)
    return np.concatenate([mean * COLOUR] * colour + [where * PLACE] * place, axis=-1)


def nearness(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Tell how near every patch is to each centroid: 1 at it, falling with the squared distance to 0."""
    squares = ((values - centroids[:, None, None]) ** 2).sum(axis=-1)
    return np.asarray(1 - squares / squares.max())


def show(photos: Sequence[Photo], model: WhiteBox, recipe: PartRecipe) -> list[PhotoFeatures]:
    """Show photos to a model, one by one."""
    return [features_batch([photo.rgb], model, recipe)[0] for photo in photos]


def within(figure: Sequence[np.ndarray], seen: Sequence[PhotoFeatures]) -> list[PhotoFeatures]:
    """Put another foreground in place of what the heads gave."""
    return [replace(one, saliency=other) for one, other in zip(seen, figure, strict=True)]


def true_figure(photo: Photo, like: np.ndarray) -> np.ndarray:
    """Bring the true foreground to the patch grid: above 0 where it covers more than half a patch."""
    share = cv2.resize((photo.truth > 0).astype(np.float32), like.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share - 0.5, np.float64)


def ways(
    photos: Sequence[Photo],
    seen: Sequence[PhotoFeatures],
    random: Sequence[Sequence[PhotoFeatures]],
    recipe: PartRecipe,
) -> dict[str, list[Labelling]]:
    """Name every way to label parts, some in several versions; `recipe` takes attention's foreground."""
    figure = [each.saliency for each in seen]
    true = [true_figure(photo, each) for photo, each in zip(photos, figure, strict=True)]
    everything = [np.ones_like(each) for each in figure]
    return {
        OURS: [Parts(photos, seen, recipe)],
        f"{OURS}, foreground pca": [Parts(photos, seen, replace(recipe, foreground="pca"))],
        f"{OURS}, foreground none": [Parts(photos, seen, replace(recipe, foreground="none"))],
        RANDOM: [Parts(photos, each, recipe) for each in random],
        f"{RANDOM}, our foreground": [Parts(photos, within(figure, each), recipe) for each in random],
        "colour, our foreground": [Patches(photos, figure, colour=True, place=False)],
        "place, our foreground": [Patches(photos, figure, colour=False, place=True)],
        "colour and place, our foreground": [Patches(photos, figure, colour=True, place=True)],
        "colour and place, no foreground": [Patches(photos, everything, colour=True, place=True)],
        f"{OURS}, true foreground": [Parts(photos, within(true, seen), recipe)],
        f"{RANDOM}, true foreground": [Parts(photos, within(true, each), recipe) for each in random],
        "colour and place, true foreground": [Patches(photos, true, colour=True, place=True)],
    }


OURS, RANDOM = "`crate parts`", "random weights"


def judge(photos: Sequence[Photo], rows: dict[str, list[Labelling]]) -> dict[tuple[str, str], list[Score]]:
    """Judge every way and group, with each number of parts; the versions of a way are averaged."""
    scores = {}
    for (row, versions), (name, group) in ((r, g) for r in rows.items() for g in GROUPS.items()):
        scores[row, name] = [
            Score(*np.mean([Score.of(photos[group], way(group, k)) for way in versions], axis=0).tolist())
            for k in COUNTS
        ]
        print(row, name, np.mean(scores[row, name], axis=0).round(3), file=sys.stderr, flush=True)
    return scores


def by_count(scores: dict[tuple[str, str], list[Score]], rows: Sequence[str], first: int) -> Iterator[str]:
    """Write scores on photos not tuned on, for each number of parts; `first` is where NMI stands in a score."""
    yield table_header("NMI / ARI", *(f"k = {k}" for k in COUNTS), "mean")
    for row in rows:
        values = [score[first : first + 2] for score in scores[row, NOT_TUNED]]
        yield table_row(row, *(f"{nmi:.3f} / {ari:.3f}" for nmi, ari in [*values, np.mean(values, axis=0)]))


def by_group(scores: dict[tuple[str, str], list[Score]], rows: Sequence[str]) -> Iterator[str]:
    """Write mean scores over the numbers of parts, for each group of photos."""
    columns = (f"{name}: {place}" for name in GROUPS for place in ("foreground", "all pixels"))
    yield table_header(f"mean NMI / ARI, k = {COUNTS[0]} to {COUNTS[-1]}", *columns)
    for row in rows:
        means = [np.mean(scores[row, name], axis=0) for name in GROUPS]
        yield table_row(row, *(f"{mean[at]:.3f} / {mean[at + 1]:.3f}" for mean in means for at in (0, 2)))


def with_auto(photos: Sequence[Photo], ours: Labelling) -> Iterator[str]:
    """Write what `--k auto` chooses, and how good that is."""
    yield table_header("`--k auto`, cars", "k", "NMI / ARI, foreground", "all pixels")
    for name, group in GROUPS.items():
        labels = ours(group, "auto")
        k = max(int(each.max()) for each in labels)
        score = Score.of(photos[group], labels)
        inside = f"{score.inside_nmi:.3f} / {score.inside_ari:.3f}"
        yield table_row(name, k, inside, f"{score.nmi:.3f} / {score.ari:.3f}")


def foreground(
    sets: Mapping[str, tuple[Sequence[Photo], Sequence[PhotoFeatures], Sequence[Sequence[PhotoFeatures]]]],
    recipe: PartRecipe,
) -> Iterator[str]:
    """Write the foreground's mean IoU with the truth, for every rule."""
    yield table_header("mean IoU", *(f"{kind}: {name}" for kind in sets for name in GROUPS))
    rules: tuple[Foreground, ...] = ("attention", "pca", "none")
    for rule, by_chance in [(rule, False) for rule in rules] + [(rule, True) for rule in rules[:2]]:
        changed, cells = replace(recipe, foreground=rule), []
        for photos, seen, random in sets.values():
            versions = [Parts(photos, each, changed) for each in (random if by_chance else [seen])]
            for group in GROUPS.values():
                shares = [
                    iou(labels > 0, photo.truth[::STEP, ::STEP] > 0)
                    for way in versions
                    for photo, labels in zip(photos[group], way(group, 2), strict=True)
                ]
                cells.append(f"{np.mean(shares):.3f}")
        yield table_row(f"{f'{RANDOM}, ' * by_chance}foreground {rule}", *cells)


def table(data: Path, every: int) -> Iterator[str]:
    """Write every table as Markdown."""
    model = built_in()
    recipe = choose_part_recipe(model)
    sets = {}
    for kind, found in (("cars", cars(data / "car_parts80")), ("horses", saliency(data / "horses40"))):
        photos = list(found)[::every]
        random = [show(photos, untrained(model.config, seed), recipe) for seed in SEEDS]
        sets[kind] = photos, show(photos, model, recipe), random
    photos, seen, random = sets["cars"]
    rows = ways(photos, seen, random, recipe)
    scores = judge(photos, rows)
    counts = ", ".join(f"{len(photos[group])} cars {name}" for name, group in GROUPS.items())
    yield f"{counts}; {recipe}.\n"
    yield f"Within the true foreground, cars {NOT_TUNED}:\n"
    yield from by_count(scores, list(rows), 0)
    yield f"\nAll pixels, cars {NOT_TUNED}:\n"
    yield from by_count(scores, list(rows), 2)
    yield "\nCars tuned on and not, each group learned apart:\n"
    yield from by_group(scores, list(rows))
    yield ""
    yield from with_auto(photos, rows[OURS][0])
    yield "\nForeground against the true mask:\n"
    yield from foreground(sets, recipe)


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__).parse_args()
    one_thread()
    publish(table(arguments.data, arguments.every), arguments.write)


if __name__ == "__main__":
    main()
