"""What a mask head reads: unit tokens of variance one, log-attention of mean zero, the photo at 8 px a patch."""

import numpy as np

from cratecli.emergence.features import View
from cratecli.emergence.mask_head import fitted, fitted_vote, head_inputs, resized
from cratecli.geometry import Grid
from cratecli.model.head_inputs import MaskHeadConfig

RANDOM = np.random.default_rng(0)
NONE = np.full(2, np.nan, np.float32)


def view(rows: int, cols: int) -> View:
    attention = RANDOM.random((2, 3, rows, cols)).astype(np.float32) / (rows * cols)
    return View(attention, RANDOM.normal(size=(2, rows, cols, 5)).astype(np.float32), NONE, NONE)


SMALL, OWN, FINEST = view(2, 3), view(4, 6), view(8, 12)
PHOTO = RANDOM.integers(0, 256, (32, 48, 3), np.uint8)
CONFIG = MaskHeadConfig(
    "0" * 64, layers=(0, 1), heads=3, token_width=5, sizes=(16, 32, 64), size=32, width=32
)


def test_what_is_read_has_the_scale_that_is_said() -> None:
    vote = np.linspace(0, 1, 16 * 24, dtype=np.float32).reshape(16, 24)
    read = head_inputs(PHOTO, [SMALL, OWN, FINEST], vote, CONFIG)
    assert read.photo.shape == (3, 32, 48)
    assert np.array_equal(read.photo[1], PHOTO[..., 1].astype(np.float32) / 255 - np.float32(0.5))
    assert np.array_equal(read.vote, 2 * vote[None] - 1)
    tokens = read.tokens.reshape(2, 5, 4, 6)  # layers, channels
    assert np.allclose((tokens**2).mean(axis=1), 1, atol=1e-5)
    expected = OWN.tokens[1, 2, 3] / np.linalg.norm(OWN.tokens[1, 2, 3]) * np.sqrt(5)
    assert np.allclose(tokens[1, :, 2, 3], expected, atol=1e-5)
    assert np.allclose((read.fine_tokens.reshape(2, 5, 8, 12) ** 2).mean(axis=1), 1, atol=1e-5)
    logs = np.log(FINEST.attention[1, 2] + 1e-8)
    assert np.allclose(read.fine_maps[1 * 3 + 2], logs - logs.mean(), atol=1e-5)


def test_coarse_views_come_one_behind_the_other_on_the_patch_grid() -> None:
    read = head_inputs(PHOTO, [SMALL, OWN, FINEST], None, CONFIG)
    assert read.maps.shape == (2 * 2 * 3, 4, 6)
    logs = np.log(OWN.attention[0, 1] + 1e-8)
    assert np.allclose(read.maps[6 + 1], logs - logs.mean(), atol=1e-5)
    assert abs(read.maps[:6].mean()) < 0.05


def test_without_a_vote_zeros_are_read() -> None:
    read = head_inputs(PHOTO, [SMALL, OWN, FINEST], None, CONFIG)
    assert read.vote.shape == (1, 16, 24) and not read.vote.any()
    assert np.allclose(fitted_vote(np.ones((40, 90), np.float32), Grid(4, 6)), 1)


def test_channels_are_resampled_each_by_itself() -> None:
    channels = np.arange(11, dtype=np.float32)[:, None, None] + np.zeros((11, 4, 6), np.float32)
    larger = resized(channels, Grid(8, 12))
    assert larger.shape == (11, 8, 12) and np.allclose(larger, np.arange(11)[:, None, None])
    assert resized(channels, Grid(4, 6)) is channels
    ramp = np.tile(np.arange(6, dtype=np.float32), (1, 4, 1))
    assert np.allclose(resized(ramp, Grid(4, 12))[0, 0, 1:-1], np.arange(0.25, 5, 0.5))


def test_a_photo_is_fitted_to_its_grid() -> None:
    white = np.full((9, 100, 3), 255, np.uint8)
    assert fitted(white, Grid(2, 3)).shape == (3, 16, 24)
    assert (fitted(white, Grid(2, 3)) == 0.5).all()


def test_a_view_mirrored_twice_is_itself() -> None:
    once = OWN.mirrored()
    assert np.array_equal(once.attention, OWN.attention[..., ::-1])
    assert np.array_equal(once.tokens, OWN.tokens[:, :, ::-1])
    assert np.array_equal(once.mirrored().tokens, OWN.tokens)
