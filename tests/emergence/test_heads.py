"""Several heads see a blob, others see noise: the blob must win, wherever it is."""

from dataclasses import replace

import numpy as np
import pytest

from cratecli.emergence.features import View
from cratecli.emergence.heads import (
    SHARPNESS,
    TEMPERATURE,
    Saliency,
    agree,
    agreement,
    diffuse,
    fixed,
    log_maps,
    mean_attention,
)
from cratecli.emergence.masks import iou, scale, threshold
from cratecli.emergence.rules import Keep
from tests.support.views import COLS, HEADS, LAYERS, ROWS, SEEING, blob, view


def found(saliency: Saliency) -> np.ndarray:
    log_attention = saliency.log_attention
    return np.asarray(scale(log_attention) >= threshold(log_attention, Keep("otsu")))


def uniform(value: float = 1 / (ROWS * COLS)) -> View:
    attention = np.full((LAYERS, HEADS, ROWS, COLS), value, np.float32)
    return View(attention, np.ones((LAYERS, ROWS, COLS, 8), np.float32), *np.zeros((2, LAYERS)))


@pytest.mark.parametrize("seed", range(5))
def test_heads_that_agree_win(seed: int) -> None:
    truth = blob(6, 11)
    saliency = agree([view(truth, seed), view(truth, seed + 100)])
    others = [head for head in range(HEADS) if head not in SEEING]
    assert saliency.scores.shape == (LAYERS, HEADS)
    assert saliency.scores[:, SEEING].min() > saliency.scores[:, others].max() + 0.1
    assert set(saliency.chosen) == set(SEEING)
    assert iou(found(saliency), truth) > 0.8


PLACES = [(4, 4), (4, 19), (13, 4), (13, 19), (9, 12), (4, 12), (9, 4)]  # corners, middle, edges


@pytest.mark.parametrize("seed", range(3))
def test_place_does_not_matter(seed: int) -> None:
    """All that is seen is rolled together: corners, edges and the middle are found alike."""
    home = 9, 12
    views = [view(blob(*home), seed), view(blob(*home), seed + 100)]
    scores = {}
    for place in PLACES:
        by = place[0] - home[0], place[1] - home[1]
        moved = [
            replace(
                v, attention=np.roll(v.attention, by, axis=(2, 3)), tokens=np.roll(v.tokens, by, axis=(1, 2))
            )
            for v in views
        ]
        scores[place] = iou(found(agree(moved)), blob(*place))
    assert min(scores.values()) > 0.8
    assert scores[home] - min(scores.values()) < 0.1


def test_views_of_other_sizes_are_brought_together() -> None:
    """The same blob on a grid half as fine: the answer is on the finest."""
    truth = blob(8, 13, radius=5)
    fine = view(truth, 0)
    coarse = view(truth.reshape(ROWS // 2, 2, COLS // 2, 2).mean(axis=(1, 3)) > 0.5, 1)
    for views in ([fine, coarse], [coarse, fine]):
        saliency = agree(views)
        assert saliency.log_attention.shape == (ROWS, COLS)
        assert iou(found(saliency), truth) > 0.8


def test_one_view_is_enough() -> None:
    truth = blob(6, 11)
    assert iou(found(agree([view(truth, 0)])), truth) > 0.75


@pytest.mark.parametrize("saliency", [agree([uniform()]), fixed([uniform()], [0, 2])])
def test_constant_maps_give_no_nan(saliency: Saliency) -> None:
    for values in (saliency.log_attention, saliency.scores, np.array(saliency.agreement)):
        assert np.isfinite(values).all()
    assert not scale(saliency.log_attention).any()


def test_a_head_that_attends_to_one_patch_gives_no_nan() -> None:
    peaked = uniform(0.0)
    peaked.attention[:, :, 2, 3] = 1
    for saliency in (agree([peaked]), fixed([peaked], [0])):
        assert np.isfinite(saliency.log_attention).all()
        assert np.isfinite(saliency.scores).all()


def test_agreement_of_hand_made_maps() -> None:
    pattern = np.tile([1.0, -1.0], 8)
    other = np.repeat([1.0, -1.0], 8)
    np.testing.assert_allclose(agreement(np.stack([pattern, 3 * pattern])), [1, 1], atol=1e-6)
    scores = agreement(np.stack([pattern, pattern, pattern, other]))
    assert scores[:3].min() > 0.95
    assert abs(scores[3]) < 0.3
    assert agreement(np.stack([pattern, pattern, pattern, -pattern]))[3] == pytest.approx(-1)
    assert agreement(np.zeros((3, 16))).tolist() == [0, 0, 0]


def test_fixed_of_one_view_is_the_plain_mean() -> None:
    seen = view(blob(6, 11), 0)
    saliency = fixed([seen], [1, 4])
    mean = seen.attention[:, [1, 4]].mean(axis=(0, 1))
    np.testing.assert_allclose(np.exp(saliency.log_attention), mean / mean.sum(), rtol=1e-4)
    assert saliency.chosen == (1, 4)


def test_fixed_of_two_views_is_the_mean_of_both() -> None:
    views = [view(blob(6, 11), seed) for seed in (0, 1)]
    together = np.exp(fixed(views, [0]).log_attention)
    apart = [np.exp(fixed([seen], [0]).log_attention) for seen in views]
    np.testing.assert_allclose(together, np.mean(apart, axis=0), rtol=1e-4)


def test_fixed_knows_its_heads() -> None:
    for absent in (HEADS, -1):
        with pytest.raises(ValueError, match=f"head {absent} of a model with 6 heads, 0 to 5"):
            fixed([uniform()], [0, absent])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_the_weights_written_out(count: int) -> None:
    """A map weighs the cube of its agreement, none if that is negative; a head's share adds up its views."""
    views = [view(blob(6, 11), seed) for seed in range(count)]
    saliency = agree(views)
    scores = agreement(log_maps(views).reshape(-1, ROWS * COLS)).reshape(count, LAYERS, HEADS)
    weights = np.array([[[max(s, 0) ** SHARPNESS for s in heads] for heads in layer] for layer in scores])
    np.testing.assert_allclose(saliency.shares, weights.sum(axis=0) / weights.sum(), rtol=1e-6)
    assert saliency.shares.sum() == pytest.approx(1)
    heads = saliency.shares.sum(axis=0)
    assert saliency.chosen == tuple(head for head in range(HEADS) if heads[head] >= 1 / HEADS)


def test_a_head_that_disagrees_has_no_share() -> None:
    against = view(blob(6, 11), 0)
    for head in (1, 3, 4):
        against.attention[0, head] = against.attention[0, 1]
    against.attention[1, 0] = 0.01 / against.attention[0, 1]
    shares = agree([against]).shares
    assert shares[1, 0] == 0
    assert shares[0, [1, 3, 4]].min() > 1 / (LAYERS * HEADS)


def test_shares_of_named_heads_are_even() -> None:
    shares = fixed([view(blob(6, 11), 0)], [4, 1, 1]).shares
    expected = np.zeros((LAYERS, HEADS))
    expected[:, [1, 4]] = 1 / (2 * LAYERS)
    np.testing.assert_allclose(shares, expected)


def test_shares_of_maps_that_say_nothing_are_even() -> None:
    np.testing.assert_allclose(agree([uniform(), uniform()]).shares, 1 / (LAYERS * HEADS))


def test_mean_attention_by_hand() -> None:
    """Each view's map is first brought to a sum of 1, so that a view that pays patches little still counts."""
    first, second = uniform(), uniform(1e-3)
    first.attention[:] = 0
    first.attention[0, 2, 5, 7] = 0.25
    first.attention[1, :, 5, 8] = 0.5
    second.attention[1, 3, 0, 0] = 1 - 1e-3 * (ROWS * COLS - 1)
    for views in ([first, second], [second, first]):
        maps = mean_attention(views)
        assert maps.shape == (LAYERS, HEADS, ROWS, COLS)
        np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1, rtol=1e-5)
        even = 0.5 / (ROWS * COLS)
        assert maps[0, 2, 5, 7] == pytest.approx(0.5 + even, rel=1e-4)
        assert maps[0, 2, 5, 8] == pytest.approx(even, rel=1e-4)
        assert maps[1, 0, 5, 8] == pytest.approx(0.5 + even, rel=1e-4)
        assert maps[1, 3, 5, 8] == pytest.approx(0.5 + 0.5e-3, rel=1e-4)
        assert maps[1, 3, 0, 0] == pytest.approx(0.5 * second.attention[1, 3, 0, 0], rel=1e-4)


def thinned(seen: View) -> View:
    """Keep every second row and column of patches, from the second row and the first column."""
    attention, tokens = seen.attention[:, :, 1::2, ::2], seen.tokens[:, 1::2, ::2]
    return replace(seen, attention=np.ascontiguousarray(attention), tokens=np.ascontiguousarray(tokens))


def test_mean_attention_is_on_the_finest_grid() -> None:
    """Two grids see one ramp; bicubic interpolation keeps it a ramp, and a corner a corner."""
    fine, coarse = uniform(), thinned(uniform())
    ramp = np.linspace(1, 2, COLS, dtype=np.float32)
    fine.attention[:] = ramp / ramp.sum() / ROWS
    halved = ramp.reshape(-1, 2).mean(axis=1)
    coarse.attention[:] = 0.1 * halved / halved.sum()
    for views in ([fine, coarse], [coarse, fine], [coarse, fine, coarse]):
        maps = mean_attention(views)
        assert maps.shape == fine.attention.shape
        np.testing.assert_allclose(maps, fine.attention, rtol=0.02)


def test_mean_attention_is_never_negative() -> None:
    """Bicubic interpolation overshoots beside a peak: attention does not."""
    peaked = uniform(0.0)
    peaked.attention[:, :, 9, 12] = 1
    maps = mean_attention([thinned(peaked), uniform(0.0)])
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1, rtol=1e-5)
    assert np.unravel_index(maps[0, 0].argmax(), (ROWS, COLS)) in [(8, 12), (8, 13), (9, 12), (9, 13)]


def test_diffuse_is_the_dense_formula() -> None:
    """Over so many patches that it is taken in several blocks."""
    random = np.random.default_rng(0)
    tokens = random.normal(0, 1, (2, 2500, 6)).astype(np.float32)
    grid_map = random.normal(0, 1, 2500).astype(np.float32)
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    cosine = np.einsum("lmd,lnd->mn", unit, unit) / 2
    affinity = np.exp((cosine - 1) / TEMPERATURE)
    expected = affinity @ grid_map / affinity.sum(axis=1)
    np.testing.assert_allclose(diffuse(grid_map, tokens), expected, atol=1e-4)


def test_diffuse_keeps_a_constant_and_parts_what_differs() -> None:
    tokens = np.zeros((1, 6, 3), np.float32)
    tokens[0, :3, 0] = tokens[0, 3:, 1] = 1
    assert diffuse(np.full(6, 2.5, np.float32), tokens) == pytest.approx(2.5)
    spread = diffuse(np.array([0, 0, 3, 6, 0, 0], np.float32), tokens)
    np.testing.assert_allclose(spread, [1, 1, 1, 2, 2, 2], atol=1e-3)


def test_nothing_is_written_into_the_views() -> None:
    seen = view(blob(6, 11), 0)
    before = replace(seen, attention=seen.attention.copy(), tokens=seen.tokens.copy())
    agree([seen])
    fixed([seen], [0])
    np.testing.assert_array_equal(seen.attention, before.attention)
    np.testing.assert_array_equal(seen.tokens, before.tokens)
