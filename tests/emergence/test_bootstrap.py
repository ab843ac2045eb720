"""Photos drawn again, against SciPy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from cratecli.emergence.bootstrap import interval, resamples


def test_each_sample_has_as_many_photos() -> None:
    counts = resamples(7, 50, seed=3)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert len(np.unique(counts, axis=0)) > 40
    np.testing.assert_array_equal(counts, resamples(7, 50, seed=3))
    assert (counts != resamples(7, 50, seed=4)).any()


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(0).beta(2, 5, 120)
    ours = interval(resamples(120, 20_000, seed=0) @ values / 120)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-3)


def test_one_photo_leaves_no_doubt_and_no_sample_no_answer() -> None:
    assert interval(resamples(1, 10, seed=0) @ np.array([0.3])) == pytest.approx((0.3, 0.3))
    assert np.isnan(interval(np.zeros(0))).all()
