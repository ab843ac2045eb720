"""Principal components that are added up, against those of all tokens at once, and by hand."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
from sklearn.decomposition import PCA

from cratecli.emergence.pca import GRAIN, LARGEST, Components, Moments, principal_components

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.normal(size=(200, 7)) @ RANDOM.normal(size=(7, 7)) + RANDOM.normal(size=7)
"""Tokens with seven distinct variances, off the origin."""


def assert_same(one: Components, other: Components, within: float = 1e-10) -> None:
    for part in ("mean", "directions", "variances"):
        np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=0, atol=within)


def test_all_at_once_is_scikit_learns() -> None:
    found, expected = principal_components(TOKENS, 4), PCA(4, svd_solver="full").fit(TOKENS)
    np.testing.assert_allclose(found.mean, expected.mean_)
    np.testing.assert_allclose(np.abs(np.sum(found.directions * expected.components_, axis=1)), 1)
    np.testing.assert_allclose(found.variances, expected.explained_variance_ * 199 / 200)
    np.testing.assert_allclose(np.abs(found.project(TOKENS)), np.abs(expected.transform(TOKENS)), atol=1e-9)


def test_all_at_once_is_the_singular_value_decomposition() -> None:
    found = principal_components(TOKENS.astype(np.float32), 7)
    centred = TOKENS.astype(np.float32).astype(np.float64)
    centred -= centred.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.variances, singular**2 / 200)
    np.testing.assert_allclose(np.abs(found.directions @ directions.T), np.eye(7), atol=1e-9)


ROUNDED = np.rint(TOKENS * GRAIN) / GRAIN
"""The tokens as moments see them."""


def bits(found: Components) -> bytes:
    return b"".join(np.ascontiguousarray(part).tobytes() for part in vars(found).values())


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [199, 1], [1, 199], [3, 0, 50, 0, 147], [40] * 5])
def test_groups_and_their_order_change_no_bit(sizes: list[int]) -> None:
    expected = Moments(7)
    expected.add(TOKENS)
    assert_same(expected.components(7), principal_components(ROUNDED, 7))
    assert_same(expected.components(7), principal_components(TOKENS, 7), within=1e-6)
    for tokens in (TOKENS, np.random.default_rng(1).permutation(TOKENS)):
        added, portions = Moments(7), []
        for group in np.split(tokens, np.cumsum(sizes)[:-1]):
            added.add(group)
            portions.append(moments := Moments(7))
            moments.add(group)
        for moments in portions[1:][::-1]:
            portions[0].merge(moments)
        for found in (added, portions[0]):
            assert found.count == 200
            assert bits(found.components(7)) == bits(expected.components(7))


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1, LARGEST])
def test_sums_are_those_of_fractions(size: float) -> None:
    """To the last bit, whatever the numbers: of both signs, tiny and as large as may be, and nearly alike."""
    tokens = np.random.default_rng(2).uniform(-size, size, (50, 3))
    tokens[:, 2] = size * (1 - 1e-9 * RANDOM.random(50))
    moments = Moments(3)
    for group in np.split(tokens, [1, 20]):
        moments.add(group)
    exact = [[Fraction(round(value * GRAIN), GRAIN) for value in row] for row in tokens.tolist()]
    mean = [sum(column) / 50 for column in zip(*exact, strict=True)]
    away = [[value - middle for value, middle in zip(row, mean, strict=True)] for row in exact]
    covariance = [[float(sum(row[i] * row[j] for row in away) / 50) for j in range(3)] for i in range(3)]
    found = moments.components(3)
    np.testing.assert_array_equal(found.mean, [float(value) for value in mean])
    values, vectors = scipy.linalg.eigh(np.array(covariance))
    np.testing.assert_array_equal(found.variances, np.maximum(values[::-1], 0))
    np.testing.assert_array_equal(np.abs(found.directions), np.abs(vectors.T[::-1]))


def test_sums_outgrow_64_bits() -> None:
    """Of a million million patches, and more."""
    tokens = np.tile([float(LARGEST), -float(LARGEST)], (1000, 1))
    moments = Moments(2)
    moments.add(tokens)
    for _ in range(40):
        moments.merge(copy.deepcopy(moments))
    one = Moments(2)
    one.add(np.zeros((1, 2)))
    moments.merge(one)
    count = 1000 * 2**40
    assert moments.count == count + 1
    np.testing.assert_array_equal(
        moments.components(2).mean, [LARGEST * count / (count + 1), -LARGEST * count / (count + 1)]
    )


@pytest.mark.parametrize("wrong", [LARGEST + 1, -LARGEST - 1, np.nan, np.inf])
def test_what_is_no_descriptor_is_refused(wrong: float) -> None:
    moments = Moments(2)
    with pytest.raises(ValueError, match=r"tokens are not within ±64"):
        moments.add(np.array([[0.0, wrong]]))
    assert moments.count == 0


def test_groups_that_lie_apart_are_one_cloud() -> None:
    """Most of the variance is between the groups' means: forgetting the shift between them would lose it."""
    groups = [ROUNDED[start : start + 50] + 30 * np.eye(7)[start // 50] for start in range(0, 200, 50)]
    moments = Moments(7)
    for group in groups:
        moments.add(group)
    assert_same(moments.components(7), principal_components(np.concatenate(groups), 7))
    assert moments.components(1).variances[0] > 10 * principal_components(TOKENS, 1).variances[0]


def test_a_cloud_far_from_the_origin_keeps_its_shape() -> None:
    """Sums of squares would have nothing left of the variance here."""
    found, expected = principal_components(TOKENS + 1e8, 3), principal_components(TOKENS, 3)
    np.testing.assert_allclose(found.variances, expected.variances, rtol=1e-6)
    np.testing.assert_allclose(found.directions, expected.directions, atol=1e-6)


def test_asking_does_not_end_the_adding() -> None:
    moments = Moments(7)
    moments.add(TOKENS[:90])
    early = moments.components(7)
    mean = early.mean.copy()
    moments.add(TOKENS[90:])
    assert_same(moments.components(7), principal_components(ROUNDED, 7))
    np.testing.assert_array_equal(early.mean, mean)


def test_by_hand() -> None:
    """Four points on a line along (−3, −4) / 5 about (1, 2), at −2, −1, 1 and 2."""
    places = np.array([-2.0, -1.0, 1.0, 2.0])
    found = principal_components(np.outer(places, [-0.6, -0.8]) + np.array([1, 2]), 2)
    np.testing.assert_allclose(found.mean, [1, 2])
    np.testing.assert_allclose(found.directions, [[0.6, 0.8], [0.8, -0.6]], atol=1e-12)
    np.testing.assert_allclose(found.variances, [2.5, 0], atol=1e-12)
    np.testing.assert_allclose(
        found.project(np.array([[1.6, 2.8], [1.8, 1.4]])), [[1, 0], [0, 1]], atol=1e-12
    )


def test_the_directions_are_what_they_are_said_to_be() -> None:
    found = principal_components(TOKENS, 7)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(7), atol=1e-12)
    assert (np.diff(found.variances) < 0).all()
    np.testing.assert_allclose(
        np.cov(found.project(TOKENS).T, bias=True), np.diag(found.variances), atol=1e-9
    )
    for other in (found, principal_components(-TOKENS, 7)):
        largest = np.abs(other.directions).argmax(axis=1)
        assert (other.directions[np.arange(7), largest] > 0).all()
        np.testing.assert_allclose(other.directions, found.directions, atol=1e-9)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_first_few_are_the_first_of_all(count: int) -> None:
    few, everything = principal_components(TOKENS, count), principal_components(TOKENS, 7)
    np.testing.assert_allclose(few.directions, everything.directions[:count], atol=1e-10)
    np.testing.assert_allclose(few.variances, everything.variances[:count])


def test_no_more_components_than_dimensions() -> None:
    assert_same(principal_components(TOKENS, 50), principal_components(TOKENS, 7))
    assert principal_components(TOKENS[:, :2], 4).project(TOKENS[:, :2]).shape == (200, 2)


def test_fewer_tokens_than_dimensions() -> None:
    few = TOKENS[:3]
    found = principal_components(few, 5)
    assert found.directions.shape == (5, 7)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(found.variances[2:], 0, atol=1e-12)
    np.testing.assert_allclose(found.project(few) @ found.directions + found.mean, few)


@pytest.mark.parametrize("tokens", [np.full((9, 4), 0.1, np.float32), TOKENS[:1], np.zeros((5, 3))])
def test_tokens_that_are_all_alike_have_no_variance(tokens: np.ndarray) -> None:
    found = principal_components(tokens, 3)
    np.testing.assert_allclose(found.variances, 0, atol=1e-15)
    np.testing.assert_allclose(found.project(tokens), 0, atol=1e-15)
    assert np.isfinite(found.directions).all()
    assert (found.variances >= 0).all()


def test_nothing_has_no_components() -> None:
    moments = Moments(3)
    moments.add(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="no tokens have no principal components"):
        moments.components(1)


def test_tokens_are_left_alone() -> None:
    tokens = TOKENS.copy()
    principal_components(tokens, 2)
    np.testing.assert_array_equal(tokens, TOKENS)
