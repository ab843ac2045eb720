"""What a mask head reads of a photo, of the model's views of it and of their vote. Imports no torch."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import WeightsError
from cratecli.geometry import Grid, Size
from cratecli.model.head_inputs import CELL, FINE, VOTE, HeadInputs, MaskHeadConfig

Vote = Float[np.ndarray, "vote_height vote_width"]
"""A soft mask, 0–1, of any size beside the photo's."""

_MOST = 4  # channels that OpenCV resizes at once, quickly


def head_inputs(photo: RGB, views: Sequence[View], vote: Vote | None, config: MaskHeadConfig) -> HeadInputs:
    """Gather what a head reads of one photo, seen at the head's sizes; without a `vote` (0–1) it reads zeros.

    Tokens are L2-normalised layer by layer and scaled by the root of their width: variance one. Log-attention has mean
    zero over patches. Raises `WeightsError` for a head that reads other tokens than the model has.
    """
    own, finest = views[config.place], views[config.finest]
    if own.tokens.shape[-1] != config.token_width:
        raise WeightsError(
            f"a mask head reads tokens of {config.token_width} channels: the model's have {own.tokens.shape[-1]}"
        )
    grid = own.grid
    twice = Grid(FINE * grid.rows, FINE * grid.cols)
    maps = [resized(_log_attention(views[place]), grid) for place in config.coarse]
    return HeadInputs(
        photo=fitted(photo, grid),
        vote=fitted_vote(vote, grid),
        tokens=scaled_tokens(own),
        maps=np.concatenate(maps),
        fine_tokens=resized(scaled_tokens(finest), twice),
        fine_maps=resized(_log_attention(finest), twice),
    )


def scaled_tokens(view: View) -> Float[np.ndarray, "channels rows cols"]:
    """Give unit tokens of all layers, scaled to variance one."""
    rows, cols = view.grid
    unit = view.unit_tokens().reshape(rows * cols, -1) * np.float32(np.sqrt(view.tokens.shape[-1]))
    return np.asarray(cv2.transpose(unit)).reshape(-1, rows, cols)  # several times as fast as NumPy's copy


def _log_attention(view: View) -> Float[np.ndarray, "maps rows cols"]:
    logs = np.log(view.attention + 1e-8).reshape(-1, *view.grid)
    return np.asarray(logs - logs.mean(axis=(1, 2), keepdims=True), np.float32)


def resized(channels: Float[np.ndarray, "c rows cols"], grid: Grid) -> Float[np.ndarray, "c rows2 cols2"]:
    """Resample channels bilinearly to another grid."""
    if channels.shape[1:] == tuple(grid):
        return channels
    parts = [
        cv2.resize(
            np.ascontiguousarray(np.moveaxis(channels[start : start + _MOST], 0, -1)), (grid.cols, grid.rows)
        )
        for start in range(0, len(channels), _MOST)
    ]
    return np.concatenate([np.atleast_3d(part) for part in parts], axis=-1).transpose(2, 0, 1)


def fitted(photo: RGB, grid: Grid) -> Float[np.ndarray, "3 fitted_height fitted_width"]:
    """Fit a photo to a grid, `CELL` px a patch; 0–1 less a half."""
    small = resampled(photo, Size(*grid.pixels(CELL)))
    return np.asarray(small.transpose(2, 0, 1).astype(np.float32) / 255 - 0.5)


def fitted_vote(vote: Vote | None, grid: Grid) -> Float[np.ndarray, "1 half_height half_width"]:
    """Fit a vote to a grid, `VOTE` px a patch, −1 to 1; none is zeros."""
    size = Size(*grid.pixels(VOTE))
    if vote is None:
        return np.zeros((1, *size), np.float32)
    return np.asarray(2 * resampled(vote.astype(np.float32), size)[None] - 1, np.float32)


def resampled(picture: np.ndarray, size: Size) -> np.ndarray:
    """Resample a picture to a size, px: by areas where it shrinks, else bilinearly."""
    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture
    how = cv2.INTER_AREA if height * width > size.height * size.width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size.width, size.height), interpolation=how))
