"""Whether `--heads auto`, whose weights were learned with one model, chooses masks of other models too.

    python benchmarks/transfer.py DATA MODEL... --write benchmarks/transfer.md

DATA holds `ecssd200` and `horses40` (folders `images`, `masks`); a MODEL is a name, a checkpoint file, or a folder
that `crate train` left. Every model has its own default layers; sizes are 64, 96 and 192 px. IoU is that of the masks
of `crate segment`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from models import one_thread, untrained
from page import command_line, publish, table_header, table_row

from cratecli import evaluate_saliency, load_model
from cratecli.evaluation.options import SaliencyOptions
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox
from training import SETS

SIZES = [64, 96, 192]
WAYS: dict[str, SaliencyOptions] = {
    "agree": {"heads": "agree", "refine": "none"},
    "auto, without the frame": {"heads": "auto", "frame": False, "head": "none"},
    "auto": {"heads": "auto", "head": "none"},
}


def named(model: str) -> tuple[str, WhiteBox]:
    """Load a model, by its name, file or run; the name of a run is its folder's."""
    run = Path(model)
    return run.stem, load_model(run / "model.safetensors" if run.is_dir() else model)


def cells(model: WhiteBox, data: Path) -> Iterator[str]:
    """Measure each set, all ways in a cell."""
    for folder, off_centre in SETS.values():
        measure = partial(
            evaluate_saliency, data / folder, model, off_centre=off_centre, sizes=SIZES, resamples=0
        )
        yield " / ".join(f"{measure(**asked).rows[0]['IoU']:.3f}" for asked in WAYS.values())


def table(data: Path, models: Sequence[str]) -> Iterator[str]:
    """Write a row for every model, and one for random weights of the first."""
    yield table_header("model", "attention", "sparsifier", *SETS, text=3)
    loaded = [named(each) for each in models]
    if isinstance(first := loaded[0][1], Crate):
        loaded.append(("random weights", untrained(first.config)))
    for name, model in loaded:
        config = getattr(model, "config", None)
        blocks = (config.attention.upper(), config.sparsifier.upper()) if config else ("MHSA", "MLP")
        yield table_row(name, *blocks, *cells(model, data))


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    one_thread()
    publish(table(arguments.data, arguments.models), arguments.write)


if __name__ == "__main__":
    main()
