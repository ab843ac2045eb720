"""How many images a second a training step takes, against a literal reading of the equations.

    python benchmarks/train_speed.py --write benchmarks/train_speed.md

The built-in model's recipe, CPU, loss, gradients and AdamW; images are in memory. The literal step takes ISTA's three
matrix products a token, holds `softmax(w wᵀ)` whole, and updates one tensor after the other. Ours folds ISTA into
one matrix a step, attends without the map, and updates all tensors at once. Rates are ratios of interleaved pairs in
one process. bfloat16 is autocast's: weights stay float32; it is fast where the CPU multiplies in it.
"""

from collections.abc import Callable

import torch
from literal import attend, sparsify
from measure import ratio, timed
from models import torch_and_threads
from page import command_line, publish, table_header, table_row
from torch import Tensor, nn

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
        mean, std = (images.new_tensor(each)[:, None, None] for each in (model.mean, model.std))
        tokens = next(model.unroll((images / 255 - mean) / std)).tokens
        for layer in model.layers:
            tokens = sparsify(layer, tokens + attend(layer, tokens)[1])
        logits = model.forward_head(model.norm(tokens))
        return nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)


def make_step(
    forward: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    *given: Tensor | None,
    bfloat16: bool = False,
) -> Step:
    """Make a step that gives its loss."""
    device = next(tensor.device.type for tensor in given if tensor is not None)

    def step() -> float:
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            loss = forward(*given)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def ways(device: torch.device | None = None, batch: int | None = None) -> dict[str, Step]:
    """Make every way to take a step, all from the same weights, on the same images; on the CPU, unless said."""
    device, batch = device or torch.device("cpu"), batch or BATCH
    recipe = read_recipe("nano")
    config = ARCHITECTURES["crate_nano_patch8_64"]
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, 64, 64), generator=random, dtype=torch.uint8).to(device)
    targets = torch.randint(0, config.classes, (batch,), generator=random).to(device)
    half = torch.rand(batch, 64, generator=random).topk(32).indices.to(device)

    def model() -> Crate:
        torch.manual_seed(0)
        return Crate(config).train().to(device)

    def literal(*, compiled: bool = False) -> Step:
        module = Literal(model())
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False
        )
        return make_step(torch.compile(module) if compiled else module, optimizer, images.float(), targets)

    def ours(kept: Tensor | None = None, *, bfloat16: bool = False, compiled: bool = False) -> Step:
        module = ModelWithLoss(model(), recipe.label_smoothing).to(device)
        optimizer = make_optimizer(module.model, recipe)
        forward = torch.compile(module) if compiled else module
        return make_step(forward, optimizer, images, targets, kept, bfloat16=bfloat16)

    return {
        "literal": literal(),
        "ours": ours(),
        "ours, half the patches dropped": ours(half),
        "ours, bfloat16": ours(bfloat16=True),
        "literal, compiled": literal(compiled=True),
        "ours, compiled": ours(compiled=True),
    }


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    steps = ways()
    losses = {name: step() for name, step in steps.items()}
    if abs(losses["literal"] - losses["ours"]) > 1e-3:
        raise ValueError(f"the steps differ: {losses}")
    turns = [[timed(step).clock for step in steps.values()] for _ in range(PAIRS + 1)][1:]
    times = dict(zip(steps, zip(*turns, strict=True), strict=True))
    what = f"a step of {BATCH} images of 64 px, CPU, {torch_and_threads()}"
    rows = [table_row(name, f"{ratio(times['literal'], times[name]):.2f}") for name in steps]
    publish([table_header(what, "images/s, over the literal step's"), *rows], arguments.write)


if __name__ == "__main__":
    main()
