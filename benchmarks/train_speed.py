"""How many images a second a training step takes, against a literal reading of the equations.

    python benchmarks/train_speed.py --write benchmarks/train_speed.md

The built-in model's recipe, CPU, loss, gradients and AdamW; images are in memory. The literal step takes ISTA's three
matrix products a token, holds `softmax(w wᵀ)` whole, and updates one tensor after the other. Ours folds ISTA into
one matrix a step, attends without the map, and updates all tensors at once. Rates are ratios of interleaved pairs in
one process. bfloat16 is autocast's: weights stay float32; it is fast where the CPU multiplies in it.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from page import command_line, publish
from torch import Tensor, nn

from cratecli.model.blocks import split_heads
from cratecli.model.config import ARCHITECTURES
from cratecli.model.crate import Crate
from cratecli.training.recipe import read_recipe
from cratecli.training.step import ModelWithLoss, make_optimizer

BATCH, PAIRS = 256, 7

Step = Callable[[], float]


class Literal(nn.Module):
    """A model with its loss, by the equations as they are written."""

    def __init__(self, model: Crate) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give the loss."""
        model = self.model
        mean, std = (torch.tensor(each)[:, None, None] for each in (model.mean, model.std))
        tokens = next(model.unroll((images / 255 - mean) / std)).tokens
        for layer in model.layers:
            attention: Any = layer.attention
            ista: Any = layer.sparsifier
            w = split_heads(attention.subspaces(attention.norm(tokens)), attention.heads)
            weights = (w @ w.transpose(-1, -2) * w.shape[-1] ** -0.5).softmax(dim=-1)
            tokens = tokens + attention.output((weights @ w).transpose(1, 2).flatten(2))
            x, dictionary = ista.norm(tokens), ista.dictionary
            gradient = x @ dictionary - (x @ dictionary.T) @ dictionary
            tokens = torch.relu(x + ista.step_size * gradient - ista.step_size * ista.sparsity_weight)
        logits = model.forward_head(model.norm(tokens))
        return nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)


def make_step(
    forward: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    *given: Tensor | None,
    bfloat16: bool = False,
) -> Step:
    """Make a step that gives its loss."""

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = forward(*given)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def ways() -> dict[str, Step]:
    """Make every way to take a step, all from the same weights, on the same images."""
    recipe = read_recipe("nano")
    config = ARCHITECTURES["crate_nano_patch8_64"]
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, 64, 64), generator=random, dtype=torch.uint8)
    targets = torch.randint(0, config.classes, (BATCH,), generator=random)
    half = torch.rand(BATCH, 64, generator=random).topk(32).indices

    def model() -> Crate:
        torch.manual_seed(0)
        return Crate(config).train()

    steps = {}
    one = Literal(model())
    plain = torch.optim.AdamW(
        one.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False
    )
    steps["literal"] = make_step(one, plain, images.float(), targets)
    for name, kept in (("ours", None), ("ours, half the patches dropped", half)):
        ours = ModelWithLoss(model(), recipe.label_smoothing)
        steps[name] = make_step(ours, make_optimizer(ours.model, recipe), images, targets, kept)
    ours = ModelWithLoss(model(), recipe.label_smoothing)
    optimizer = make_optimizer(ours.model, recipe)
    steps["ours, bfloat16"] = make_step(ours, optimizer, images, targets, None, bfloat16=True)
    two = Literal(model())
    other = torch.optim.AdamW(
        two.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False
    )
    steps["literal, compiled"] = make_step(torch.compile(two), other, images.float(), targets)
    ours = ModelWithLoss(model(), recipe.label_smoothing)
    optimizer = make_optimizer(ours.model, recipe)
    steps["ours, compiled"] = make_step(torch.compile(ours), optimizer, images, targets, None)
    return steps


def seconds(step: Step) -> float:
    """Time one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    steps = ways()
    losses = {name: step() for name, step in steps.items()}
    if abs(losses["literal"] - losses["ours"]) > 1e-3:
        raise ValueError(f"the steps differ: {losses}")
    times = [{name: seconds(step) for name, step in steps.items()} for _ in range(PAIRS + 1)][1:]
    names = f"torch {torch.__version__.partition('+')[0]}, {torch.get_num_threads()} threads"
    lines = [
        f"| a step of {BATCH} images of 64 px, CPU, {names} | images/s, over the literal step's |",
        "|---|---:|",
    ]
    for name in steps:
        share = statistics.median(turn["literal"] / turn[name] for turn in times)
        lines.append(f"| {name} | {share:.2f} |")
    publish(lines, arguments.write)


if __name__ == "__main__":
    main()
