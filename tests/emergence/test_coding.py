"""Coding rate and sparsity, against their definitions written out and against cases known by hand."""

import math

import numpy as np
import pytest
import torch

from cratecli.emergence.coding import coding_rate, zero_fraction


def literal_rate(subspaces: torch.Tensor, precision: float) -> float:
    """Sum `½ logdet(I + p/(n ε) W_kᵀ W_k)` over heads, one at a time, with NumPy."""
    total = 0.0
    for head in subspaces.double().numpy():
        count, width = head.shape
        norms = np.linalg.norm(head, axis=1, keepdims=True)
        unit = np.divide(head, norms, out=np.zeros_like(head), where=norms > 0)
        total += np.linalg.slogdet(np.eye(width) + width / (count * precision) * unit.T @ unit)[1] / 2
    return total


@pytest.mark.parametrize(("count", "width"), [(65, 16), (3, 16), (1, 4)])
def test_the_rate_is_the_equation(count: int, width: int) -> None:
    subspaces = torch.randn(2, 3, count, width)
    for precision in (0.01, 0.5):
        expected = [literal_rate(image, precision) for image in subspaces]
        np.testing.assert_allclose(coding_rate(subspaces, precision), expected, rtol=1e-5)


def test_the_rate_by_hand() -> None:
    """Tokens that all point one way cost ½ log(1 + p/ε); tokens along every axis alike cost p/2 log(1 + 1/ε)."""
    one_way = torch.zeros(1, 1, 10, 4)
    one_way[..., 0] = torch.arange(1, 11)
    assert float(coding_rate(one_way)) == pytest.approx(0.5 * math.log(1 + 4 / 0.01))
    every_way = torch.eye(4).repeat(3, 1)[None, None]
    assert float(coding_rate(every_way)) == pytest.approx(4 / 2 * math.log(1 + 1 / 0.01))


def test_length_does_not_matter_and_direction_does() -> None:
    subspaces = torch.randn(1, 2, 30, 8)
    longer = subspaces * (0.1 + 5 * torch.rand(1, 2, 30, 1))
    torch.testing.assert_close(coding_rate(longer), coding_rate(subspaces))
    squeezed = subspaces * torch.tensor([1.0, 1, 1, 1, 0.01, 0.01, 0.01, 0.01])
    assert coding_rate(squeezed) < 0.8 * coding_rate(subspaces)


def test_tokens_of_zeros_cost_nothing() -> None:
    assert float(coding_rate(torch.zeros(1, 2, 9, 4))) == 0
    some = torch.randn(1, 2, 9, 4)
    some[:, :, 3] = 0
    assert float(coding_rate(some)) == pytest.approx(literal_rate(some[0], 0.01), rel=1e-5)


def test_the_zero_fraction_counts_exact_zeros() -> None:
    tokens = torch.tensor([[[0.0, 1.0], [-0.0, 1e-30]], [[1.0, 2.0], [3.0, 0.0]]])
    assert zero_fraction(tokens).tolist() == [0.5, 0.25]
