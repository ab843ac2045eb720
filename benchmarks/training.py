"""The results of training runs: accuracy, and the saliency IoU of raw attention, run by run.

    python benchmarks/training.py DATA RUN... --write benchmarks/training.md --draw RUN...

DATA holds `ecssd200` and `horses40` (folders `images`, `masks`); a RUN is a folder that `crate train` left. IoU is raw:
no refinement, no place prior, the model's default layers, sizes and threshold. `--draw` makes the curves of a run that
was watched by `--evaluate` (the paper's Figure 10), beside the page; of several, where one was watched more closely.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from models import one_thread
from page import command_line, publish, table_header, table_row

from cratecli import evaluate_saliency, load_model
from cratecli.training.recipe import read_recipe

SETS = {"ECSSD": ("ecssd200", False), "off-centre": ("ecssd200", True), "horses": ("horses40", False)}
ROWS = ("agree", "mean of heads", "oracle")
BUILT_IN = "crate-nano"


def metrics(run: Path) -> list[dict[str, Any]]:
    """Read a run's rows."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def changes(run: Path) -> str:
    """List the model a run began from, and the settings in which its recipe differs from `nano`."""
    plain = tomllib.loads(read_recipe("nano").to_toml())
    mine = tomllib.loads((run / "recipe.toml").read_text())
    pairs = [(mine, plain), (mine["model"], plain["model"])]
    init = metrics(run)[0].get("init")
    return ", ".join(
        ([f"init {Path(init['name']).stem}"] if init else [])
        + [
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for ours, theirs in pairs
            for name, value in ours.items()
            if name != "model" and value != theirs.get(name)
        ]
    )


def accuracy(run: Path) -> float:
    """Give a run's last accuracy."""
    return float([row["accuracy"] for row in metrics(run) if "accuracy" in row][-1])


def saliency_cells(model: str | Path, data: Path, sets: Iterable[str] = SETS) -> list[str]:
    """Measure the IoU of each row on each set, a cell a set."""
    loaded = load_model(model)
    cells = []
    for folder, off_centre in (SETS[name] for name in sets):
        record = evaluate_saliency(
            data / folder,
            loaded,
            off_centre=off_centre,
            refine="none",
            mean_of_heads=True,
            oracle=True,
            resamples=0,
        )
        cells.append(" / ".join(f"{record[row]['IoU']:.3f}" for row in ROWS))
    return cells


def line(run: Path, data: Path) -> str:
    """Write a run's row."""
    rows = metrics(run)
    last = rows[-1]
    samples = last["step"] * rows[0]["recipe"]["batch_size"]
    return table_row(
        run.name,
        changes(run),
        f"{rows[0]['parameters'] / 1e6:.2f} M",
        f"{samples / 1e3:.0f} k",
        f"{last['seconds'] / 60:.0f} on {rows[0]['processes'] * rows[0]['threads']}",
        f"{accuracy(run):.1%}",
        *saliency_cells(run / "model.safetensors", data),
    )


def table(data: Path, runs: list[Path]) -> Iterator[str]:
    """Write every run, and the built-in model for comparison."""
    columns = ["run", "departs from `nano` by", "weights", "images", "minutes on threads", "accuracy", *SETS]
    yield table_header(*columns, text=2)
    for run in runs:
        yield line(run, data)
    yield table_row("the model that comes along", *[""] * 5, *saliency_cells(BUILT_IN, data))


def draw(runs: list[Path], picture: Path) -> None:
    """Draw what a run learned, epoch by epoch; several are of one recipe and seed."""
    rows = [row for run in runs for row in metrics(run) if "agree IoU" in row]
    rows.sort(key=lambda row: float(row["epoch"]))
    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name in (*(f"{row} IoU" for row in ROWS), "accuracy"):
        style = "--" if name == "accuracy" else "-"
        axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], style, marker="o", label=name)
    axes.set_xlabel("epoch")
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(picture)


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--draw", type=Path, nargs="+", metavar="RUN")
    arguments = parser.parse_args()
    one_thread()
    if arguments.draw:
        draw(arguments.draw, Path(__file__).with_name("emergence.png"))
    if arguments.runs:
        publish(table(arguments.data, arguments.runs), arguments.write)


if __name__ == "__main__":
    main()
