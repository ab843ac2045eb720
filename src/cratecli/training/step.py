"""One step of training: loss, optimiser, schedule, batch augmentation; and accuracy on a validation split."""

from math import ceil
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int, UInt8
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, PolyLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.nn import functional

from cratecli.errors import InputError
from cratecli.model.crate import Crate
from cratecli.training.batches import Share, seed_all, validation_batches
from cratecli.training.loader import Batch
from cratecli.training.recipe import LearningRecipe, TrainRecipe
from cratecli.training.sources import OpenedDataset

_RISE_FROM = 0.01  # of the peak learning rate, where the warm-up begins


class ModelWithLoss(nn.Module):
    """A model with its loss: cross-entropy over class labels, smoothed."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Crate, label_smoothing: float) -> None:
        """Wrap a model."""
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing
        self.register_buffer("mean", 255 * torch.tensor(model.mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(model.std)[:, None, None], persistent=False)

    def forward(
        self,
        images: UInt8[Tensor, "b 3 h w"] | Float[Tensor, "b 3 h w"],
        targets: Int[Tensor, " b"] | Float[Tensor, "b c"],
        kept: Int[Tensor, "b kept"] | None = None,
    ) -> Float[Tensor, ""]:
        """Give the mean loss of a batch in nats; images are 0–255, targets classes or their shares."""
        return functional.cross_entropy(
            self.logits(images, kept), targets, label_smoothing=self.label_smoothing
        )

    def logits(
        self,
        images: UInt8[Tensor, "b 3 h w"] | Float[Tensor, "b 3 h w"],
        kept: Int[Tensor, "b kept"] | None = None,
    ) -> Float[Tensor, "b c"]:
        """Give the class scores of images, 0–255."""
        scores: Tensor = self.model((images.float() - self.mean) / self.std, kept)
        return scores.float()


def make_optimizer(model: nn.Module, recipe: LearningRecipe) -> torch.optim.Optimizer:
    """Make timm's optimiser; biases, norms, class token and positions do not decay."""
    fused: dict[str, Any] = {"fused": True} if recipe.optimizer == "adamw" else {}
    return create_optimizer_v2(
        model, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, **fused
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: LearningRecipe, steps: int, per_epoch: int
) -> Scheduler:
    """Make timm's schedule over `steps`: the learning rate is a function of the step alone."""
    rise = min(steps // 2, round(recipe.warmup_epochs * per_epoch))
    shared: dict[str, Any] = {
        "warmup_t": rise,
        "warmup_lr_init": _RISE_FROM * recipe.learning_rate,
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    match recipe.schedule:
        case "cosine":
            return CosineLRScheduler(optimizer, t_initial=steps - rise, **shared)
        case "linear":
            return PolyLRScheduler(optimizer, t_initial=steps - rise, power=1.0, **shared)
        case "constant":
            return StepLRScheduler(optimizer, decay_t=steps + 1, decay_rate=1.0, **shared)


class BatchAugmentation:
    """Leaves out patches of a step's images and mixes images, at random, seeded by the number of the step."""

    def __init__(self, recipe: TrainRecipe, steps: int, per_epoch: int, share: Share) -> None:
        """Prepare for a run of `steps`, `per_epoch` of them an epoch, in one process of several."""
        self._recipe, self._share = recipe, share
        self._patches = (recipe.model.image_size // recipe.model.patch_size) ** 2
        self._kept = max(1, ceil(self._patches * (1 - recipe.drop_patches)))
        self._dropping_until = steps - round(recipe.full_epochs * per_epoch)
        self._mixup = None
        if recipe.mixup or recipe.cutmix:
            self._mixup = Mixup(  # type: ignore[no-untyped-call]
                mixup_alpha=recipe.mixup,
                cutmix_alpha=recipe.cutmix,
                label_smoothing=recipe.label_smoothing,
                num_classes=recipe.model.classes,
            )

    def kept_patches(self, step: int, images: int) -> Int[Tensor, "b kept"] | None:
        """Draw the patches of a step's images that are shown, `images` of them in this process; none is all of them."""
        if self._kept == self._patches or step >= self._dropping_until:
            return None
        generator = torch.Generator().manual_seed((self._recipe.seed << 32) + step)
        drawn = torch.rand(self._share.ranks * images, self._patches, generator=generator)
        return drawn[self._share.rank :: self._share.ranks].topk(self._kept).indices.sort().values

    def mix(self, step: int, batch: Batch) -> Batch:
        """Mix the images of a batch, if the recipe does; targets become shares of classes, 0–1."""
        if self._mixup is None:
            return batch
        seed_all(self._recipe.seed, step, self._share.rank)
        mixed: Batch = self._mixup(batch[0].float(), batch[1])
        return mixed


@torch.inference_mode()
def accuracy(
    model: Crate,
    data: OpenedDataset,
    recipe: TrainRecipe,
    accelerator: Accelerator,
    *,
    workers: int,
    log: bool = True,
) -> dict[str, float]:
    """Measure accuracy (0–1) and loss (nats) on a validation split, over all processes.

    An image that cannot be read is not counted, and logged with `log`. Raises `InputError` where none can be read.
    """
    device = accelerator.device
    classifier = ModelWithLoss(model, 0.0).to(device)
    share = Share(accelerator.process_index, accelerator.num_processes)
    right, loss, seen = 0.0, 0.0, 0.0
    for images, targets in validation_batches(data, recipe, workers=workers, share=share, log=log):
        truth = targets.to(device)
        logits = classifier.logits(images.to(device))
        right += float((logits.argmax(1) == truth).sum())
        loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
        seen += len(truth)
    if share.ranks > 1:
        right, loss, seen = accelerator.reduce(
            torch.tensor([right, loss, seen], device=device), "sum"
        ).tolist()
    if not seen:
        raise InputError("no image to validate on can be read")
    return {"accuracy": right / seen, "validation_loss": loss / seen}
