"""A sample of what passes: fair, bounded, and the same in any order."""

from collections.abc import Sequence

import numpy as np
import pytest

from cratecli.emergence.sample import Sample, keys_of


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("size", [1, 7, 100, 500])
@pytest.mark.parametrize("groups", [[100], [1] * 100, [0, 60, 0, 40], [33, 67]])
def test_a_sample_is_the_rows_with_the_smallest_keys(size: int, groups: Sequence[int]) -> None:
    keys, rows = np.random.default_rng(0).random(100), noise(100, 3)
    expected = rows[np.argsort(keys)[:size]]
    for order in (np.arange(100), np.arange(100)[::-1], np.random.default_rng(1).permutation(100)):
        sample = Sample(size)
        for chosen in np.split(order, np.cumsum(groups)[:-1]):
            sample.add(keys[chosen], rows[chosen])
            assert len(sample.rows) <= size
        np.testing.assert_array_equal(sample.rows, expected)


def test_a_sample_of_equal_keys_does_not_ask_who_came_first() -> None:
    keys, rows = np.repeat([0.3, 0.1], 4), noise(8, 2)
    samples = []
    for order in (np.arange(8), np.arange(8)[::-1]):
        sample = Sample(6)
        for index in order:
            sample.add(keys[[index]], rows[[index]])
        samples.append(sample.rows)
    np.testing.assert_array_equal(samples[0], samples[1])


def test_a_sample_keeps_no_more_than_it_was_asked_for() -> None:
    """What it holds is no view of all that has passed, either."""
    sample = Sample(10)
    for seed in range(20):
        sample.add(np.random.default_rng(seed).random(1000), noise(1000, 4, seed=seed))
    assert sample.rows.shape == (10, 4)
    held = sample.rows if sample.rows.base is None else sample.rows.base
    assert held.size == 10 * 4


def test_a_sample_of_nothing() -> None:
    with pytest.raises(ValueError, match="a sample of nothing has no rows"):
        _ = Sample(5).rows


def test_keys_depend_on_content_alone() -> None:
    content = int("f" * 64, 16)  # as long as a SHA-256
    keys = keys_of(content, 5000)
    np.testing.assert_array_equal(keys, keys_of(content, 5000))
    for other in (content - 1, content - 2**8, content - 2**100, 0):
        assert not np.isin(keys, keys_of(other, 5000)).any()
    assert 0 <= keys.min() < 0.01
    assert 0.99 < keys.max() <= 1
    assert keys.mean() == pytest.approx(0.5, abs=0.03)


def test_a_large_photo_is_drawn_from_as_evenly_as_a_small_one() -> None:
    """Each patch has the same chance, whichever photo it is from."""
    sample = Sample(1000)
    for content, count in ((1, 9000), (2, 1000)):
        sample.add(keys_of(content, count), np.full((count, 1), float(content)))
    assert np.mean(sample.rows == 2) == pytest.approx(0.1, abs=0.04)
