"""Measure what a white-box layer optimises: the coding rate and the sparsity of its tokens (2306.01129)."""

import torch
from jaxtyping import Float
from torch import Tensor

from cratecli.emergence.features import PRECISION


def coding_rate(subspaces: Float[Tensor, "b k n p"], precision: float = PRECISION) -> Float[Tensor, " b"]:
    """Compute the coding rate `Rᶜ` (nats) of subspace tokens up to a precision ε, class token included.

    `Rᶜ = ½ Σ_k logdet(I + p/(n ε) W_kᵀ W_k)`, tokens L2-normalised per head (2306.01129, eq. 8, as the released code
    scales it). A token of zeros stays zero and adds nothing.
    """
    count, width = subspaces.shape[-2:]
    tokens = torch.nn.functional.normalize(subspaces.float(), dim=-1)
    gram = (tokens.mT @ tokens).cpu().double()
    identity = torch.eye(width, dtype=gram.dtype)
    factor = torch.linalg.cholesky_ex(identity + width / (count * precision) * gram).L
    rate: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=(-2, -1))
    return rate


def zero_fraction(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, " b"]:
    """Compute the share of exact zeros, 0–1, among the entries of an image's tokens, class token included."""
    return (tokens == 0).double().mean(dim=(-2, -1)).cpu()
