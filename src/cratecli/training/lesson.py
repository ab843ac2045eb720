"""What a training run learns, apart from how steps are taken, logged and resumed: its data, loss and checkpoint."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from cratecli.training.batches import Share
from cratecli.training.recipe import LearningRecipe
from cratecli.training.records import Conditions, OpenedRow


@dataclass(frozen=True, eq=False)
class InTraining:
    """A network with its loss, optimiser, schedule of the learning rate, and moving average.

    `forward` gives the loss: `loss` itself, prepared for the device and the processes, and compiled where asked for.
    """

    network: nn.Module
    loss: nn.Module
    forward: Callable[..., Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    ema: ModelEmaV3 | None

    @property
    def learning_rate(self) -> float:
        """Give the learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def averaged(self) -> nn.Module:
        """Give the network with averaged weights, or itself without a moving average."""
        network: nn.Module = self.ema.module if self.ema else self.network
        return network

    @property
    def parameters(self) -> int:
        """Count the weights that are trained."""
        return sum(each.numel() for each in self.loss.parameters())

    def finite(self) -> bool:
        """Tell whether all weights are finite numbers."""
        return all(bool(each.isfinite().all()) for each in self.loss.parameters())

    def state_dicts(self) -> dict[str, Any]:
        """Give the state dicts of a `RunState`."""
        return {
            "model": self.network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
        }


class Lesson(Protocol):
    """What a run learns, in how many `steps`, by which recipe; `identity` is its data's SHA-256, in hexadecimal."""

    @property
    def recipe(self) -> LearningRecipe:
        """Give the recipe."""

    @property
    def identity(self) -> str:
        """Give the SHA-256 of what is learned from."""

    @property
    def share(self) -> Share:
        """Give this process's number of all."""

    @property
    def workers(self) -> int:
        """Count the processes that read images."""

    @property
    def steps(self) -> int:
        """Count the steps of the whole run."""

    @property
    def steps_per_epoch(self) -> int:
        """Count the steps of a pass over the data."""

    def opening(self, parameters: int, conditions: Conditions) -> OpenedRow:
        """Make the first row of metrics."""

    def batches(self, steps: range) -> Generator[Any]:
        """Yield the batch of each step; it hangs on the step's number alone."""

    def loss(self, forward: Callable[..., Tensor], batch: Any, step: int, device: torch.device) -> Tensor:
        """Give a batch's loss, by a network's `forward`."""

    def measures(self, trained: InTraining, accelerator: Accelerator, *, first: bool) -> dict[str, float]:
        """Measure the network on data that are held out, where there are some."""

    def watched(self, trained: InTraining) -> Any:
        """Copy the averaged network, to be measured by who watches."""

    def store(self, path: Path, trained: InTraining) -> str:
        """Write the checkpoint, and give its SHA-256."""
