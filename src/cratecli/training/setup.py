"""What a run needs before its first step: the plan, the model with its optimiser, and the state it is resumed from."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor

from cratecli.errors import UsageError
from cratecli.model.crate import Crate
from cratecli.training.batches import Share, augmentation, steps_per_epoch
from cratecli.training.folder import RunFolder, RunState
from cratecli.training.recipe import TrainRecipe
from cratecli.training.records import Conditions
from cratecli.training.sources import OpenedDataset
from cratecli.training.step import ModelWithLoss, make_optimizer, make_schedule
from cratecli.training.watch import Watch

_EMA_RISE = 9  # after t updates the average remembers t / (t + 9), until its decay is reached


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What a run trains on, by which recipe, and in how many steps; `workers` are processes that read images."""

    data: OpenedDataset
    validation: OpenedDataset | None
    recipe: TrainRecipe
    share: Share
    workers: int
    steps_per_epoch: int
    steps: int


def plan_run(
    data: OpenedDataset, validation: OpenedDataset | None, recipe: TrainRecipe, share: Share, workers: int
) -> RunPlan:
    """Count the steps of a run. Raises `UsageError` for a recipe that does not suit the data or the processes."""
    if recipe.batch_size % share.ranks:
        raise UsageError(f"a batch of {recipe.batch_size} cannot be shared by {share.ranks} processes")
    if (recipe.mixup or recipe.cutmix) and recipe.batch_size // share.ranks % 2:
        raise UsageError("mixup and cutmix pair the images of a process: their number must be even")
    if recipe.model.classes < 2:
        raise UsageError("one class alone leaves nothing to tell apart: classes are folders of photos")
    if data.streamed:  # always by processes of their own, as timm's shuffling outlives an epoch in this one
        most = data.shards // share.ranks if data.shards else workers
        workers = max(1, min(workers, most))
    augmentation(recipe, training=True)  # refuses an unknown `auto_augment` before anything is written
    per_epoch = steps_per_epoch(data, recipe)
    steps = max(1, round(recipe.epochs * per_epoch))
    return RunPlan(data, validation, recipe, share, workers, per_epoch, steps)


def conditions_here(accelerator: Accelerator, *, compiled: bool) -> Conditions:
    """Give the conditions that this process trains under."""
    return Conditions(
        dtype=accelerator.mixed_precision,
        compiled=compiled,
        device=accelerator.device.type,
        processes=accelerator.num_processes,
        threads=torch.get_num_threads(),
    )


def load_state(
    plan: RunPlan, folder: RunFolder, conditions: Conditions, watch: Watch, *, writes: bool
) -> tuple[RunPlan, RunState]:
    """Load the state of a run, and the plan with the workers that a stream was read by.

    Says what makes the weights other than those of a run that was not interrupted. Raises what `RunFolder.load` and
    `RunState.check` raise.
    """
    state = folder.load(writes=writes)
    state.check(plan.recipe, plan.data.identity)
    for name, now in conditions.model_dump().items():
        if (before := state.conditions[name]) != now and writes:
            watch.on_note(f"resumed with {name} {now}, not {before}: not the bits of an unbroken run")
    return (replace(plan, workers=state.workers) if plan.data.streamed else plan), state


@dataclass(frozen=True, eq=False)
class ModelInTraining:
    """A model with its loss, optimiser, schedule of the learning rate, and moving average.

    `forward` gives the loss: `loss` itself, prepared for the device and the processes, and compiled where asked for.
    """

    loss: ModelWithLoss
    forward: Callable[..., Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    ema: ModelEmaV3 | None

    @property
    def learning_rate(self) -> float:
        """Give the learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def averaged(self) -> Crate:
        """Give the model with averaged weights, or the model itself without a moving average."""
        model: Crate = self.ema.module if self.ema else self.loss.model
        return model

    def for_inference(self) -> Crate:
        """Copy the averaged model, to be measured."""
        return deepcopy(self.averaged).requires_grad_(False).float().fold()

    def finite(self) -> bool:
        """Tell whether all weights are finite numbers."""
        return all(bool(each.isfinite().all()) for each in self.loss.parameters())

    def state_dicts(self) -> dict[str, Any]:
        """Give the state dicts of a `RunState`."""
        return {
            "model": self.loss.model.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
        }


def build_model(
    plan: RunPlan, init: Crate | None, state: RunState | None, accelerator: Accelerator, *, compiled: bool
) -> ModelInTraining:
    """Build a model with random weights, those of `init`, or those of the state that is resumed."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    model = _fine_tuned(init, recipe) if init else Crate(recipe.model)
    if state:
        model.load_state_dict(state.model)
    smoothing = 0.0 if recipe.mixup or recipe.cutmix else recipe.label_smoothing  # mixed targets are smoothed
    loss = ModelWithLoss(model, smoothing).to(accelerator.device)
    ema = None
    if recipe.ema:
        ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True, warmup_gamma=_EMA_RISE, warmup_power=1.0)
    optimizer = make_optimizer(model, recipe)
    schedule = make_schedule(optimizer, recipe, plan.steps, plan.steps_per_epoch)
    forward, prepared = accelerator.prepare(loss, optimizer)
    loss.train()
    if state:
        optimizer.load_state_dict(state.optimizer)
        if ema and state.ema:
            ema.module.load_state_dict(state.ema)
    return ModelInTraining(loss, torch.compile(forward) if compiled else forward, prepared, schedule, ema)


def _fine_tuned(init: Crate, recipe: TrainRecipe) -> Crate:
    """Copy a model, with a new classifier where the number of classes differs."""
    model = deepcopy(init).float()
    if model.image_size != recipe.model.image_size:
        model.reset_image_size(recipe.model.image_size)
    if model.config.classes != recipe.model.classes:
        model.reset_classifier(recipe.model.classes)
    return model.requires_grad_(True)
