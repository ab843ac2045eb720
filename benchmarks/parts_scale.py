"""How `crate parts` grows with a folder, and whether its labels hold, against learning with everything at hand.

    OMP_NUM_THREADS=1 python benchmarks/parts_scale.py DATA --write benchmarks/parts_scale.md

The plain way keeps all descriptors in memory, asks scikit-learn for the principal components of all of them, by the
full singular value decomposition or from the covariance, and runs k-means on every patch of the foreground.
Reading, looking and labelling are the same code. Each run is a fresh process, and the ways take turns: times are
ratios of runs side by side, by the clock and of the processor, memory is the peak resident size.

DATA holds `ecssd200`, `horses40` and `car_parts80` (folders `images`). Where a folder is to hold more photos than there
are, they come again without their first rows and columns.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from measure import peak_memory, ratio
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from cratecli.emergence.masks import threshold
from cratecli.emergence.parts import Ground, Vocabulary, centred
from cratecli.emergence.parts_learner import DIMENSIONS, STARTS
from cratecli.emergence.pca import Components
from cratecli.emergence.rules import Keep
from cratecli.io import images
from cratecli.runs.cache import fingerprint
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Job
from cratecli.runs.planned import Plan
from cratecli.runs.session import Session
from cratecli.tasks.parts import label
from cratecli.tasks.parts_album import fill_album
from cratecli.tasks.parts_features import Album, PhotoFeatures, features_batch
from cratecli.tasks.recipes import PartRecipe, choose_part_recipe

ROUNDS = {50: 3, 200: 3, 800: 2}  # photos, and how often each way runs on as many
CROP = 4  # px, of rows and columns, for every time a photo has come before
K = 4
OURS, FULL, COVARIANCE = WAYS = "ours", "full", "covariance_eigh"  # the plain ways by scikit-learn's names
TITLES = {OURS: "ours", FULL: "plain, full SVD", COVARIANCE: "plain, covariance"}
ORDERS = ((1, None), (8, 1), (1, 2))  # batch size, and what shuffles the photos


class Run(NamedTuple):
    """What one run took.

    Seconds by the clock, of the processor, and of the processor to keep descriptors and learn; the peak before any
    photo and in all, in MB; and the patches' labels.
    """

    clock: float
    processor: float
    learning: float
    before: float
    peak: float
    labels: list[int]


class AtHand:
    """Keeps all descriptors in memory and learns from all of them at once."""

    def __init__(self, solver: str) -> None:
        self._solver = solver
        self._seen: dict[str, PhotoFeatures] = {}

    def add(self, name: str, seen: PhotoFeatures) -> None:
        """Put a photo in."""
        self._seen[name] = seen

    def find(self, name: str) -> PhotoFeatures | None:
        """Take a photo's descriptors out again."""
        return self._seen.get(name)

    def learn(self) -> Vocabulary:
        """Learn the vocabulary."""
        ground = self._ground()
        tokens = np.concatenate([self._inside(ground, seen) for seen in self._seen.values()])
        pca = PCA(DIMENSIONS, svd_solver=self._solver).fit(tokens)
        points = pca.transform(tokens)
        centroids = KMeans(K, n_init=STARTS, random_state=0).fit(points).cluster_centers_
        low, high = np.quantile(points[:, :3], (0.02, 0.98), axis=0)
        names = tuple(f"part {number}" for number in range(1, K + 1))
        return Vocabulary(ground, components(pca), centroids, low, high, names, tuple(range(1, K + 1)))

    def _ground(self) -> Ground:
        tokens = np.concatenate(
            [centred(seen.tokens).reshape(-1, seen.tokens.shape[-1]) for seen in self._seen.values()]
        )
        attention = np.concatenate([seen.attention.reshape(-1) for seen in self._seen.values()])
        pca = PCA(4, svd_solver=self._solver).fit(tokens)
        first = pca.transform(tokens)[:, 0]
        cut = float(first.min() + np.ptp(first) * threshold(first[None], Keep("otsu")))
        above = first > cut
        side = 1.0 if attention[above].mean() >= attention[~above].mean() else -1.0
        return Ground("pca", components(pca), side, side * cut)

    @staticmethod
    def _inside(ground: Ground, seen: PhotoFeatures) -> np.ndarray:
        inside = ground.margins(seen.tokens, seen.saliency) > 0
        return centred(seen.tokens, inside)[inside]


def components(pca: PCA) -> Components:
    """Take over what scikit-learn found."""
    return Components(pca.mean_, pca.components_, pca.explained_variance_)


def folder_of(data: Path, count: int) -> Iterator[np.ndarray]:
    """Read as many photos as asked for, no two alike."""
    paths = [path for name in ("horses40", "ecssd200") for path in sorted((data / name / "images").iterdir())]
    for index in range(count):
        again, which = divmod(index, len(paths))
        yield np.ascontiguousarray(images.read(paths[which])[CROP * again :, CROP * again :])


def patch_labels(vocabulary: Vocabulary, seen: PhotoFeatures) -> np.ndarray:
    """Label patches by the nearest part, 0 for ground."""
    inside = vocabulary.ground.margins(seen.tokens, seen.saliency) > 0
    nearest = vocabulary.nearness(vocabulary.coordinates(seen.tokens, inside)).argmax(axis=0)
    return np.where(inside, nearest + 1, 0).reshape(-1)


def found_in(album: Album | AtHand, photo: np.ndarray) -> PhotoFeatures:
    """Take the descriptors of a photo out again."""
    found = album.find(fingerprint(photo))
    if found is None:
        raise ValueError("a photo was not put in")
    return found


def run(data: Path, way: str, count: int) -> Run:
    """Learn and label, in a process that does nothing else."""
    model = built_in()
    recipe = choose_part_recipe(model, k=K, foreground="pca")
    features_batch(list(folder_of(data, 1)), model, recipe)  # what any first look costs
    before, clock, start, learning = peak_memory(), time.perf_counter(), time.process_time(), 0.0
    labels = []
    with TemporaryDirectory() as place:
        album = Album(Path(place), recipe) if way == OURS else AtHand(way)
        for photo in folder_of(data, count):
            seen = features_batch([photo], model, recipe)[0]
            begun = time.process_time()
            album.add(fingerprint(photo), seen)
            learning += time.process_time() - begun
        begun = time.process_time()
        vocabulary = album.learn()
        learning += time.process_time() - begun
        for photo in folder_of(data, count):
            seen = found_in(album, photo)
            label(photo, seen, vocabulary, "none")
            labels.append(patch_labels(vocabulary, seen))
    clock, processor = time.perf_counter() - clock, time.process_time() - start
    return Run(clock, processor, learning, before, peak_memory(), np.concatenate(labels).tolist())


def run_apart(data: Path, way: str, count: int) -> Run:
    """Run in a fresh process."""
    command = [sys.executable, __file__, str(data), "--run", way, str(count)]
    return Run(*json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def in_turn(data: Path) -> dict[tuple[int, str], list[Run]]:
    """Run all ways in fresh processes, in turn."""
    found: dict[tuple[int, str], list[Run]] = {}
    for count, rounds in ROUNDS.items():
        for way in WAYS * rounds:
            one = run_apart(data, way, count)
            found.setdefault((count, way), []).append(one)
            print(count, way, *(f"{value:.1f}" for value in one[:-1]), file=sys.stderr, flush=True)
    return found


def table(found: dict[tuple[int, str], list[Run]]) -> Iterator[str]:
    """Write memory, time and agreement as Markdown."""
    yield (
        "| photos | way | peak | of it for photos | time / ours | processor time / ours "
        "| to keep and learn / ours | ARI with ours | same foreground |"
    )
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    for count in ROUNDS:
        ours = found[count, OURS]
        known = np.array(ours[0].labels)
        for way in WAYS:
            runs = found[count, way]
            labels = np.array(runs[0].labels)
            memory = max(one.peak for one in runs), max(one.peak - one.before for one in runs)
            times = (
                ratio([getattr(one, name) for one in runs], [getattr(one, name) for one in ours])
                for name in ("clock", "processor", "learning")
            )
            yield table_row(
                count,
                TITLES[way],
                *(f"{value:.0f} MB" for value in memory),
                *(f"{value:.2f}" for value in times),
                f"{adjusted_rand_score(known, labels):.3f}",
                f"{np.mean((known > 0) == (labels > 0)):.2%}",
            )
    few, many = min(ROUNDS), max(ROUNDS)
    yield ""
    for way in WAYS:
        peaks = [max(one.peak for one in found[count, way]) for count in (few, many)]
        share = statistics.median(one.learning / one.processor for one in found[many, way])
        yield (
            f"- {TITLES[way]}: {many} photos take {peaks[1] / peaks[0]:.2f} times the peak of {few}; of their "
            f"processor time, {share:.0%} is to keep and learn."
        )


def steadiness(data: Path) -> Iterator[str]:
    """Write how many patches have the same label whatever the order of photos and the batch size."""
    orders = [
        ("name order" if seed is None else f"shuffled ({seed})") + f", batch size {size}"
        for size, seed in ORDERS
    ]
    yield table_header("same labels as in name order, batch size 8", *orders)
    for name in ("car_parts80", "horses40"):
        jobs = [Job(path, None) for path in sorted((data / name / "images").iterdir())]
        for recipe in (choose_part_recipe(built_in(), foreground=rule) for rule in ("attention", "pca")):
            shared = labels_of(jobs, 8, recipe)
            cells = []
            for size, seed in ORDERS:
                order = (
                    np.arange(len(jobs))
                    if seed is None
                    else np.random.default_rng(seed).permutation(len(jobs))
                )
                other = labels_of([jobs[index] for index in order], size, recipe)
                same = np.concatenate([shared[job] == other[job] for job in jobs])
                cells.append(f"{same.mean():.4%}")
            print(name, recipe, cells, file=sys.stderr, flush=True)
            counts = f"{len(jobs)} photos, {len(same)} patches"
            yield table_row(f"{name}, foreground {recipe.foreground}: {counts}", *cells)


def labels_of(jobs: Sequence[Job], batch_size: int, recipe: PartRecipe) -> dict[Job, np.ndarray]:
    """Learn from photos in the order given, and label their patches."""
    desk = Desk(built_in(), batch_size)
    with TemporaryDirectory() as place, Session(Plan(tuple(jobs)), desk) as session:
        album = Album(Path(place), recipe)
        list(fill_album(album, session, recipe))
        vocabulary = album.learn()
        return {
            job: patch_labels(vocabulary, found_in(album, images.read(job.source)))
            for job in jobs
            if job.source is not None
        }


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("--run", nargs=2, metavar=("WAY", "COUNT"), help="do one run and print what it took")
    arguments = parser.parse_args()
    one_thread()
    if arguments.run:
        way, count = arguments.run
        print(json.dumps(run(arguments.data, way, int(count))))
        return
    # The runs go first: a process inherits the peak of the one that starts it.
    publish([*table(in_turn(arguments.data)), "", *steadiness(arguments.data)], arguments.write)


if __name__ == "__main__":
    main()
