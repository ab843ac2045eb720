"""How fast and how lean the forward pass is, against a literal reading of the equations.

    python benchmarks/speed.py --write benchmarks/speed.md

CRATE-B/8 with 6 heads and random weights, up to the class token's attention in the penultimate layer. The
literal pass takes three matrix products for ISTA and holds `softmax(w wᵀ)` whole; layer, stopping point and
threads are the same. Times are ratios of interleaved pairs in one process; memory is the peak resident size of
a fresh process, over what it was before the pass.
"""

import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context

import torch
from literal import attend, sparsify
from page import command_line, publish
from torch import Tensor

from cratecli.model.config import ARCHITECTURES
from cratecli.model.crate import Crate

LAYER = 10  # the penultimate one
SIDE, LARGE = 480, 960  # px
PAIRS = 5


def build(dtype: torch.dtype) -> Crate:
    """Make the model; the seed makes every process's the same."""
    torch.manual_seed(0)
    model = Crate(ARCHITECTURES["crate_base_demo_patch8_224"]).requires_grad_(False).to(dtype)
    return model.fold()


def photo(side: int, dtype: torch.dtype) -> Tensor:
    """Make an input of `side` × `side` px."""
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)


@torch.inference_mode()
def ours(model: Crate, image: Tensor) -> Tensor:
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


def seconds(run: Callable[[], Tensor]) -> float:
    """Time one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(slow: Callable[[], Tensor], fast: Callable[[], Tensor]) -> float:
    """Take the median of the ratios of interleaved pairs, after one of each to warm up."""
    slow(), fast()
    return statistics.median(seconds(slow) / seconds(fast) for _ in range(PAIRS))


def _peak(way: str, side: int, dtype: torch.dtype) -> tuple[float, float]:
    model, image = build(dtype), photo(side, dtype)
    ours(model, photo(64, dtype))  # what any first pass costs
    before = _peak_mb()
    {"ours": ours, "literal": literal}[way](model, image)
    return _peak_mb() - before, _peak_mb()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak(way: str, side: int, dtype: torch.dtype) -> tuple[float, float]:
    """Measure in a fresh process: MB that the pass adds to the peak, and the peak itself."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (way, side, dtype))


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    # First of all: a process inherits the peak of the one that starts it.
    single_memory, literal_memory = peak("ours", SIDE, torch.float32), peak("literal", SIDE, torch.float32)
    large = peak("ours", LARGE, torch.float32)
    single, half = build(torch.float32), build(torch.bfloat16)
    image, rough = photo(SIDE, torch.float32), photo(SIDE, torch.bfloat16)
    exact, found, low = literal(single, image), ours(single, image), ours(half, rough)
    names = f"torch {torch.__version__.partition('+')[0]}, {torch.get_num_threads()} threads"
    lines = [
        f"| CRATE-B/8, 6 heads, {SIDE} × {SIDE}, CPU, {names} | |",
        "|---|---:|",
        f"| literal / ours, float32, time | {ratio(lambda: literal(single, image), lambda: ours(single, image)):.2f} |",
        f"| ours float32 / ours bfloat16, time | {ratio(lambda: ours(single, image), lambda: ours(half, rough)):.2f} |",
        f"| ours / literal, float32, extra memory | {single_memory[0] / max(literal_memory[0], 1):.2f} "
        f"({single_memory[0]:.0f} of {literal_memory[0]:.0f} MB) |",
        f"| largest error of ours, float32, as a share of the largest attention | {error(found, exact):.1e} |",
        f"| largest error of ours, bfloat16, as a share of the largest attention | {error(low, exact):.1e} |",
        f"| whole process at {LARGE} × {LARGE}, float32, peak | {large[1] / 1024:.2f} GB |",
    ]
    publish(lines, arguments.write)


def error(found: Tensor, exact: Tensor) -> float:
    """Give the largest difference, as a share of the largest value."""
    return float((found - exact).abs().max() / exact.max())


if __name__ == "__main__":
    main()
