"""Learn the weights by which `--heads auto` ranks candidate masks, without a human mask: from composites.

    python benchmarks/ranker.py PHOTOS --leave-out DATA/ecssd200/images --table src/cratecli/data/ranker.toml \\
        --write benchmarks/ranker.md

PHOTOS is a folder of photos without masks, at any depth. Objects that the teacher is sure of are pasted onto grounds
without one; the candidate that is most like what was pasted should win. The same photos give the same file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tomli_w
from models import one_thread
from page import command_line, publish, table_header, table_row
from scipy.optimize import minimize

from cratecli import load_model
from cratecli.arrays import RGB
from cratecli.emergence import heads
from cratecli.emergence.chooser import Judged, judge
from cratecli.emergence.cues import overlaps
from cratecli.emergence.features import View
from cratecli.emergence.masks import clean, contrast, enlarge, iou, scale, threshold
from cratecli.emergence.refine import grabcut
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import Superpixels
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.model.unroll import WhiteBox
from cratecli.runs.views import Question, views_of
from cratecli.tasks.recipes import defaults
from cratecli.training.certainty import Sureness, Taught, ground_window, is_sure
from cratecli.training.composites import Cutout, compose, cut_out
from cratecli.training.duplicates import ALIKE, likeness, thumbprint
from cratecli.training.teacher import SMALLEST

SEED = 0
LONGEST = 128  # px of a pasted object, before it is scaled
SIZES = (Size(160, 160), Size(144, 192), Size(192, 144), Size(160, 208), Size(208, 160))
SHARE = 0.05, 0.6  # of a composite that its object covers; others are passed over
DECAY = 1e-2  # of squared weights
PLACED = ("frame", "covered", "frame_raw", "covered_raw")  # cues that know of the frame
NOTE = "# How `--heads auto` weighs the cues of a candidate mask; benchmarks/ranker.py learned it.\n\n"
CENTRE = 8.0  # strength of the centre prior, in standard deviations of the map at distance 1
DOUBTED = 0.7  # IoU of masks with and without the prior, before refinement, under which nothing is sure
AGREED = Sureness(confidence=0.35, consensus=0.88)  # of a teacher that measures both in its own way
OTSU = Keep("otsu")
EMPTY = 0.02  # share of foreground under which the teacher saw nothing, and there is no sure ground either


class Ranked(NamedTuple):
    """The cues of a composite's candidates, and each one's IoU with what was pasted."""

    cues: np.ndarray
    iou: np.ndarray


def photos(folder: Path, left_out: Sequence[Path], count: int) -> Iterator[RGB]:
    """Read photos of a folder in an order drawn at random, but for those that are in other folders too."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    others = [thumbprint(images.read(each)) for other in left_out for each in sorted(other.glob("*.jpg"))]
    for place in np.random.default_rng(SEED).permutation(len(paths))[:count]:
        photo = images.read(paths[place])
        if not others or likeness([thumbprint(photo)], others)[0][0] < ALIKE:
            yield photo


def centred(log_attention: np.ndarray) -> np.ndarray:
    """Add a centre prior to a map: its z-scores less 8 r², r the distance from the middle in sides of the photo."""
    rows, cols = ((np.arange(side) + 0.5) / side - 0.5 for side in log_attention.shape)
    distance = rows[:, None] ** 2 + cols**2
    scores = (log_attention - log_attention.mean()) / max(float(log_attention.std()), 1e-12)
    return np.asarray(scores - CENTRE * distance, np.float32)


def agreed(photo: RGB, views: Sequence[View]) -> Taught:
    """Teach, before there is a ranker, by what heads agree on, refined by GrabCut, with and without the prior.

    Photos mostly show their object in the middle. Composites do not hand that on, as objects are pasted anywhere; where
    the mask does not hang on the prior, it is sure.
    """
    saliency = heads.agree(views)
    plain, prior = saliency.log_attention, centred(saliency.log_attention)
    confidence = saliency.agreement * contrast(plain, threshold(plain, OTSU))
    maps = [(enlarge(scale(each), Size(*photo.shape[:2])), threshold(each, OTSU)) for each in (prior, plain)]
    rough, rough_plain = (soft >= cut for soft, cut in maps)
    if (alike := iou(rough, rough_plain)) < DOUBTED:
        return Taught(rough, confidence, alike, 1.0)
    mask, mask_plain = (
        clean(grabcut(photo, soft, cut), smallest=SMALLEST, fill_holes=True) for soft, cut in maps
    )
    return Taught(mask, confidence, iou(mask, mask_plain) if mask.any() else 0.0, iou(rough, mask))


def sure(read: Iterator[RGB], model: WhiteBox) -> tuple[list[Cutout], list[RGB]]:
    """Cut out the objects that the teacher is sure of, and the grounds without one."""
    recipe = defaults(model).attention
    objects, grounds = [], []
    for photo in read:
        (views,) = views_of([photo], model, Question(recipe.layers, recipe.sizes))
        taught = agreed(photo, views)
        if is_sure(taught, AGREED):
            objects.append(cut_out(photo, taught.mask, LONGEST))
        if taught.mask.mean() > EMPTY and (window := ground_window(taught.mask)) is not None:
            grounds.append(np.ascontiguousarray(photo[window.slices]))
    return objects, grounds


def pasted(truth: np.ndarray, pixels: Superpixels) -> np.ndarray:
    """Give the share of each superpixel that a mask covers."""
    height, width = pixels.labels.shape
    small = cv2.resize(truth.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(np.bincount(pixels.labels.reshape(-1), small.reshape(-1)) / pixels.sizes)


def ranked(judged: Judged, truth: np.ndarray) -> Ranked:
    """Compare each candidate with what was pasted, over superpixels."""
    share = pasted(truth, judged.pixels)[None]
    return Ranked(
        np.stack(list(judged.cues.values()), axis=1),
        overlaps(judged.masks, share, judged.pixels.sizes)[:, 0],
    )


def learn(composites: Sequence[Ranked], counted: np.ndarray) -> np.ndarray:
    """Find the weights with the greatest mean of `Σ softmax(score) IoU`, less `DECAY` of their squares (L-BFGS).

    Cues that are not `counted` weigh 0.
    """

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = 0.0, np.zeros_like(weights)
        for cues, right in composites:
            scores = cues @ weights
            share = np.exp(scores - scores.max())
            share /= share.sum()
            expected = float(share @ right)
            value -= expected
            slope -= cues.T @ (share * (right - expected))
        mean = slope / len(composites) + 2 * DECAY * weights
        return value / len(composites) + DECAY * float(weights @ weights), mean * counted

    start = np.zeros(composites[0].cues.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x)


def page(tables: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Write the weights as Markdown, the heaviest first."""
    yield table_header("cue", "weight", "without the frame")
    whole, anywhere = tables["frame"], tables["no_frame"]
    for name in sorted(whole, key=lambda name: -abs(whole[name])):
        yield table_row(
            f"`{name}`", f"{whole[name]:+.2f}", f"{anywhere[name]:+.2f}" if name in anywhere else ""
        )


def main() -> None:
    """Learn, and write the table."""
    parser = command_line(__doc__, every=False)
    parser.add_argument(
        "--leave-out", type=Path, action="append", default=[], help="photos that are judged on"
    )
    parser.add_argument("--photos", type=int, default=300, help="how many are read")
    parser.add_argument("--composites", type=int, default=400)
    parser.add_argument("--model", help="a name or file; the built-in one otherwise")
    parser.add_argument("--table", type=Path, help="where the weights go")
    asked = parser.parse_args()
    one_thread()
    model = load_model(asked.model)
    recipe = defaults(model).segment
    objects, grounds = sure(photos(asked.data, asked.leave_out, asked.photos), model)
    print(f"{len(objects)} objects, {len(grounds)} grounds", flush=True)
    if not (objects and grounds):
        parser.error("no composite can be made: read more photos")
    composites, names = [], []
    for number in range(asked.composites):
        made = compose(objects, grounds, SIZES[number % len(SIZES)], seed=SEED, number=number, count=1)
        if not SHARE[0] < made.mask.mean() < SHARE[1]:
            continue
        views = views_of([made.rgb], model, Question(recipe.layers, recipe.sizes))[0]
        judged = judge(views, made.rgb, recipe.keep)
        composites.append(ranked(judged, made.mask))
        names = list(judged.cues)
    anywhere = np.array([name not in PLACED for name in names])
    tables = {}
    for title, counted in (("frame", np.ones(len(names), bool)), ("no_frame", anywhere)):
        weights = learn(composites, counted)
        best = np.mean([right[(cues @ weights).argmax()] for cues, right in composites])
        print(f"{title}: mean IoU {best:.3f} on {len(composites)} composites", flush=True)
        rows = zip(names, weights, counted, strict=True)
        tables[title] = {name: round(float(weight), 2) for name, weight, counts in rows if counts}
    print(f"best candidate: {np.mean([right.max() for _, right in composites]):.3f}")
    publish(page(tables), asked.write)
    if asked.table:
        asked.table.write_text(NOTE + tomli_w.dumps(tables))


if __name__ == "__main__":
    main()
