"""Learn the weights that make the score of an object in `crate objects`, without a human mask: from composites.

    crate self-train PHOTOS -r -o RUN --teacher built-in
    python benchmarks/pieces.py RUN --table src/cratecli/data/pieces.toml --write benchmarks/pieces.md

RUN is a folder of `crate self-train`: of its photos' masks those are taken that the teacher is sure of. Up to six
objects are pasted onto a ground without one, or none. The same RUN gives the same file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tomli_w
from models import built_in, one_thread
from page import command_line, publish, table_header, table_row
from ranker import LONGEST, SEED, SIZES, pasted
from scipy.optimize import minimize
from scipy.special import expit

from cratecli.emergence.cues import overlaps
from cratecli.emergence.pieces import find_pieces
from cratecli.runs.views import Question, views_of
from cratecli.tasks.objects import KEEP
from cratecli.tasks.recipes import defaults
from cratecli.training.composites import PASTING, compose
from cratecli.training.folder import RECIPE
from cratecli.training.head_recipe import read_head_recipe
from cratecli.training.material import gather
from cratecli.training.taught import TAUGHT, TaughtPhoto

COUNTS = 0, 1, 2, 4, 1, 3, 0, 2, 5, 1, 3, 2, 6  # objects of one composite after the other
PASTED = replace(PASTING, size=(0.12, 0.85))  # objects of many sizes
FOUND = 0.4, 0.6  # IoU with an object up to which a piece is no object, and from which it is one
DECAY = 1e-2  # of squared weights, of cues in standard deviations
DIGITS = 4  # of a weight
NOTE = "# How `crate objects` weighs the cues of a piece; benchmarks/pieces.py learned it.\n\n"


class Seen(NamedTuple):
    """The cues of a composite's pieces, and how far each is an object, 0–1."""

    cues: np.ndarray
    target: np.ndarray


def learn(composites: Sequence[Seen]) -> tuple[np.ndarray, float]:
    """Find weights and bias with the least mean cross-entropy of `σ(weights · cues + bias)` with the targets (L-BFGS).

    Every composite counts the same. `DECAY` is that of the weights of cues in standard deviations.
    """
    cues = np.concatenate([each.cues for each in composites])
    target = np.concatenate([each.target for each in composites])
    share = np.concatenate([np.full(len(each.target), 1 / len(each.target)) for each in composites])
    share /= len(composites)
    middle, spread = cues.mean(axis=0), np.maximum(cues.std(axis=0), 1e-9)
    inputs = np.column_stack([(cues - middle) / spread, np.ones(len(cues))])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = inputs @ weights
        decayed = DECAY * np.append(weights[:-1], 0)
        value = share @ (np.logaddexp(0, logits) - target * logits) + weights @ decayed
        return float(value), inputs.T @ (share * (expit(logits) - target)) + 2 * decayed

    start = np.zeros(inputs.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ middle)


def page(weights: Mapping[str, float]) -> Iterator[str]:
    """Write the weights as Markdown, by name."""
    yield table_header("cue", "weight", "weight of its `_here`")
    for name in sorted(weights):
        if not name.endswith("_here"):
            here = weights.get(f"{name}_here")
            yield table_row(f"`{name}`", f"{weights[name]:+.4g}", "" if here is None else f"{here:+.4g}")


def main() -> None:
    """Learn, and write the table."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("--composites", type=int, default=400)
    parser.add_argument("--table", type=Path, help="where the weights go")
    asked = parser.parse_args()
    one_thread()
    model = built_in()
    recipe = defaults(model).objects
    lines = (asked.data / TAUGHT).read_text(encoding="utf-8").splitlines()
    least = read_head_recipe(str(asked.data / RECIPE)).sure
    material = gather([TaughtPhoto(**json.loads(line)) for line in lines], least, longest=LONGEST, note=print)
    composites, names = [], list[str]()
    for number in range(asked.composites):
        count, size = COUNTS[number % len(COUNTS)], SIZES[number % len(SIZES)]
        made = compose(
            material.objects, material.grounds, size, seed=SEED, number=number, count=count, how=PASTED
        )
        (views,) = views_of([made.rgb], model, Question(recipe.layers, recipe.sizes))
        found = find_pieces(views, made.rgb, KEEP)
        truth = np.array([pasted(mask, found.pixels) for mask in made.masks]).reshape(
            -1, found.masks.shape[1]
        )
        iou = overlaps(found.masks, truth, found.pixels.sizes).max(axis=1, initial=0)
        target = np.clip((iou - FOUND[0]) / (FOUND[1] - FOUND[0]), 0, 1)
        names = list(found.cues)
        composites.append(Seen(np.stack(list(found.cues.values()), axis=1), target))
        print(f"\r{number + 1} of {asked.composites}", end="", flush=True)
    weights, bias = learn(composites)
    learned = dict(zip([*names, "bias"], [*weights, bias], strict=True))
    table = {name: float(f"{weight:.{DIGITS}g}") for name, weight in learned.items()}
    scores = [expit(each.cues @ weights + bias) for each in composites]
    best = [
        each.target[score.argmax()]
        for each, score in zip(composites, scores, strict=True)
        if each.target.any()
    ]
    print(f"\nthe best piece of a composite is an object in {np.mean(best):.0%}")
    publish(page(table), asked.write)
    if asked.table:
        asked.table.write_text(NOTE + tomli_w.dumps(table))


if __name__ == "__main__":
    main()
