"""The best map by truth is found among those of all heads, layers and views."""

import numpy as np
import pytest

from cratecli.emergence.features import View
from cratecli.emergence.oracle import best_maps
from cratecli.emergence.rules import Keep


def view(attention: np.ndarray) -> View:
    layers = len(attention)
    tokens = np.zeros((layers, *attention.shape[2:], 3), np.float32)
    return View(attention.astype(np.float32), tokens, np.zeros(layers), np.zeros(layers))


@pytest.mark.parametrize("scale", [1, 60])
def test_the_map_that_fits_is_first(scale: int) -> None:
    """Of a large truth it is found at a smaller size."""
    attention = np.full((2, 3, 4, 6), 0.01)
    truth = np.zeros((4, 6), bool)
    truth[1:3, 1:4] = True
    attention[1, 2][truth] = 0.1  # fits
    attention[0, 1, 1:3, 1:3] = 0.1  # nearly
    attention[1, 0, 0] = 0.1
    best = best_maps(
        [view(attention)], np.kron(truth, np.ones((8 * scale, 8 * scale))) > 0, Keep("value", 0.5), 2
    )
    assert len(best) == 2
    np.testing.assert_allclose(best[0], np.log(attention[1, 2] + 1e-8), rtol=1e-5)
    np.testing.assert_allclose(best[1], np.log(attention[0, 1] + 1e-8), rtol=1e-5)


def test_views_are_brought_to_the_finest_grid() -> None:
    coarse, fine = np.full((1, 1, 2, 3), 0.1), np.full((1, 1, 4, 6), 0.01)
    coarse[0, 0, 0, 0] = 0.9
    truth = np.zeros((32, 48), bool)
    truth[:16, :16] = True
    (best,) = best_maps([view(coarse), view(fine)], truth, Keep("value", 0.5), 1)
    assert best.shape == (4, 6)
    assert best[0, 0] > best[-1, -1]
