"""How fast MaskCut's cuts are, and whether they are the same, against the dense generalised eigenproblem.

    OMP_NUM_THREADS=1 python benchmarks/maskcut.py DATA --write benchmarks/maskcut.md

DATA holds `ecssd200/images`, of which every third photo is cut three times, by our masks, on a 60 × 60 grid of
the built-in model. A cut after a rejected one is the same once more, and is not counted. Each cut is timed from
unit features to the eigenvector, both ways one after the other: the affinity is built, then solved. The masks
follow from the eigenvectors by the same rules. Dense is `scipy.linalg.eigh(D − A, D, subset_by_index=[1, 1])`, in
float64.

It takes the better part of an hour. With `--cache FOLDER` an interrupted run goes on where it was.
"""

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import scipy.linalg
import torch
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row

from cratecli.emergence.features import absolute_layers
from cratecli.emergence.maskcut import EPSILON, cuts, mask_of, second_eigenvector
from cratecli.emergence.masks import iou
from cratecli.emergence.observe import observe
from cratecli.geometry import Grid
from cratecli.io import images

GRID, LAYER, TAU, COUNT, EVERY = Grid(60, 60), -3, 0.15, 3, 3
SAME = 0.99  # IoU from which two masks are one


@dataclass(frozen=True, eq=False)
class Pair:
    """One cut made both ways: unit features, eigenvectors and seconds."""

    name: str
    features: np.ndarray
    ours: np.ndarray
    dense: np.ndarray
    our_seconds: float
    dense_seconds: float

    @property
    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Give our mask and the dense one."""
        return mask_of(self.ours.reshape(GRID)), mask_of(self.dense.reshape(GRID))


def problem(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write out `D − A` and `D`."""
    affinity = np.where(features @ features.T > TAU, 1.0, EPSILON)
    degrees = np.diag(affinity.sum(axis=1))
    return degrees - affinity, degrees


def dense(features: np.ndarray) -> np.ndarray:
    """Solve the generalised eigenproblem as it is written, then choose the sign as ours does."""
    vector = scipy.linalg.eigh(*problem(features), subset_by_index=[1, 1])[1][:, 0]
    vector /= np.linalg.norm(vector)
    return np.asarray(vector * np.sign(vector[np.abs(vector).argmax()]))


def ours(features: np.ndarray) -> np.ndarray:
    """Solve it with Lanczos."""
    return second_eigenvector(features, TAU)


def timed(solve: Callable[[np.ndarray], np.ndarray], features: np.ndarray) -> tuple[np.ndarray, float]:
    """Solve, and give the seconds it took."""
    start = time.perf_counter()
    vector = solve(features)
    return vector, time.perf_counter() - start


def pair(name: str, features: np.ndarray, cache: Path | None) -> Pair:
    """Solve both ways; what the cache holds of these very features are the dense vector and both times."""
    kept = cache and cache / f"{hashlib.sha256(features.tobytes()).hexdigest()[:24]}.npz"
    if kept and kept.exists():
        with np.load(kept) as entry:
            return Pair(name, features, ours(features), entry["dense"], *map(float, entry["seconds"]))
    found, our_seconds = timed(ours, features)
    solved, dense_seconds = timed(dense, features)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, dense=solved, seconds=np.array([our_seconds, dense_seconds]))
    return Pair(name, features, found, solved, our_seconds, dense_seconds)


def pairs(folder: Path, cache: Path | None) -> Iterator[Pair]:
    """Cut every third photo, both ways at each cut, and take out what our masks hold."""
    one_thread()
    model = built_in()
    layers = absolute_layers([LAYER], model.depth)
    ours(np.eye(100, dtype=np.float32))  # loads what it needs
    for path in sorted(folder.iterdir())[::EVERY]:
        photo = images.fit(images.read(path), GRID, model.patch_size, model.mean, model.std)
        tokens = observe(model, torch.from_numpy(photo)[None], layers)[0].tokens[0]
        features = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
        anew = True
        for index, cut in enumerate(cuts(tokens, tau=TAU, count=COUNT), start=1):
            if anew:
                both = pair(f"{path.stem} cut {index}", features.reshape(GRID.patches, -1), cache)
                print(f"{both.name}: {both.dense_seconds / both.our_seconds:.0f} times", flush=True)
                yield both
            anew = bool(cut.mask.any())
            features = np.where(cut.mask[..., None], 0, features)


def table(found: list[Pair]) -> Iterator[str]:
    """Write the results as Markdown."""
    ratios = sorted(cut.dense_seconds / cut.our_seconds for cut in found)
    total = sum(cut.dense_seconds for cut in found) / sum(cut.our_seconds for cut in found)
    same = [iou(*cut.masks) for cut in found]
    errors = sorted(float(np.abs(cut.ours - cut.dense).max() / np.abs(cut.dense).max()) for cut in found)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    setting = f"{GRID.rows} × {GRID.cols} patches, scipy {scipy.__version__}, OMP_NUM_THREADS={threads}"
    largest = "largest error of an entry, as a share of the largest"
    yield table_header(f"{len(found)} cuts, {setting}", "")
    yield table_row("dense / ours, time, median over cuts", f"{statistics.median(ratios):.0f}")
    yield table_row("dense / ours, time, of the totals", f"{total:.0f}")
    yield table_row("dense / ours, time, least and greatest", f"{ratios[0]:.0f}, {ratios[-1]:.0f}")
    yield table_row(f"masks with IoU ≥ {SAME}", f"{sum(value >= SAME for value in same)} of {len(same)}")
    yield table_row("masks equal in every patch", sum(value == 1 for value in same))
    yield table_row(f"{largest}, median", f"{statistics.median(errors):.0e}")
    yield table_row(f"{largest}, greatest", f"{errors[-1]:.0e}")
    yield ""
    for cut, value in zip(found, same, strict=True):
        if value < SAME:
            yield f"- {cut.name}: IoU {value:.3f}; {why(cut)}\n"
    names = list(dict.fromkeys(cut.name.partition(" ")[0] for cut in found))
    yield f"{len(names)} photos: {', '.join(names)}."


def why(cut: Pair) -> str:
    """Tell how near to a tie a cut was."""
    values = scipy.linalg.eigh(*problem(cut.features), eigvals_only=True, subset_by_index=[1, 2])
    magnitude = np.sort(np.abs(cut.dense))[::-1]
    sides = [vector > vector.mean() for vector in (cut.ours, cut.dense)]
    nearest = np.abs(cut.dense - cut.dense.mean()).min() / magnitude[0]
    return (
        f"λ₂ {values[0]:.8f}, λ₃ {values[1]:.8f}; the two largest |v| differ by {1 - magnitude[1] / magnitude[0]:.0e}, "
        f"the patch nearest to the mean lies {nearest:.0e} off (shares of the largest |v|); "
        f"{np.count_nonzero(sides[0] != sides[1])} patches change sides"
    )


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("--cache", type=Path, help="keep what is solved in this folder")
    arguments = parser.parse_args()
    publish(table(list(pairs(arguments.data / "ecssd200" / "images", arguments.cache))), arguments.write)


if __name__ == "__main__":
    main()
