"""What a run needs before its first step: the plan, the model with its optimiser, and the state it is resumed from."""

from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from cratecli.errors import UsageError
from cratecli.model.crate import Crate
from cratecli.model.engine import WeightsId
from cratecli.training.batches import Share, augmentation, steps_per_epoch, training_batches
from cratecli.training.folder import RunFolder, RunState
from cratecli.training.lesson import InTraining, Lesson
from cratecli.training.loader import Batch
from cratecli.training.recipe import TrainRecipe
from cratecli.training.records import Conditions, OpeningRow
from cratecli.training.sources import OpenedDataset
from cratecli.training.step import (
    BatchAugmentation,
    ModelWithLoss,
    accuracy,
    make_optimizer,
    make_schedule,
)
from cratecli.training.watch import Watch
from cratecli.weights.store import store_model

_EMA_RISE = 9  # after t updates the average remembers t / (t + 9), until its decay is reached


@dataclass(frozen=True, eq=False)
class RunPlan:
    """A lesson of classes: what a run trains on, by which recipe, and in how many steps.

    `workers` are processes that read images; `init` names the model that is fine-tuned.
    """

    data: OpenedDataset
    validation: OpenedDataset | None
    recipe: TrainRecipe
    share: Share
    workers: int
    steps_per_epoch: int
    steps: int
    init: WeightsId | None = None

    @property
    def identity(self) -> str:
        """Give the SHA-256 of the training data's names and sizes."""
        return self.data.identity

    @cached_property
    def _augmentation(self) -> BatchAugmentation:
        return BatchAugmentation(self.recipe, self.steps, self.steps_per_epoch, self.share)

    def opening(self, parameters: int, conditions: Conditions) -> OpeningRow:
        """Make the first row of metrics."""
        return OpeningRow(
            recipe=self.recipe,
            left_out=self.data.left_out,
            images=self.data.images,
            classes=self.recipe.model.classes,
            data=self.data.identity,
            init=self.init,
            parameters=parameters,
            steps=self.steps,
            versions=versions(),
            **conditions.model_dump(),
        )

    def batches(self, steps: range) -> Generator[Batch]:
        """Yield the batch of each step."""
        return training_batches(self.data, self.recipe, steps, workers=self.workers, share=self.share)

    def loss(self, forward: Callable[..., Tensor], batch: Batch, step: int, device: torch.device) -> Tensor:
        """Give the loss of a batch, augmented as its step says."""
        images, targets = (each.to(device, non_blocking=True) for each in batch)
        kept = self._augmentation.kept_patches(step, len(images))
        images, targets = self._augmentation.mix(step, (images, targets))
        return forward(images, targets, None if kept is None else kept.to(device))

    def measures(self, trained: InTraining, accelerator: Accelerator, *, first: bool) -> dict[str, float]:
        """Measure accuracy where there is a validation split."""
        if not self.validation:
            return {}
        model = self.watched(trained)
        return accuracy(model, self.validation, self.recipe, accelerator, workers=self.workers, log=first)

    def watched(self, trained: InTraining) -> Crate:
        """Copy the averaged model, for inference."""
        model: Crate = deepcopy(trained.averaged)  # type: ignore[assignment]
        return model.requires_grad_(False).float().fold()

    def store(self, path: Path, trained: InTraining) -> str:
        """Write the checkpoint, and give its SHA-256."""
        weights, recipe = trained.averaged.state_dict(), self.recipe
        return store_model(path, recipe.model, weights, labels=self.data.labels, dtype=recipe.stored)


def versions() -> dict[str, str]:
    """Give the versions of what decides the weights."""
    return {name: metadata.version(name) for name in ("cratecli", "torch", "timm", "accelerate")}


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
    plan: Lesson, folder: RunFolder, conditions: Conditions, watch: Watch, *, writes: bool
) -> RunState:
    """Load the state of a run.

    Says what makes the weights other than those of a run that was not interrupted. Raises what `RunFolder.load` and
    `RunState.check` raise.
    """
    state = folder.load(writes=writes)
    state.check(plan.recipe, plan.identity)
    for name, now in conditions.model_dump().items():
        if (before := state.conditions[name]) != now and writes:
            watch.on_note(f"resumed with {name} {now}, not {before}: not the bits of an unbroken run")
    return state


def build_model(
    plan: RunPlan, init: Crate | None, state: RunState | None, accelerator: Accelerator, *, compiled: bool
) -> InTraining:
    """Build a model with random weights, those of `init`, or those of the state that is resumed."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    model = _fine_tuned(init, recipe) if init else Crate(recipe.model)
    if state:
        model.load_state_dict(state.model)
    smoothing = 0.0 if recipe.mixup or recipe.cutmix else recipe.label_smoothing  # mixed targets are smoothed
    loss = ModelWithLoss(model, smoothing).to(accelerator.device)
    return prepare(plan, model, loss, state, accelerator, compiled=compiled)


def prepare(
    plan: Lesson,
    network: nn.Module,
    loss: nn.Module,
    state: RunState | None,
    accelerator: Accelerator,
    *,
    compiled: bool,
) -> InTraining:
    """Give a network its optimiser, schedule and moving average; `loss` is the network with its loss."""
    recipe, ema = plan.recipe, None
    if recipe.ema:
        ema = ModelEmaV3(network, decay=recipe.ema, use_warmup=True, warmup_gamma=_EMA_RISE, warmup_power=1.0)
    optimizer = make_optimizer(network, recipe)
    schedule = make_schedule(optimizer, recipe, plan.steps, plan.steps_per_epoch)
    forward, prepared = accelerator.prepare(loss, optimizer)
    loss.train()
    if state:
        optimizer.load_state_dict(state.optimizer)
        if ema and state.ema:
            ema.module.load_state_dict(state.ema)
    return InTraining(network, loss, torch.compile(forward) if compiled else forward, prepared, schedule, ema)


def _fine_tuned(init: Crate, recipe: TrainRecipe) -> Crate:
    """Copy a model, with a new classifier where the number of classes differs."""
    model = deepcopy(init).float()
    if model.image_size != recipe.model.image_size:
        model.reset_image_size(recipe.model.image_size)
    if model.config.classes != recipe.model.classes:
        model.reset_classifier(recipe.model.classes)
    return model.requires_grad_(True)
