"""What a mask head learns, step by step, by the features of the frozen model: the true masks of composites.

A share of the pictures are the photos themselves, with the teacher's masks, each counted by the teacher's consensus.
"""

from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.emergence.mask_head import head_inputs
from cratecli.emergence.observe import observe
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.io import images
from cratecli.model.mask_head import CELL, HeadInputs, MaskHead, MaskHeadConfig
from cratecli.model.unroll import WhiteBox
from cratecli.training.batches import ALONE, Share
from cratecli.training.composites import TaughtPicture, compose, show
from cratecli.training.head_recipe import HeadRecipe
from cratecli.training.lesson import InTraining
from cratecli.training.material import Material
from cratecli.training.records import Conditions, HeadOpeningRow
from cratecli.training.setup import versions
from cratecli.weights.mask_heads import store_head

ASPECTS = (Size(3, 4), Size(4, 3), Size(1, 1), Size(2, 3))  # of the frames of steps, in turn
SURE = 0.03  # how far from 0 and 1 targets stay
_SOFT, _COARSE = 0.5, 0.4  # weights of the soft IoU and of the grid's cross-entropy in the loss
_BRIGHTNESS, _TINT, _GREY = 0.4, 0.15, 0.1  # of the photos that the head sees; the share that is grey


class HeadBatch(NamedTuple):
    """What the head sees of pictures, their masks, and how much each counts, over 0 to 1."""

    inputs: HeadInputs
    masks: Bool[np.ndarray, "b height width"]
    weights: Float[np.ndarray, " b"]


class HeadWithLoss(nn.Module):
    """A mask head with its loss: cross-entropy at both sizes, and the soft IoU."""

    def __init__(self, head: MaskHead) -> None:
        """Wrap a head."""
        super().__init__()
        self.head = head

    def forward(
        self, inputs: HeadInputs, masks: Float[Tensor, "b 1 height width"], weights: Float[Tensor, " b"]
    ) -> Float[Tensor, ""]:
        """Give the weighted mean loss of a batch whose masks are 0–1 (soft IoU: 1 − Σ p m / Σ (p + m − p m))."""
        logits = self.head(inputs)
        fine, coarse = (
            functional.adaptive_avg_pool2d(masks, each.shape[-2:])[:, 0]
            for each in (logits.fine, logits.coarse)
        )
        drawn = logits.fine.float().sigmoid()
        shared = (drawn * fine).sum(dim=(1, 2))
        joined = (drawn + fine).sum(dim=(1, 2)) - shared
        soft_iou = 1 - (shared + 1) / (joined + 1)
        each = _entropy(logits.fine, fine) + _SOFT * soft_iou + _COARSE * _entropy(logits.coarse, coarse)
        loss: Tensor = (weights * each).sum() / weights.sum()
        return loss


def _entropy(logits: Tensor, targets: Tensor) -> Float[Tensor, " b"]:
    """Average a picture's cross-entropy."""
    kept_off = SURE + (1 - 2 * SURE) * targets
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), kept_off, reduction="none")
    return entropy.mean(dim=(1, 2))


@dataclass(frozen=True, eq=False)
class HeadLesson:
    """A lesson of composites and photos for a head of a frozen model; see `training.lesson.Lesson`."""

    recipe: HeadRecipe
    model: WhiteBox
    config: MaskHeadConfig
    material: Material
    identity: str
    share: Share = ALONE
    workers: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Count the steps that show as many pictures as there are sure objects."""
        return max(1, round(len(self.material.objects) / self.recipe.batch_size))

    @property
    def steps(self) -> int:
        """Count the steps of the whole run."""
        return max(1, round(self.recipe.epochs * self.steps_per_epoch))

    def opening(self, parameters: int, conditions: Conditions) -> HeadOpeningRow:
        """Make the first row of metrics."""
        return HeadOpeningRow(
            recipe=self.recipe,
            model=self.model.weights,
            photos=self.material.photos,
            objects=len(self.material.objects),
            grounds=len(self.material.grounds),
            data=self.identity,
            parameters=parameters,
            steps=self.steps,
            versions=versions(),
            **conditions.model_dump(),
        )

    def batches(self, steps: range) -> Generator[HeadBatch]:
        """Yield the pictures of each step, which are its own, of one frame, with what the model sees of them."""
        size, patch = self.recipe.size, self.model.patch_size
        for step in steps:
            grid = fit_grid(ASPECTS[step % len(ASPECTS)], size, patch)
            frame, first = grid.pixels(max(CELL, patch)), step * self.recipe.batch_size
            made = [self._picture(frame, number) for number in range(first, first + self.recipe.batch_size)]
            photos = [each.rgb for each in made]
            seen = self.recipe.reads != "photo"
            views = self._views(photos, grid, mirrored=step % 2 == 1) if seen else self._blank(grid)
            inputs = head_inputs(photos, views * (1 if seen else len(photos)))
            coloured = inputs._replace(photo=recoloured(inputs.photo, self.recipe.seed, step))
            weights = np.array([each.consensus for each in made], np.float32)
            yield HeadBatch(coloured, np.stack([each.mask for each in made]), weights)

    def _picture(self, frame: Size, number: int) -> TaughtPicture:
        """Make picture `number`: a window of a photo that was taught, or a composite, whose mask is certain."""
        seed, material = self.recipe.seed, self.material
        if np.random.default_rng([seed, number, 1]).random() < self.recipe.photos and material.taught:
            return show(material.taught, frame, seed=seed, number=number)
        composite = compose(material.objects, material.grounds, frame, seed=seed, number=number)
        return TaughtPicture(composite.rgb, composite.mask, 1.0)

    def _views(self, photos: list[RGB], grid: Grid, *, mirrored: bool) -> list[View]:
        model, patch = self.model, self.model.patch_size
        parameter = next(model.parameters())
        fitted = np.stack([images.fit(photo, grid, patch, model.mean, model.std) for photo in photos])
        batch = torch.from_numpy(fitted).to(parameter.device, parameter.dtype)
        return observe(model, batch, self.config.layers, mirrored=mirrored)

    def _blank(self, grid: Grid) -> list[View]:
        """Give one view of nothing, for a head that reads none."""
        layers, nothing = len(self.config.layers), np.zeros(len(self.config.layers), np.float32)
        attention = np.zeros((layers, self.config.heads, *grid), np.float32)
        tokens = np.zeros((layers, *grid, self.config.token_width), np.float32)
        return [View(attention, tokens, nothing, nothing)]

    def loss(
        self, forward: Callable[..., Tensor], batch: HeadBatch, step: int, device: torch.device
    ) -> Tensor:
        """Give a batch's loss."""
        del step
        how = torch.channels_last
        inputs = HeadInputs(*(each.to(device).contiguous(memory_format=how) for each in batch.inputs))
        masks, weights = (torch.from_numpy(each).float().to(device) for each in batch[1:])
        return forward(inputs, masks[:, None], weights)

    def measures(self, trained: InTraining, accelerator: Accelerator, *, first: bool) -> dict[str, float]:
        """Measure nothing: no photo has a true mask."""
        del trained, accelerator, first
        return {}

    def watched(self, trained: InTraining) -> MaskHead:
        """Copy the averaged head, for inference."""
        head: MaskHead = deepcopy(trained.averaged)  # type: ignore[assignment]
        return head.requires_grad_(False).float().eval()

    def store(self, path: Path, trained: InTraining) -> str:
        """Write the head, and give its SHA-256."""
        return store_head(path, self.config, trained.averaged.state_dict(), self.recipe.stored)


def recoloured(photos: Float[Tensor, "b 3 h w"], seed: int, step: int) -> Float[Tensor, "b 3 h w"]:
    """Change brightness and tint of a step's photos, and make some grey, at random, seeded by the step."""
    random = np.random.default_rng([seed, step, 1])
    count = (len(photos), 1, 1, 1)
    scale = 1 + torch.from_numpy(random.uniform(-_BRIGHTNESS, _BRIGHTNESS, count)).float()
    tint = torch.from_numpy(random.uniform(-_TINT, _TINT, (len(photos), 3, 1, 1))).float()
    grey = torch.from_numpy(random.random(count) < _GREY)
    changed = photos * scale + tint
    return torch.where(grey, changed.mean(dim=1, keepdim=True), changed)
