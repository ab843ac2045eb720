"""What a mask head learns, step by step, by what a frozen model saw: the true masks of composites.

A share of the pictures are the photos themselves, with the teacher's masks, each counted by how sure the teacher is.
What the head reads of them are votes that may be wrong, so that it learns to mend a vote, not to copy it.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cratecli.geometry import Grid
from cratecli.model.engine import WeightsId
from cratecli.model.head_inputs import VOTE, HeadInputs
from cratecli.model.mask_head import HeadTensors, MaskHead
from cratecli.training.batches import ALONE, Share
from cratecli.training.head_recipe import HeadRecipe
from cratecli.training.lesson import InTraining
from cratecli.training.material import Material
from cratecli.training.pool import OPINIONS, Pool, Window, widen
from cratecli.training.records import Conditions, HeadOpeningRow
from cratecli.training.setup import versions
from cratecli.weights.mask_heads import store_head

PHOTOS, COMPOSITES = "photos", "composites"
"""Kinds of pictures in a pool."""
SURE = 0.03  # how far from 0 and 1 targets stay
_SOFT, _COARSE = 0.5, 0.4  # weights of the soft IoU and of the grid's cross-entropy in the loss
_BRIGHTNESS, _TINT, _GREY = 0.4, 0.15, 0.1  # of the photos that the head sees; the share that is grey
_WHOLE, _LEAST, _FEWEST = (
    0.3,
    0.6,
    7,
)  # steps whose pictures are not cut; sides of a window, in parts, and patches
_UNTOLD, _NO_FRAME, _RIGHT = (
    0.25,
    0.25,
    0.6,
)  # pictures without a vote; of others, the chooser's without the frame


class HeadBatch(NamedTuple):
    """What the head sees of pictures, their masks, and how much each counts, over 0 to 1."""

    inputs: HeadInputs
    masks: Float[np.ndarray, "b half_height half_width"]
    weights: Float[np.ndarray, " b"]


class HeadWithLoss(nn.Module):
    """A mask head with its loss: cross-entropy at both sizes, and the soft IoU."""

    def __init__(self, head: MaskHead) -> None:
        """Wrap a head."""
        super().__init__()
        self.head = head

    def forward(
        self,
        inputs: HeadTensors,
        masks: Float[Tensor, "b 1 half_height half_width"],
        weights: Float[Tensor, " b"],
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
    model: WeightsId | None
    pool: Pool
    material: Material
    identity: str
    share: Share = ALONE
    workers: int = 0

    @cached_property
    def _pictures(self) -> dict[str, dict[Grid, np.ndarray]]:
        return {kind: self.pool.read(kind) for kind in (PHOTOS, COMPOSITES)}

    @property
    def steps_per_epoch(self) -> int:
        """Count the steps that show as many pictures as there are."""
        pictures = sum(len(each) for kind in self._pictures.values() for each in kind.values())
        return max(1, round(pictures / self.recipe.batch_size))

    @property
    def steps(self) -> int:
        """Count the steps of the whole run."""
        return max(1, round(self.recipe.epochs * self.steps_per_epoch))

    def network(self) -> MaskHead:
        """Make the network that is trained: what it reads of tokens are their principal components."""
        projection = self.pool.projection
        channels = projection.tokens.shape[1], projection.fine_tokens.shape[1]
        return MaskHead(self.pool.config, channels=channels)

    def opening(self, parameters: int, conditions: Conditions) -> HeadOpeningRow:
        """Make the first row of metrics."""
        return HeadOpeningRow(
            recipe=self.recipe,
            model=self.model,
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
        """Yield the pictures of each step, which are its own, of one kind and frame."""
        for step in steps:
            random = np.random.default_rng([self.recipe.seed, step])
            kind = PHOTOS if random.random() < self.recipe.photos else COMPOSITES
            frames = self._pictures[kind] or self._pictures[{PHOTOS: COMPOSITES, COMPOSITES: PHOTOS}[kind]]
            counts = np.array([len(each) for each in frames.values()], float)
            grid, pictures = list(frames.items())[random.choice(len(frames), p=counts / counts.sum())]
            chosen = [
                pictures[place] for place in random.integers(len(pictures), size=self.recipe.batch_size)
            ]
            windows = _windows(grid, len(chosen), random)
            votes = [_vote(random, composite=kind == COMPOSITES) for _ in chosen]
            inputs = widen(chosen, votes, windows)
            masks = [window.cut(each["mask"], VOTE) for each, window in zip(chosen, windows, strict=True)]
            yield HeadBatch(
                inputs._replace(photo=recoloured(inputs.photo, random)),
                np.stack(masks) / np.float32(255),
                np.array([each["weight"] for each in chosen], np.float32),
            )

    def loss(
        self, forward: Callable[..., Tensor], batch: HeadBatch, step: int, device: torch.device
    ) -> Tensor:
        """Give a batch's loss."""
        del step
        how = torch.channels_last
        inputs = HeadTensors(
            *(torch.from_numpy(each).to(device).contiguous(memory_format=how) for each in batch.inputs)
        )
        masks, weights = (torch.from_numpy(each).to(device) for each in batch[1:])
        return forward(inputs, masks[:, None], weights)

    def measures(self, trained: InTraining, accelerator: Accelerator, *, first: bool) -> dict[str, float]:
        """Measure nothing: no photo has a true mask."""
        del trained, accelerator, first
        return {}

    def watched(self, trained: InTraining) -> MaskHead:
        """Copy the averaged head, for inference."""
        head = MaskHead(self.pool.config)
        head.load_state_dict(self._unprojected(trained))
        return head.requires_grad_(False).float().eval()

    def store(self, path: Path, trained: InTraining) -> str:
        """Write the head, and give its SHA-256."""
        return store_head(path, self.pool.config, self._unprojected(trained), self.recipe.stored)

    def _unprojected(self, trained: InTraining) -> dict[str, Tensor]:
        """Give the weights of a head that reads tokens themselves, not their components."""
        weights = {name: each.float().cpu() for name, each in trained.averaged.state_dict().items()}
        for name in ("tokens", "fine_tokens"):
            basis = torch.from_numpy(getattr(self.pool.projection, name))
            weights[f"{name}.weight"] = (weights[f"{name}.weight"][..., 0, 0] @ basis.T)[..., None, None]
        return weights


def _windows(grid: Grid, count: int, random: np.random.Generator) -> list[Window]:
    """Draw windows of one size at random, maybe mirrored."""
    rows, cols = grid
    if random.random() >= _WHOLE:
        rows, cols = (
            int(random.integers(min(side, max(_FEWEST, round(_LEAST * side))), side + 1)) for side in grid
        )
    return [
        Window(
            int(random.integers(grid.rows - rows + 1)),
            int(random.integers(grid.cols - cols + 1)),
            rows,
            cols,
            mirrored=bool(random.random() < 0.5),
        )
        for _ in range(count)
    ]


def _vote(random: np.random.Generator, *, composite: bool) -> int | None:
    """Draw which of a picture's votes the head is told; of photos, whose mask is the vote, only what may be wrong."""
    if random.random() < _UNTOLD:
        return None
    if random.random() < _NO_FRAME:
        return 1
    if composite and random.random() < _RIGHT:
        return 0
    return int(random.integers(2, OPINIONS))


def recoloured(
    photos: Float[np.ndarray, "b 3 h w"], random: np.random.Generator
) -> Float[np.ndarray, "b 3 h w"]:
    """Change brightness and tint of photos, and make some grey, at random."""
    count = (len(photos), 1, 1, 1)
    scale = 1 + random.uniform(-_BRIGHTNESS, _BRIGHTNESS, count)
    tint = random.uniform(-_TINT, _TINT, (len(photos), 3, 1, 1))
    changed = photos * scale + tint
    grey = random.random(count) < _GREY
    return np.where(grey, changed.mean(axis=1, keepdims=True), changed).astype(np.float32)
