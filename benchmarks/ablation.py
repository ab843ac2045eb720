"""The paper's Table 2 in small: segmentation from attention with MSSA or MHSA, with ISTA or an MLP.

    python benchmarks/ablation.py DATA RUN... --write benchmarks/ablation.md

DATA holds `coco128` (`images`, `instances.json`), `ecssd200` and `horses40` (`images`, `masks`); a RUN is a folder that
`crate train` left. VOC's protocol is run on the COCO photos, laid out as VOC is: classes of `instances.json`, larger
objects under smaller ones, crowds void. Every layer is evaluated, and the best one is shown.
"""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from models import one_thread
from page import command_line, publish, table_header, table_row
from PIL import Image
from pycocotools.coco import COCO

from cratecli import evaluate_coco, evaluate_voc, load_model
from cratecli.evaluation.coco import PUBLISHED
from cratecli.evaluation.voc import BEST_TOP
from training import accuracy, metrics, saliency_cells

VOID = 255
COLUMNS = (
    "run",
    "attention",
    "sparsifier",
    "weights",
    "accuracy",
    "VOC's protocol, mIoU %",
    "MaskCut, box AP50 / AP75 / AP %",
)
SETS = ("ECSSD", "horses")


def as_voc(coco: Path, into: Path) -> Path:
    """Lay out COCO photos as VOC lays out its own; those without an object are left out."""
    with redirect_stdout(sys.stderr):
        annotations = COCO(coco / "instances.json")
    numbers = {category: number for number, category in enumerate(sorted(annotations.cats), 1)}
    home = into / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    names = []
    for key, image in sorted(annotations.imgs.items()):
        things = annotations.loadAnns(annotations.getAnnIds(key))
        if not things:
            continue
        labels = np.zeros((image["height"], image["width"]), np.uint8)
        for thing in sorted(things, key=lambda each: -each["area"]):
            labels[annotations.annToMask(thing) > 0] = (
                VOID if thing["iscrowd"] else numbers[thing["category_id"]]
            )
        names.append(Path(image["file_name"]).stem)
        (home / f"JPEGImages/{names[-1]}.jpg").symlink_to((coco / "images" / image["file_name"]).resolve())
        Image.fromarray(labels).save(home / f"SegmentationClass/{names[-1]}.png")
    (home / "ImageSets/Segmentation/val.txt").write_text("\n".join(names) + "\n")
    return into


def line(run: Path, data: Path, voc: Path) -> str:
    """Write a run's row."""
    first = metrics(run)[0]
    model = load_model(run / "model.safetensors")
    layers = range(model.depth)
    coarse = evaluate_voc(voc, model, layers=layers, resamples=0).rows
    cut = evaluate_coco(data / "coco128", model, layers=layers, resamples=0).rows
    best = max((each for each in coarse if each.name == BEST_TOP), key=lambda each: each["mIoU"])
    boxes = max((each for each in cut if each.name == PUBLISHED), key=lambda each: each["box AP"])
    precision = " / ".join(f"{100 * boxes[f'box {name}']:.1f}" for name in ("AP50", "AP75", "AP"))
    config = first["recipe"]["model"]
    return table_row(
        run.name,
        config["attention"].upper(),
        config["sparsifier"].upper(),
        f"{first['parameters'] / 1e6:.2f} M",
        f"{accuracy(run):.1%}",
        f"{100 * best['mIoU']:.1f} (layer {best.layer})",
        f"{precision} (layer {boxes.layer})",
        *saliency_cells(run / "model.safetensors", data, SETS),
    )


def table(data: Path, runs: list[Path]) -> Iterator[str]:
    """Write every run."""
    yield table_header(*COLUMNS, *SETS, text=3)
    with TemporaryDirectory() as folder:
        voc = as_voc(data / "coco128", Path(folder))
        for run in runs:
            yield line(run, data, voc)


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    one_thread()
    publish(table(arguments.data, arguments.runs), arguments.write)


if __name__ == "__main__":
    main()
