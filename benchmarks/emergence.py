"""How well attention finds objects without labels: IoU of every way to a mask, with and without refinement.

    python benchmarks/emergence.py DATA --write benchmarks/emergence.md

DATA holds `ecssd200`, `horses40` (folders `images`, `masks`) and `coco128`. Every row sees the same
views; `--row` makes one row alone.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain, product
from multiprocessing import get_context
from multiprocessing.pool import Pool
from typing import Literal, NamedTuple

import numpy as np
from measure import ratio, timed
from models import built_in, one_thread, untrained
from page import command_line, publish, table_header, table_row
from photos import Photo, coco_largest, off_centre, saliency

from cratecli import segment
from cratecli.emergence import chooser, heads, refine
from cratecli.emergence.features import View
from cratecli.emergence.maskcut import maskcut
from cratecli.emergence.masks import clean, enlarge, iou, scale, threshold
from cratecli.emergence.oracle import best_maps
from cratecli.emergence.rules import BUILT_IN_HEAD, Keep
from cratecli.geometry import Size
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, views_of
from cratecli.tasks.drawn import drawn_by_head
from cratecli.tasks.ranker import ranker
from cratecli.tasks.recipes import TAU, ViewRecipe, choose_recipe, defaults

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


def chosen(
    photo: Photo,
    views: Sequence[View],
    judged: chooser.Judged,
    *,
    frame: bool = True,
    model: WhiteBox | None = None,
) -> Score:
    """Judge what the chooser makes of views, with or without the frame, refined by the guided filter.

    With a `model` its built-in head draws it.
    """
    size, votes = Size(*photo.truth.shape), chooser.votes(chooser.score(judged, ranker(frame=frame)))
    if model:
        vote = chooser.soft_mask(judged, votes, judged.size)
        soft = drawn_by_head(BUILT_IN_HEAD, photo.rgb, views, vote, model)
    else:
        soft = chooser.soft_mask(judged, votes, size)
    edges = refine.guided_filter(photo.rgb, soft, max(1, round(max(size) / chooser.FINEST)))
    raw, refined = (iou(tidy(each >= chooser.CUT), photo.truth) for each in (soft, edges))
    return Score(raw, refined)


class Ways:
    """All rows of the table for one photo, from the views that two models have of it."""

    def __init__(self) -> None:
        self.model = built_in()
        self.random = untrained(self.model.config)
        self.recipe, self.cut = choose_recipe(self.model), defaults(self.model).cuts
        self.own = self.model if self.recipe.head == BUILT_IN_HEAD else None

    def rows(self, photo: Photo, asked: Sequence[str]) -> dict[str, Score]:
        """Judge the rows that are asked for, and for the best fixed head every head of every layer, not refined."""
        views, keep = see(photo, self.model, self.recipe), self.recipe.keep
        rows: dict[str, Score] = {}
        if any(row.startswith("random") for row in asked):
            random = see(photo, self.random, self.recipe)
            rows[RANDOM] = judge(photo, heads.agree(random).log_attention, keep)
            rows[RANDOM_CHOSEN] = chosen(photo, random, chooser.judge(random, photo.rgb, keep))
        if CHOSEN & set(asked):
            judged = chooser.judge(views, photo.rgb, keep)
            for row, frame, own in (
                (VOTE, True, None),
                (VOTE_NO_FRAME, False, None),
                (AUTO, True, self.own),
                (NO_FRAME, False, self.own),
            ):
                if row in asked:
                    rows[row] = chosen(photo, views, judged, frame=frame, model=own)
        ways: dict[str, Callable[[], Score]] = {
            ELLIPSE_ROW: lambda: centre_ellipse(photo),
            MEAN: lambda: judge(photo, heads.fixed(views, range(self.model.heads)).log_attention, keep),
            MASKCUT: lambda: first_cut(photo, see(photo, self.model, self.cut)[0]),
            AGREE: lambda: judge(photo, heads.agree(views).log_attention, keep),
            ORACLE: lambda: self._oracle(photo, views),
        }
        rows |= {row: way() for row, way in ways.items() if row in asked}
        if FIXED in asked:
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


def _rows(photo: Photo, asked: Sequence[str]) -> dict[str, Score]:
    return _ways().rows(photo, asked)


def _fixed_head(photo: Photo, layer: int, head: int) -> Score:
    return _ways().fixed_head(photo, layer, head)


def judge_set(photos: Sequence[Photo], pool: Pool, asked: Sequence[str]) -> dict[str, Score]:
    """Average each row over a set; the best fixed head is chosen by truth, once for the whole set."""
    scores = pool.starmap(_rows, [(photo, asked) for photo in photos], chunksize=4)
    mean = {row: Score(*np.mean([photo[row] for photo in scores], axis=0).tolist()) for row in scores[0]}
    if FIXED in asked:
        best = max((row for row in mean if row.startswith("head ")), key=lambda row: mean[row].raw)
        layer, head = map(int, best.split()[1:])
        fixed = pool.starmap(_fixed_head, [(photo, layer, head) for photo in photos], chunksize=4)
        mean[FIXED] = Score(*np.mean(fixed, axis=0).tolist())
    return {row: mean[row] for row in ROWS if row in asked}


def time_ratio(photos: Sequence[Photo], turns: int = 12) -> str:
    """Say what `--heads auto` takes of the processor time of `--heads agree`, forward pass included, photo by photo."""
    one_thread()
    model = built_in()
    ways: tuple[Literal["auto", "agree"], ...] = ("auto", "agree")
    every: dict[str, list[float]] = {each: [] for each in ways}
    segment(photos[0].rgb, model)
    for photo in photos[:: max(1, len(photos) // turns)]:
        for each in ways:
            every[each].append(timed(partial(segment, photo.rgb, model, heads=each)).processor)
    return f"{ratio(every['auto'], every['agree']):.2f}"


ELLIPSE_ROW, RANDOM, RANDOM_CHOSEN = "centre ellipse", "random weights, agree", "random weights, auto"
MEAN, FIXED, MASKCUT = "mean of heads", "best fixed head", "MaskCut, first cut"
VOTE, VOTE_NO_FRAME = "auto, no head", "auto, no head, without the frame"
AGREE, AUTO, NO_FRAME, ORACLE = "agree", "auto", "auto, without the frame", "oracle"
CHOSEN = {VOTE, VOTE_NO_FRAME, AUTO, NO_FRAME}
ROWS = (
    *(ELLIPSE_ROW, RANDOM, RANDOM_CHOSEN, MEAN, FIXED, MASKCUT, AGREE),
    *(VOTE_NO_FRAME, VOTE, NO_FRAME, AUTO, ORACLE),
)


def table(results: dict[str, tuple[int, dict[str, Score]]], ratio: str) -> Iterator[str]:
    """Write the results as Markdown."""
    counts = [(f"{name} ({count}) raw", "refined") for name, (count, _) in results.items()]
    yield table_header("", *chain(*counts))
    means = [mean for _, mean in results.values()]
    for row in means[0]:
        yield table_row(row, *(f"{value:.3f}" for mean in means for value in mean[row]))
    yield f"\nTime of `auto` for a photo, as a share of that of `agree`, forward pass included: {ratio}."


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__)
    parser.add_argument("--row", action="append", choices=ROWS, help="a row to make; all unless one is named")
    parser.add_argument("--workers", type=int, help="processes; as many as processors otherwise")
    arguments = parser.parse_args()
    asked = arguments.row or ROWS
    sets = {
        "ECSSD": list(saliency(arguments.data / "ecssd200")),
        "ECSSD off-centre": list(off_centre(saliency(arguments.data / "ecssd200"))),
        "horses": list(saliency(arguments.data / "horses40")),
        "COCO128, largest object": list(coco_largest(arguments.data / "coco128")),
    }
    results = {}
    share = time_ratio(sets["ECSSD"])
    with get_context("spawn").Pool(arguments.workers, initializer=one_thread) as pool:
        for name, photos in sets.items():
            some = photos[:: arguments.every]
            print(f"{name}: {len(some)} photos", flush=True)
            results[name] = len(some), judge_set(some, pool, asked)
    publish(table(results, share), arguments.write)


if __name__ == "__main__":
    main()
