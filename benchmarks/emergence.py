"""How well attention finds objects without labels: IoU of every way to a mask, with and without refinement.

    python benchmarks/emergence.py DATA --write benchmarks/emergence.md

DATA holds `ecssd200` and `horses40` (folders `images`, `masks`). Every row sees the same views.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, product
from multiprocessing import get_context
from multiprocessing.pool import Pool
from typing import NamedTuple

import numpy as np
from models import built_in, one_thread, untrained
from page import command_line, publish, table_header, table_row
from photos import Photo, off_centre, saliency

from cratecli.emergence import heads, refine
from cratecli.emergence.features import View
from cratecli.emergence.maskcut import maskcut
from cratecli.emergence.masks import clean, enlarge, iou, scale, threshold
from cratecli.emergence.oracle import best_maps
from cratecli.emergence.rules import Keep
from cratecli.geometry import Size
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, views_of
from cratecli.tasks.recipes import TAU, ViewRecipe, defaults

ELLIPSE = 0.36  # semi-axes of the centre ellipse, as a share of height and width: the best on ECSSD


class Score(NamedTuple):
    """IoU of one photo, without and with refinement."""

    raw: float
    refined: float


def tidy(mask: np.ndarray) -> np.ndarray:
    """Clean every mask as `crate segment` does by default."""
    return clean(mask, smallest=0.01, fill_holes=True)


def score(photo: Photo, soft: np.ndarray, cut: float, *, refined: bool = True) -> Score:
    """Judge a soft map (0–1, at the photo's size) and its cut."""
    raw = iou(tidy(soft >= cut), photo.truth)
    if not refined:
        return Score(raw, float("nan"))
    return Score(raw, iou(tidy(refine.grabcut(photo.rgb, soft, cut)), photo.truth))


def judge(photo: Photo, log_attention: np.ndarray, keep: Keep, *, refined: bool = True) -> Score:
    """Judge a map of patches."""
    soft = enlarge(scale(log_attention), Size(*photo.truth.shape))
    return score(photo, soft, threshold(log_attention, keep), refined=refined)


def centre_ellipse(photo: Photo) -> Score:
    """Judge an ellipse in the middle, which knows nothing of the photo."""
    height, width = photo.truth.shape
    rows, cols = np.ogrid[:height, :width]
    radius = np.hypot((rows + 0.5) / height - 0.5, (cols + 0.5) / width - 0.5) / ELLIPSE
    return score(photo, np.clip(1 - radius / 2, 0, 1).astype(np.float32), 0.5)


def first_cut(photo: Photo, view: View) -> Score:
    """Judge MaskCut's first cut (2301.11320) of a layer's subspace tokens."""
    mask = maskcut(view.tokens[-1], tau=TAU, count=1)[0]
    return score(photo, enlarge(mask.astype(np.float32), Size(*photo.truth.shape)), 0.5)


def see(photo: Photo, model: WhiteBox, recipe: ViewRecipe) -> list[View]:
    """Show a photo to a model, at every size of the recipe."""
    return views_of([photo.rgb], model, Question(recipe.layers, recipe.sizes))[0]


class Ways:
    """All rows of the table for one photo, from the views that two models have of it."""

    def __init__(self) -> None:
        self.model = built_in()
        self.random = untrained(self.model.config)
        self.recipe, self.cut = defaults(self.model).segment, defaults(self.model).objects

    def rows(self, photo: Photo) -> dict[str, Score]:
        """Judge every row, and every head of every layer without refinement (to find the best fixed one)."""
        views, keep = see(photo, self.model, self.recipe), self.recipe.keep
        random, last = see(photo, self.random, self.recipe), see(photo, self.model, self.cut)[0]
        rows = {
            "centre ellipse": centre_ellipse(photo),
            "random weights, auto": judge(photo, heads.agree(random).log_attention, keep),
            "mean of heads": judge(photo, heads.fixed(views, range(self.model.heads)).log_attention, keep),
            "MaskCut, first cut": first_cut(photo, last),
            "auto": judge(photo, heads.agree(views).log_attention, keep),
            "oracle": self._oracle(photo, views),
        }
        for layer, head in product(range(len(self.recipe.layers)), range(self.model.heads)):
            raw = self._head(photo, views, layer, head, refined=False)
            rows[f"head {layer} {head}"] = Score(raw.raw, float("nan"))
        return rows

    def fixed_head(self, photo: Photo, layer: int, head: int) -> Score:
        """Judge one head of one layer, over all sizes."""
        return self._head(photo, see(photo, self.model, self.recipe), layer, head, refined=True)

    def _head(self, photo: Photo, views: Sequence[View], layer: int, head: int, *, refined: bool) -> Score:
        one = [view.only(layer) for view in views]
        return judge(photo, heads.fixed(one, [head]).log_attention, self.recipe.keep, refined=refined)

    def _oracle(self, photo: Photo, views: Sequence[View]) -> Score:
        """Choose by truth one head, layer and view, apart for raw and refined (of which the 4 best are tried)."""
        keep, every = self.recipe.keep, len(views) * len(self.recipe.layers) * self.model.heads
        maps = best_maps(views, photo.truth, keep, every)
        raw = [judge(photo, log_map, keep, refined=False).raw for log_map in maps]
        best = sorted(range(every), key=raw.__getitem__, reverse=True)[:4]
        return Score(max(raw), max(judge(photo, maps[each], keep).refined for each in best))


_ways = cache(Ways)  # one a process


def _rows(photo: Photo) -> dict[str, Score]:
    return _ways().rows(photo)


def _fixed_head(photo: Photo, layer: int, head: int) -> Score:
    return _ways().fixed_head(photo, layer, head)


def judge_set(photos: Sequence[Photo], pool: Pool) -> dict[str, Score]:
    """Average each row over a set; the best fixed head is chosen by truth, once for the whole set."""
    scores = pool.map(_rows, photos, chunksize=4)
    mean = {row: Score(*np.mean([photo[row] for photo in scores], axis=0).tolist()) for row in scores[0]}
    best = max((row for row in mean if row.startswith("head ")), key=lambda row: mean[row].raw)
    layer, head = map(int, best.split()[1:])
    fixed = pool.starmap(_fixed_head, [(photo, layer, head) for photo in photos], chunksize=4)
    mean["best fixed head"] = Score(*np.mean(fixed, axis=0).tolist())
    return {row: mean[row] for row in ROWS}


ROWS = (
    "centre ellipse",
    "random weights, auto",
    "mean of heads",
    "best fixed head",
    "MaskCut, first cut",
    "auto",
    "oracle",
)


def table(results: dict[str, tuple[int, dict[str, Score]]]) -> Iterator[str]:
    """Write the results as Markdown."""
    counts = [(f"{name} ({count}) raw", "refined") for name, (count, _) in results.items()]
    yield table_header("", *chain(*counts))
    means = [mean for _, mean in results.values()]
    for row in ROWS:
        yield table_row(row, *(f"{value:.3f}" for mean in means for value in mean[row]))
    shares = (ours / best for mean in means for ours, best in zip(mean["auto"], mean["oracle"], strict=True))
    yield table_row("auto / oracle", *(f"{share:.0%}" for share in shares))


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__).parse_args()
    sets = {
        "ECSSD": list(saliency(arguments.data / "ecssd200")),
        "ECSSD off-centre": list(off_centre(saliency(arguments.data / "ecssd200"))),
        "horses": list(saliency(arguments.data / "horses40")),
    }
    results = {}
    with get_context("spawn").Pool(initializer=one_thread) as pool:
        for name, photos in sets.items():
            chosen = photos[:: arguments.every]
            print(f"{name}: {len(chosen)} photos", flush=True)
            results[name] = len(chosen), judge_set(chosen, pool)
    publish(table(results), arguments.write)


if __name__ == "__main__":
    main()
