"""How fast and how lean the forward pass is, against a literal reading of the equations.

    python benchmarks/speed.py --write benchmarks/speed.md

CRATE-B/8 with 6 heads and random weights, up to the class token's attention in the penultimate layer. The
literal pass takes three matrix products for ISTA and holds `softmax(w wᵀ)` whole; layer, stopping point and
threads are the same. Times are ratios of interleaved pairs in one process; memory is the peak resident size of
a fresh process, over what it was before the pass.
"""

from collections.abc import Callable
from multiprocessing import get_context

import torch
from literal import attend, sparsify
from measure import peak_memory, ratio, timed
from models import torch_and_threads, untrained
from page import command_line, publish, table_header, table_row
from torch import Tensor

from cratecli.model.config import ARCHITECTURES
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox

CONFIG = ARCHITECTURES["crate_base_demo_patch8_224"]
LAYER = 10  # the penultimate one
SIDE, LARGE = 480, 960  # px
PAIRS = 5


def photo(side: int, dtype: torch.dtype) -> Tensor:
    """Make an input of `side` × `side` px."""
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)


@torch.inference_mode()
def ours(model: WhiteBox, image: Tensor) -> Tensor:
    """Run the project's own pass."""
    return next(state for state in model.unroll(image) if state.index == LAYER).class_attention()


@torch.inference_mode()
def literal(model: Crate, image: Tensor) -> Tensor:
    """Run the equations as they are written."""
    tokens = next(model.unroll(image)).tokens
    for index, layer in enumerate(model.layers):
        weights, compressed = attend(layer, tokens)
        if index == LAYER:
            return weights[:, :, 0, 1:].float()
        tokens = sparsify(layer, tokens + compressed)
    raise ValueError(f"no layer {LAYER}")


def times_faster(slow: Callable[[], Tensor], fast: Callable[[], Tensor]) -> str:
    """Write the ratio of interleaved pairs, after one of each to warm up."""
    slow(), fast()
    pairs = [(timed(slow).clock, timed(fast).clock) for _ in range(PAIRS)]
    return f"{ratio(*zip(*pairs, strict=True)):.2f}"


def _peak(way: str, side: int) -> tuple[float, float]:
    model, image = untrained(CONFIG), photo(side, torch.float32)
    ours(model, photo(64, torch.float32))  # what any first pass costs
    before = peak_memory()
    {"ours": ours, "literal": literal}[way](model, image)
    return peak_memory() - before, peak_memory()


def peak(way: str, side: int) -> tuple[float, float]:
    """Measure in a fresh process: MB that the pass adds to the peak, and the peak itself."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (way, side))


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    # First of all: a process inherits the peak of the one that starts it.
    our_memory, literal_memory, large = (
        peak("ours", SIDE)[0],
        peak("literal", SIDE)[0],
        peak("ours", LARGE)[1],
    )
    single, half = untrained(CONFIG), untrained(CONFIG, dtype=torch.bfloat16)
    image, rough = photo(SIDE, torch.float32), photo(SIDE, torch.bfloat16)
    exact, found, low = literal(single, image), ours(single, image), ours(half, rough)
    by_equations, in_float32 = lambda: literal(single, image), lambda: ours(single, image)
    memory = f"{our_memory / max(literal_memory, 1):.2f} ({our_memory:.0f} of {literal_memory:.0f} MB)"
    largest = "as a share of the largest attention"
    lines = [
        table_header(f"CRATE-B/8, 6 heads, {SIDE} × {SIDE}, CPU, {torch_and_threads()}", ""),
        table_row("literal / ours, float32, time", times_faster(by_equations, in_float32)),
        table_row("ours float32 / ours bfloat16, time", times_faster(in_float32, lambda: ours(half, rough))),
        table_row("ours / literal, float32, extra memory", memory),
        table_row(f"largest error of ours, float32, {largest}", f"{error(found, exact):.1e}"),
        table_row(f"largest error of ours, bfloat16, {largest}", f"{error(low, exact):.1e}"),
        table_row(f"whole process at {LARGE} × {LARGE}, float32, peak", f"{large / 1024:.2f} GB"),
    ]
    publish(lines, arguments.write)


def error(found: Tensor, exact: Tensor) -> float:
    """Give the largest difference, as a share of the largest value."""
    return float((found - exact).abs().max() / exact.max())


if __name__ == "__main__":
    main()
