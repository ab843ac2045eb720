"""What a mask head reads: unit tokens of variance one, log-attention of mean zero, the photo at 8 px a patch."""

import numpy as np
import torch

from cratecli.emergence.features import View
from cratecli.emergence.mask_head import draw_soft, fitted, head_inputs
from cratecli.geometry import Grid
from cratecli.model.mask_head import MaskHead, MaskHeadConfig

RANDOM = np.random.default_rng(0)
NONE = np.full(2, np.nan, np.float32)
VIEW = View(
    RANDOM.random((2, 3, 4, 6)).astype(np.float32) / 24,
    RANDOM.normal(size=(2, 4, 6, 5)).astype(np.float32),
    NONE,
    NONE,
)
PHOTO = RANDOM.integers(0, 256, (32, 48, 3), np.uint8)


def test_what_is_read_has_the_scale_that_is_said() -> None:
    read = head_inputs([PHOTO], [VIEW])
    assert read.photo.shape == (1, 3, 32, 48)
    assert torch.equal(read.photo[0, 1], torch.from_numpy(PHOTO[..., 1].astype(np.float32) / 255 - 0.5))
    tokens = read.tokens.reshape(2, 5, 4, 6)  # layers, channels
    assert torch.allclose((tokens**2).mean(dim=1), torch.ones(2, 4, 6), atol=1e-5)
    expected = VIEW.tokens[1, 2, 3] / np.linalg.norm(VIEW.tokens[1, 2, 3]) * np.sqrt(5)
    assert np.allclose(tokens[1, :, 2, 3], expected, atol=1e-5)
    logs = np.log(VIEW.attention[1, 2] + 1e-8)
    assert np.allclose(read.maps[0, 1 * 3 + 2], logs - logs.mean(), atol=1e-5)


def test_a_photo_is_fitted_to_its_grid() -> None:
    white = np.full((9, 100, 3), 255, np.uint8)
    assert fitted(white, Grid(2, 3)).shape == (3, 16, 24)
    assert (fitted(white, Grid(2, 3)) == 0.5).all()


def test_a_head_draws_probabilities_at_half_the_size() -> None:
    head = MaskHead(MaskHeadConfig("0" * 64, layers=(0, 1), heads=3, token_width=5, width=32)).eval()
    drawn = draw_soft(head, PHOTO, VIEW)
    assert drawn.shape == (16, 24) and drawn.min() > 0 and drawn.max() < 1


def test_a_view_mirrored_twice_is_itself() -> None:
    once = VIEW.mirrored()
    assert np.array_equal(once.attention, VIEW.attention[..., ::-1])
    assert np.array_equal(once.tokens, VIEW.tokens[:, :, ::-1])
    assert np.array_equal(once.mirrored().tokens, VIEW.tokens)
