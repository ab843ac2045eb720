"""What a mask head reads of a view and its photo, and the soft map that it draws."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.geometry import Grid
from cratecli.model.mask_head import CELL, HeadInputs, MaskHead


def head_inputs(photos: Sequence[RGB], views: Sequence[View]) -> HeadInputs:
    """Gather what a head reads of photos, each with its view of the head's layers; all views lie on one grid.

    Tokens are L2-normalised layer by layer and scaled by the root of their width: variance one. Log-attention has mean
    zero over patches.
    """
    grid = views[0].grid
    tokens = np.stack([view.unit_tokens() for view in views]).transpose(0, 3, 1, 2)
    attention = np.log(np.stack([view.attention for view in views]) + 1e-8).reshape(len(views), -1, *grid)
    maps = attention - attention.mean(axis=(-2, -1), keepdims=True)
    scaled = tokens * np.sqrt(views[0].tokens.shape[-1])
    shown = np.stack([fitted(photo, grid) for photo in photos])
    plain = (np.ascontiguousarray(each, np.float32) for each in (shown, scaled, maps))
    return HeadInputs(*map(torch.from_numpy, plain))


def fitted(photo: RGB, grid: Grid) -> Float[np.ndarray, "3 fitted_height fitted_width"]:
    """Fit a photo to a grid, `CELL` px a patch; 0–1 less a half."""
    height, width = grid.pixels(CELL)
    how = cv2.INTER_AREA if photo.shape[0] * photo.shape[1] > height * width else cv2.INTER_LINEAR
    small = (
        photo if photo.shape[:2] == (height, width) else cv2.resize(photo, (width, height), interpolation=how)
    )
    return np.asarray(small.transpose(2, 0, 1).astype(np.float32) / 255 - 0.5)


def draw_soft(head: MaskHead, photo: RGB, view: View) -> Float[np.ndarray, "half_height half_width"]:
    """Let a head draw one photo's soft mask, 0–1, at half its size; 0.5 is the edge."""
    with torch.inference_mode():
        drawn: np.ndarray = torch.sigmoid(head(head_inputs([photo], [view])).fine[0]).numpy()
    return drawn
