"""How good masks are that heads of `crate self-train` draw: IoU on photos with true masks, and the time they take.

    python benchmarks/self_training.py DATA RUN... --write benchmarks/self_training.md

DATA holds `ecssd200`, `horses40` (folders `images`, `masks`) and `coco128` (`images`, `instances.json`). A RUN is a
folder of `crate self-train`; `RUN=MODEL` names the checkpoint of a model that is not the built-in one. The first row is
the vote that heads read, the default without one. The second table judges what teachers say of photos that are squeezed
into frames, as those that are learned from: the chooser and the heads of runs.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row
from photos import Photo, coco_all, off_centre, saliency

from cratecli.emergence import chooser, refine
from cratecli.emergence.mask_head import head_inputs, resampled
from cratecli.emergence.masks import clean, enlarge, iou
from cratecli.geometry import Size
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, views_of
from cratecli.tasks.ranker import ranker
from cratecli.tasks.recipes import defaults
from cratecli.tasks.school import CHOOSER, Lessons, choose_lessons
from cratecli.training.certainty import is_sure
from cratecli.training.pool import frame_grid, frame_size
from cratecli.training.teacher import judge as judge_candidates
from cratecli.weights.checkpoint import load_model
from cratecli.weights.mask_heads import LoadedHead, load_head

VOTE = "the vote"
REFINED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda _rgb, soft: soft >= chooser.CUT,
    "guided": lambda rgb, soft: (
        refine.guided_filter(rgb, soft, max(1, round(max(soft.shape) / chooser.FINEST))) >= chooser.CUT
    ),
    "grabcut": lambda rgb, soft: refine.grabcut(rgb, soft, chooser.CUT),
}
"""Ways from a soft map to a mask."""


class Score(NamedTuple):
    """IoU of one photo by every way and, of the guided filter, without the frame; and the milliseconds of a head."""

    none: float
    guided: float
    grabcut: float
    no_frame: float
    took: float


@cache
def _loaded(run: str) -> tuple[WhiteBox, LoadedHead | None]:
    if run == VOTE:
        return built_in(), None
    folder, _, model = run.partition("=")
    ready = load_model(Path(model)) if model else built_in()
    return ready, load_head(Path(folder) / "head.safetensors", ready)


def judge(run: str, photo: Photo) -> Score:
    """Judge the head of a run on a photo."""
    model, head = _loaded(run)
    recipe, size, took = defaults(model).segment, Size(*photo.truth.shape), [0.0]
    (views,) = views_of([photo.rgb], model, Question(recipe.layers, recipe.sizes))
    judged = chooser.judge(views, photo.rgb, recipe.keep)

    def drawn(*, frame: bool) -> np.ndarray:
        shares = chooser.votes(chooser.score(judged, ranker(frame=frame)))
        if head is None:
            return chooser.soft_mask(judged, shares, size)
        vote = chooser.soft_mask(judged, shares, judged.size)
        began = process_time()
        soft = enlarge(head.draw(head_inputs(photo.rgb, views, vote, head.config)), size)
        took.append(1000 * (process_time() - began))
        return soft

    def scored(soft: np.ndarray, way: str) -> float:
        mask = clean(REFINED[way](photo.rgb, soft), smallest=recipe.min_area, fill_holes=True)
        return iou(mask, photo.truth)

    soft = drawn(frame=True)
    none, guided, grabcut = (scored(soft, way) for way in REFINED)
    return Score(none, guided, grabcut, scored(drawn(frame=False), "guided"), took[-1])


class Lesson(NamedTuple):
    """IoU of what a teacher says of a photo, how much the photo counts, and whether its object is sure."""

    iou: float
    weight: float
    sure: bool


def taught(teacher: str, photo: Photo) -> Lesson:
    """Judge a teacher on a photo; it is `chooser` or the file of a head of the built-in model."""
    model, lessons = built_in(), _lessons(teacher)
    size = defaults(model).segment.sizes[1]
    frame = frame_size(frame_grid(Size(*photo.truth.shape), size, model.patch_size))
    rgb = resampled(photo.rgb, frame)
    truth = resampled(photo.truth.astype(np.float32), frame) >= 0.5
    (views,) = views_of([rgb], model, lessons.question)
    said = lessons.teach(rgb, views, judge_candidates(rgb, views))
    return Lesson(iou(said.mask, truth), said.weight, is_sure(said))


@cache
def _lessons(teacher: str) -> Lessons:
    return choose_lessons(built_in(), teacher)


def teachers(results: dict[str, dict[str, list[Lesson]]]) -> Iterator[str]:
    """Write how good teachers are as Markdown."""
    ways = "IoU", "as photos count", "sure", "IoU of the sure", "over .8"
    sets = next(iter(results.values()))
    yield table_header("teacher", *(f"{name}: {way}" for name in sets for way in ways))
    for teacher, judged in results.items():
        cells: list[str] = []
        for lessons in judged.values():
            scores, weights, chosen = np.array(lessons, float).T
            those = scores[chosen > 0]
            sure = (f"{those.mean():.3f}", f"{(those > 0.8).mean():.0%}") if len(those) else ("", "")
            mean = f"{scores.mean():.3f}", f"{np.average(scores, weights=weights):.3f}"
            cells += [*mean, str(len(those)), *sure]
        yield table_row(teacher, *cells)


def rows(run: str) -> tuple[str, str, str, str]:
    """Describe a run from its metrics: name, what is set otherwise, sure objects, pictures and minutes."""
    if run == VOTE:
        return VOTE, "", "", ""
    folder = Path(run.partition("=")[0])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    recipe: dict[str, Any] = lines[0]["recipe"]
    last = next(line for line in reversed(lines) if "step" in line)
    shown = ", ".join(f"{name} {recipe[name]}" for name in ("reads", "epochs", "size", "width"))
    stopped = "" if last["step"] == lines[0]["steps"] else f", stopped at step {last['step']}"
    learned = f"{last['step'] * recipe['batch_size']:,} of {lines[0]['objects']:,} objects"
    return folder.name, shown + stopped, learned, f"{last['seconds'] / 60:.0f}"


def table(results: dict[str, dict[str, Score]]) -> Iterator[str]:
    """Write the results as Markdown."""
    sets = next(iter(results.values()))
    ways = [*REFINED, "guided, no frame"]
    counts = [f"{name} {way}" for name in sets for way in ways]
    yield table_header("run", "recipe", "pictures", "minutes", *counts, "head, ms", text=3)
    for run, means in results.items():
        figures = [f"{value:.3f}" for mean in means.values() for value in mean[:-1]]
        yield table_row(*rows(run), *figures, f"{np.mean([mean.took for mean in means.values()]):.0f}")


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    arguments = parser.parse_args()
    sets: dict[str, Sequence[Photo]] = {
        "ECSSD": list(saliency(arguments.data / "ecssd200")),
        "off-centre": list(off_centre(saliency(arguments.data / "ecssd200"))),
        "horses": list(saliency(arguments.data / "horses40")),
        "COCO, all": list(coco_all(arguments.data / "coco128")),
    }
    results: dict[str, dict[str, Score]] = {}
    with get_context("spawn").Pool(1, initializer=one_thread) as pool:
        for run in (VOTE, *arguments.runs):
            results[run] = {}
            for name, photos in sets.items():
                work = [(run, photo) for photo in photos[:: arguments.every]]
                scores = pool.starmap(judge, work, chunksize=4)
                results[run][f"{name} ({len(work)})"] = Score(*np.mean(scores, axis=0).tolist())
        heads = {
            Path(run).name: str(Path(run) / "head.safetensors") for run in arguments.runs if "=" not in run
        }
        lessons = {
            teacher: {
                name: pool.starmap(
                    taught, [(file, photo) for photo in sets[name][:: arguments.every]], chunksize=4
                )
                for name in ("ECSSD", "horses")
            }
            for teacher, file in {CHOOSER: CHOOSER, **heads}.items()
        }
    publish(chain(table(results), [""], teachers(lessons)), arguments.write)


if __name__ == "__main__":
    main()
