"""Candidates of views that were never of a photo."""

import numpy as np
import pytest

from cratecli.emergence.candidates import candidates, most_different
from cratecli.emergence.heads import agree, finest_tokens, token_features
from tests.support.views import COLS, HEADS, LAYERS, ROWS, blob, view

VIEWS = [view(blob(6, 11), seed) for seed in range(2)]
FEATURES = token_features(finest_tokens(VIEWS))


def test_every_map_and_their_mean_is_a_candidate() -> None:
    found = candidates(VIEWS, FEATURES)
    assert found.maps.shape == (2 * LAYERS * HEADS + 1, ROWS * COLS)
    together = agree(VIEWS)
    np.testing.assert_allclose(found.saliency.log_attention, together.log_attention, atol=1e-4)
    np.testing.assert_allclose(found.saliency.scores, together.scores)
    assert found.agreement[-1] == pytest.approx(together.agreement)
    assert [tuple(each) for each in found.sources[: HEADS + 1]] == [
        *((0, head) for head in range(HEADS)),
        (1, 0),
    ]


def test_votes_become_shares_of_layers_and_heads() -> None:
    found = candidates(VIEWS, FEATURES)
    votes = np.zeros(len(found.maps))
    votes[[HEADS + 2, -1]] = 0.75, 0.25  # of the first view, layer 1 and head 2; of all together
    shares = found.shares(votes)
    assert shares.sum() == pytest.approx(1)
    assert shares[1, 2] == pytest.approx(0.75 + 0.25 * found.saliency.shares[1, 2])


def test_many_maps_are_pruned_to_those_that_differ() -> None:
    found = candidates(VIEWS, FEATURES, most=5)
    assert len(found.maps) == len(found.agreement) == 6
    assert found.shares(np.full(6, 1 / 6)).sum() == pytest.approx(1)
    np.testing.assert_allclose(found.saliency.scores, agree(VIEWS).scores)  # of all, not of those kept


def test_of_copies_one_is_kept() -> None:
    maps = np.array([[1.0, 0, 0, 0], [2, 0, 0, 0], [0, 1, 0, 0], [1, 0.01, 0, 0], [0, 0, 3, 0]])
    scores = np.array([0.1, 0.9, 0, 0, 0])
    np.testing.assert_array_equal(most_different(maps, scores, 3), [1, 2, 4])
    np.testing.assert_array_equal(most_different(maps, scores, 9), range(5))


def test_constant_maps_can_be_pruned() -> None:
    kept = most_different(np.ones((4, 6)), np.zeros(4), 2)
    assert len(set(kept)) == 2
