"""Passes raced for `gpu.py`: class attention against the equations and a ViT, and compiled against as it is."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import cast

import timm
import torch
from gpu_bench import FORMATS, Bench, Run, why
from models import untrained
from page import table_header, table_row
from speed import LAYER, error, literal, ours
from torch import Tensor

from cratecli.model.config import CrateConfig
from cratecli.model.vit import TimmViT, UnrolledViT

SECONDS = 90  # that the race takes at most
HOLDS = 0.3  # of the matrix rate is what a pass is reckoned to reach, when there is little time left


def like(config: CrateConfig) -> UnrolledViT:
    """Make timm's ViT of the same sizes, with random weights and fused attention."""
    vit = timm.create_model(
        "vit_base_patch8_224",
        pretrained=False,
        dynamic_img_size=True,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        img_size=config.image_size,
        num_classes=0,
    )
    return UnrolledViT(cast(TimmViT, vit)).eval().requires_grad_(False)


def work(config: CrateConfig, side: int, batch: int) -> int:
    """Count the FLOP of a pass up to the class token's attention: those of matrix products, by the equations."""
    d, patches = config.width, (side // config.patch_size) ** 2
    n = patches + 1
    whole_layer = 6 * n * d**2 + 4 * n**2 * d  # subspaces, output, ISTA; scores and their mix
    return batch * (6 * patches * config.patch_size**2 * d + LAYER * whole_layer + 2 * n * d**2)


def attention(bench: Bench) -> Iterator[str]:
    """Race the class token's attention against the equations as they are written, and against a ViT."""
    config, sizes = bench.sizes.config, bench.sizes
    until = min(bench.until, time.monotonic() + SECONDS)
    names = ["ms", "peak, MB", "literal / ours, time", "memory", "ViT / ours, time", "memory"]
    yield table_header("px", "batch", "format", *names, "TFLOP/s", "of the matrix rate", text=3)
    for dtype, word in FORMATS.items():
        model = untrained(config, dtype=dtype).to(bench.device)
        vit = like(config).to(bench.device, dtype)
        for side, batch in product(sizes.sides, sizes.batches):
            needed = work(config, side, batch)
            if time.monotonic() + 10 * needed / (HOLDS * bench.rates[dtype]) > until:
                yield table_row(side, batch, word, "no time left", *["–"] * 7)
                continue
            images = torch.randn(batch, 3, side, side, device=bench.device).to(dtype)
            ways: dict[str, Run] = {
                "ours": partial(ours, model, images),
                "literal": partial(literal, model, images),
                "ViT": partial(ours, vit, images),
            }
            race = bench.race(ways)
            cells = [race.reasons.get("ours") or race.milliseconds("ours"), race.memory("ours")]
            for way in ("literal", "ViT"):
                cells += [race.over(way, "ours"), race.memory_over(way, "ours")]
            rate = needed / statistics.median(race.times["ours"]) if "ours" in race.times else 0.0
            cells += [f"{rate / 1e12:.2f}", f"{rate / bench.rates[dtype]:.0%}"]
            yield table_row(side, batch, word, *cells)


def graphed(bench: Bench, run: Callable[[Tensor], Tensor], images: Tensor) -> Run:
    """Record a pass as a CUDA graph, to be played again: the host no longer launches each kernel."""
    aside = torch.cuda.Stream(bench.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(bench.device))
    with torch.cuda.stream(aside):
        for _ in range(3):
            run(images)
    torch.cuda.current_stream(bench.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(images)
    return graph.replay


def compiled(bench: Bench) -> Iterator[str]:
    """Race the pass as it is against itself compiled, and recorded as a CUDA graph."""
    named = {"`torch.compile`": "compiled", "CUDA graph": "graph", "both": "both"}
    yield table_header("as it is / so, time", "batch", *named, "compiled differs by")
    if not bench.sizes.compiles:
        yield table_row("not tried", *["–"] * 5)
        return
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    model, side = untrained(bench.sizes.config, dtype=dtype).to(bench.device), bench.sizes.sides[0]

    def plain(images: Tensor) -> Tensor:
        return ours(model, images)

    def fast(images: Tensor, mode: str = "default") -> Run:
        return partial(torch.compile(plain, mode=mode), images)

    for batch in bench.sizes.batches[:2]:
        images = torch.randn(batch, 3, side, side, device=bench.device).to(dtype)
        tries: dict[str, Callable[[], Run]] = {"compiled": partial(fast, images)}
        if bench.cuda:
            tries["graph"] = partial(graphed, bench, plain, images)
            tries["both"] = partial(fast, images, mode="reduce-overhead")
        ways: dict[str, Run] = {"as it is": partial(plain, images)}
        reasons = dict[str, str]()
        for name, make in tries.items():
            try:
                ways[name] = make()
            except Exception as failure:
                reasons[name] = why(failure)
        race = bench.race(ways, spared=tries)
        race.reasons |= reasons
        apart = "–"
        if "compiled" in race.times:
            apart = f"{error(cast(Tensor, ways['compiled']()), plain(images)):.1e}"
        gains = (race.over("as it is", name) for name in named.values())
        yield table_row(f"{side} px", batch, *gains, apart)
