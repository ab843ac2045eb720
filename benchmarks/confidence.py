"""Learn what tells how good a mask of `--heads auto` is, without a human mask: from composites, and grounds alone.

    python benchmarks/confidence.py PHOTOS --leave-out DATA/ecssd200/images \\
        --table src/cratecli/data/confidence.toml --write benchmarks/confidence.md

PHOTOS is a folder of photos without masks, at any depth. Objects that the teacher is sure of are pasted onto grounds
that are patched together; a ground alone has no object, and whatever mask is made of it an IoU of 0. The same photos
give the same file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tomli_w
from models import one_thread
from page import command_line, publish, table_header, table_row
from ranker import photos, sure
from scipy.optimize import minimize
from scipy.stats import spearmanr

from cratecli import load_model
from cratecli.arrays import RGB
from cratecli.emergence import chooser
from cratecli.emergence.confidence import BIAS, expected_iou, signs
from cratecli.emergence.masks import iou
from cratecli.emergence.metrics import calibration_error
from cratecli.emergence.refine import guided_filter
from cratecli.geometry import Size
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, views_of
from cratecli.tasks.ranker import ranker
from cratecli.tasks.recipes import Recipe, defaults
from cratecli.tasks.segment import tidy
from cratecli.training.composites import PASTING, Composite, Cutout, compose

SEED = 1  # not that of the ranker's composites
SIZES = (Size(192, 192), Size(192, 256), Size(256, 192), Size(192, 288), Size(216, 256))
KINDS = ("none", "one", "one", "one", "small", "two", "several", "one")  # of composites, in turns
SHARES = {
    "none": (0.3, 0.9),
    "one": (0.3, 0.95),
    "small": (0.12, 0.4),
    "two": (0.2, 0.8),
    "several": (0.12, 0.6),
}
"""Of the frame's side, that an object's longer side has."""
COVERED = 0.005, 0.8  # of a composite that its objects cover together; others are passed over
TABLES = {"frame": True, "no_frame": False}  # the ranker of each
TOKENS = ("cosine_across",)  # signs that read the model's tokens: learned with one, they do not fit another
DECAY = 2e-2  # of squared weights, of signs in standard deviations
NOTE = "# What the signs of a good mask weigh, in their own units; benchmarks/confidence.py learned it.\n\n"


class Example(NamedTuple):
    """The signs of a composite's mask, its IoU with what was pasted, and the composite's kind."""

    signs: Mapping[str, float]
    iou: float
    kind: str


def patched(grounds: Sequence[RGB], size: Size, number: int) -> RGB:
    """Patch up to three grounds together along smooth random borders: no object, and yet steps of colour."""
    random = np.random.default_rng([SEED, number])

    def window() -> np.ndarray:
        ground = grounds[int(random.integers(len(grounds)))]
        return compose([], [ground], size, seed=int(random.integers(1 << 31)), number=0, count=0).rgb.astype(
            float
        )

    canvas = window()
    for _ in range(int(random.choice(3, p=[0.5, 0.35, 0.15]))):
        field = cv2.GaussianBlur(random.normal(0, 1, size), (0, 0), random.uniform(0.08, 0.3) * max(size))
        rows, cols = np.mgrid[: size.height, : size.width]
        angle = random.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * cols / size.width + np.sin(angle) * rows / size.height
        field = field / field.std() + random.uniform(0, 4) * (slope - slope.mean()) / slope.std()
        patch = (field > np.quantile(field, random.uniform(0.3, 0.8))).astype(float)
        soft = cv2.GaussianBlur(patch, (0, 0), random.uniform(0.4, 2))[..., None]
        canvas = (1 - soft) * canvas + soft * window()
    return np.asarray(canvas.round(), np.uint8)


def composite(objects: Sequence[Cutout], grounds: Sequence[RGB], number: int) -> tuple[Composite, str]:
    """Make composite `number`, and name its kind."""
    kind, size = KINDS[number % len(KINDS)], SIZES[number % len(SIZES)]
    count = {"none": 0, "two": 2, "several": 3 + number // len(KINDS) % 3}.get(kind, 1)
    how = replace(PASTING, size=SHARES[kind], window=(1.0, 1.0))
    ground = patched(grounds, size, number)
    return compose(objects, [ground], size, seed=SEED, number=number, count=count, how=how), kind


def judged_by(made: Composite, kind: str, model: WhiteBox, recipe: Recipe) -> dict[str, Example]:
    """Segment a composite as `segment` does, by either ranker; a ground alone has an IoU of 0."""
    views = views_of([made.rgb], model, Question(recipe.layers, recipe.sizes))[0]
    judged, size = chooser.judge(views, made.rgb, recipe.keep), Size(*made.mask.shape)
    radius, examples = max(1, round(max(size) / chooser.FINEST)), {}
    for table, frame in TABLES.items():
        scores = chooser.score(judged, ranker(frame=frame))
        soft = chooser.soft_mask(judged, chooser.votes(scores), size)
        mask = tidy(guided_filter(made.rgb, soft, radius) >= chooser.CUT, recipe)
        right = iou(mask, made.mask) if made.mask.any() else 0.0
        examples[table] = Example(signs(judged, scores), right, kind)
    return examples


def learn(examples: Sequence[Example], names: Sequence[str]) -> dict[str, float]:
    """Fit logistic regression to IoUs: least cross-entropy, plus `DECAY` of the squared weights (L-BFGS).

    Weights are given in the signs' own units, with three digits.
    """
    values = np.array([[each.signs[name] for name in names] for each in examples])
    wanted = np.array([each.iou for each in examples])
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    ones = np.concatenate([np.ones((len(values), 1)), (values - mean) / spread], axis=1)
    counted = np.append(0.0, np.full(len(names), DECAY))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        given = ones @ weights
        entropy = np.logaddexp(0, given) - wanted * given
        slope = ones.T @ (1 / (1 + np.exp(-given)) - wanted) / len(ones)
        return float(entropy.mean() + counted @ weights**2), slope + 2 * counted * weights

    found = minimize(loss, np.zeros(ones.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[1:] / spread
    table = {BIAS: float(found[0] - weights @ mean), **dict(zip(names, weights.tolist(), strict=True))}
    return {name: float(f"{weight:.3g}") for name, weight in table.items()}


Tables = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Weights of signs, by what they read, and by the ranker of the vote."""


def page(examples: Mapping[str, Sequence[Example]], tables: Tables) -> Iterator[str]:
    """Write the weights, the signs' standard deviations, and how the composites are judged by them."""
    yield table_header(
        "sign", "its spread", "weight", "without the frame", "other models", "without the frame"
    )
    known = tables["tokens_and_masks"]["frame"]
    for name in known:
        spread = "" if name == BIAS else f"{np.std([each.signs[name] for each in examples['frame']]):.3f}"
        columns = [weights for read in tables.values() for weights in read.values()]
        weighed = (f"{weights[name]:g}" if name in weights else "" for weights in columns)
        yield table_row(f"`{name}`", spread, *weighed)
    yield "\n" + table_header(
        "composites", "how many", "mean IoU", "mean confidence", "ρ", "calibration error"
    )
    for title, among in {"all": KINDS, **{kind: (kind,) for kind in dict.fromkeys(KINDS)}}.items():
        those = [each for each in examples["frame"] if each.kind in among]
        if not those:
            continue
        found = np.array([each.iou for each in those])
        said = np.array([expected_iou(each.signs, known) for each in those])
        rank = f"{spearmanr(said, found).statistic:.2f}" if np.ptp(found) and np.ptp(said) else ""
        numbers = f"{found.mean():.2f}", f"{said.mean():.2f}", rank, f"{calibration_error(said, found):.2f}"
        yield table_row(title, len(those), *numbers)


def main() -> None:
    """Learn, and write the table."""
    parser = command_line(__doc__, every=False)
    parser.add_argument(
        "--leave-out", type=Path, action="append", default=[], help="photos that are judged on"
    )
    parser.add_argument("--photos", type=int, default=300, help="how many are read")
    parser.add_argument("--composites", type=int, default=600)
    parser.add_argument("--model", help="a name or file; the built-in one otherwise")
    parser.add_argument("--table", type=Path, help="where the weights go")
    asked = parser.parse_args()
    one_thread()
    model = load_model(asked.model)
    objects, grounds = sure(photos(asked.data, asked.leave_out, asked.photos), model)
    print(f"{len(objects)} objects, {len(grounds)} grounds", flush=True)
    if not (objects and grounds):
        parser.error("no composite can be made: read more photos")
    examples: dict[str, list[Example]] = {table: [] for table in TABLES}
    for number in range(asked.composites):
        made, kind = composite(objects, grounds, number)
        if kind == "none" or COVERED[0] < made.mask.mean() < COVERED[1]:
            for table, each in judged_by(made, kind, model, defaults(model).segment).items():
                examples[table].append(each)
    signs_of = {"tokens_and_masks": list(examples["frame"][0].signs)}
    signs_of["masks"] = [name for name in signs_of["tokens_and_masks"] if name not in TOKENS]
    tables = {
        read: {table: learn(those, names) for table, those in examples.items()}
        for read, names in signs_of.items()
    }
    publish(page(examples, tables), asked.write)
    if asked.table:
        sha256 = model.weights.sha256 if model.weights else ""
        asked.table.write_text(NOTE + tomli_w.dumps({"model_sha256": sha256, **tables}))


if __name__ == "__main__":
    main()
