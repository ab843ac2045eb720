"""Keep every layer's projections of one photo, of which the attention of any token in any head follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cratecli.geometry import Grid
from cratecli.model.unroll import WhiteBox

WHOLE = -1  # the token that asks for the whole photo in a model without a class token


@dataclass(frozen=True, eq=False)
class Projections:
    """Holds the queries and keys of some layers, of all heads and tokens; in MSSA both are the subspace tokens.

    `query` is `None` where it is the key. The first `prefix` tokens are no patches; the class token is token 0.
    `whole` is the class attention of a model without one, else `None`.
    """

    query: Float[np.ndarray, "layers k n p"] | None
    key: Float[np.ndarray, "layers k n p"]
    grid: Grid
    prefix: int
    whole: Float[np.ndarray, "layers k rows cols"] | None = None

    def attention(self, token: int) -> Float[np.ndarray, "layers k rows cols"]:
        """Attend from one token to the patches: `softmax(q kᵀ / √p)` over all tokens, the prefix dropped.

        Token 0 asks as the class token does (2308.16271, B.1), token `prefix + i` as patch `i` does, and `WHOLE` as the
        model's class attention does, where `whole` holds it.
        """
        if token == WHOLE and self.whole is not None:
            return self.whole
        query = (self.key if self.query is None else self.query)[:, :, token]
        scores = np.einsum("lkp,lknp->lkn", query, self.key) / np.sqrt(self.key.shape[-1])
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares = (powers / powers.sum(axis=-1, keepdims=True))[:, :, self.prefix :]
        return np.asarray(shares.reshape(*shares.shape[:2], *self.grid))


def project(model: WhiteBox, images: Float[Tensor, "1 3 h w"], layers: Sequence[int]) -> Projections:
    """Unroll the model over one normalised image, and keep the projections of the given layers, from 0.

    The pass stops at the last of them. Raises `FloatingPointError` where they are not finite.
    """
    queries: dict[int, np.ndarray] = {}
    keys: dict[int, np.ndarray] = {}
    whole: dict[int, np.ndarray] = {}
    with torch.inference_mode():
        for state in model.unroll(images):
            if state.index in layers:
                projection = state.projection
                keys[state.index] = projection.key[0].float().cpu().numpy()
                if projection.query is not projection.key:
                    queries[state.index] = projection.query[0].float().cpu().numpy()
                if not state.class_token:
                    attention = state.class_attention()[0]
                    whole[state.index] = torch.unflatten(attention, -1, tuple(state.grid)).cpu().numpy()
            if state.index == max(layers):
                break
    key = np.stack([keys[layer] for layer in layers])
    query = np.stack([queries[layer] for layer in layers]) if queries else None
    if not all(np.isfinite(each).all() for each in (key, query) if each is not None):
        raise FloatingPointError("the model's tokens are not finite")
    mean = np.stack([whole[layer] for layer in layers]) if whole else None
    return Projections(query, key, state.grid, state.prefix, mean)
