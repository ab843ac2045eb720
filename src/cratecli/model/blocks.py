"""The blocks, one class an equation: MSSA and MHSA compress, ISTA, ODL and the MLP sparsify.

Tokens are rows: `b` images, `n` tokens with the class token, `d` width, `k` heads, `p = d / k`.
Every block holds its own LayerNorm and returns the tokens after its step, skip connection included.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Projection(NamedTuple):
    """Queries, keys and values of one layer, each `b k n p`; in MSSA all three are the subspace tokens."""

    query: Float[Tensor, "b k n p"]
    key: Float[Tensor, "b k n p"]
    value: Float[Tensor, "b k n p"]


def split_heads(tokens: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b k n p"]:
    """View tokens of width `d` as `k` heads of `p = d / k`."""
    return torch.unflatten(tokens, -1, (heads, -1)).transpose(1, 2)


def mix(projection: Projection) -> Float[Tensor, "b n d"]:
    """Attend: `concat_k(softmax(q_k k_kᵀ / √p) v_k)`, holding no `n × n` map but where that trains faster."""
    query, key, value = projection
    if query.requires_grad and query.dtype == torch.bfloat16 and query.device.type == "cpu":
        maps = torch.softmax((query * query.shape[-1] ** -0.5) @ key.mT, dim=-1)
        mixed = maps.to(value.dtype) @ value  # the fused kernel's way back is ten times as slow here
    else:
        mixed = functional.scaled_dot_product_attention(query, key, value)
    return mixed.transpose(1, 2).flatten(2)


class MSSA(nn.Module):
    """Multi-head subspace self-attention: compress tokens against `k` learned subspaces.

    `w = LN(z) Uᵀ`, `z½ = z + concat_k(softmax(w_k w_kᵀ / √p) w_k) Oᵀ (+ b)`: query = key = value = `w`
    (2306.01129, eq. 11; the skip adds `z`, as the released code does).
    """

    def __init__(self, width: int, heads: int, *, output_bias: bool = True, eps: float = 1e-5) -> None:
        """Make a block with random subspaces."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=eps)
        self.subspaces = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=output_bias)

    def project(self, tokens: Float[Tensor, "b n d"]) -> Projection:
        """Project tokens onto the subspaces."""
        subspaces = split_heads(self.subspaces(self.norm(tokens)), self.heads)
        return Projection(subspaces, subspaces, subspaces)

    def forward(self, tokens: Float[Tensor, "b n d"], projection: Projection) -> Float[Tensor, "b n d"]:
        """Take the compression step; `projection` is what `project(tokens)` gave."""
        update: Tensor = self.output(mix(projection))
        return tokens + update


class MHSA(nn.Module):
    """Multi-head self-attention: the ViT's block, for the ablations.

    Query, key and value have subspaces of their own.
    """

    def __init__(self, width: int, heads: int, *, output_bias: bool = True, eps: float = 1e-5) -> None:
        """Make a block with random projections."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=eps)
        self.subspaces = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=output_bias)

    def project(self, tokens: Float[Tensor, "b n d"]) -> Projection:
        """Project tokens to queries, keys and values."""
        query, key, value = self.subspaces(self.norm(tokens)).chunk(3, dim=-1)
        return Projection(
            split_heads(query, self.heads), split_heads(key, self.heads), split_heads(value, self.heads)
        )

    def forward(self, tokens: Float[Tensor, "b n d"], projection: Projection) -> Float[Tensor, "b n d"]:
        """Attend and add the skip; `projection` is what `project(tokens)` gave."""
        update: Tensor = self.output(mix(projection))
        return tokens + update


class ISTA(nn.Module):
    """One proximal-gradient step on the sparse code of each token, without a skip.

    `x = LN(z½)`, `z⁺ = relu(x + η(xW − xWᵀW) − ηλ)` (2306.01129, eq. 17). The two dictionary products are
    one matrix, `N = η(W − WᵀW)`, so that `z⁺ = relu(x + xN − ηλ)`; `fold` computes it once for inference.
    `soft` puts the soft threshold `sign(y) relu(|y| − ηλ)` in place of relu (CRATE-sth).
    """

    folded: Tensor | None

    def __init__(
        self, width: int, *, step_size: float, sparsity_weight: float, soft: bool = False, eps: float = 1e-5
    ) -> None:
        """Make a block with a random dictionary, η = `step_size`, λ = `sparsity_weight`."""
        super().__init__()
        self.step_size, self.sparsity_weight, self.soft = step_size, sparsity_weight, soft
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dictionary = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(width, width)))
        self.register_buffer("folded", None, persistent=False)
        self.register_load_state_dict_pre_hook(_forget_fold)  # type: ignore[no-untyped-call]

    def gradient_matrix(self) -> Float[Tensor, "d d"]:
        """Compute `N = η(W − WᵀW)`: the gradient step as one linear map of the normalised token."""
        return self.step_size * (self.dictionary - self.dictionary.T @ self.dictionary)

    def fold(self, keep: bool = True) -> None:
        """Keep `N` for inference, or forget it. Training and new weights forget it by themselves."""
        self.folded = self.gradient_matrix().detach() if keep else None

    def train(self, mode: bool = True) -> "ISTA":
        """Switch between training and inference."""
        if mode:
            self.fold(False)
        return super().train(mode)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Take the sparsification step: at most one product with a `d × d` matrix per token once folded."""
        normed: Tensor = self.norm(tokens).flatten(0, 1)
        matrix = self.gradient_matrix() if self.folded is None else self.folded
        step = torch.addmm(normed, normed, matrix)
        threshold = self.step_size * self.sparsity_weight
        sparse = functional.softshrink(step, threshold) if self.soft else step.sub_(threshold).relu_()
        return torch.unflatten(
            sparse, 0, tokens.shape[:2]
        )  # last: in place on a view, autograd copies it all


def _forget_fold(module: ISTA, *_: Any) -> None:
    module.fold(False)


class ODL(nn.Module):
    """Two steps of sparse coding in an overcomplete dictionary, decoded by a second one, with a skip.

    `x = LN(z½)`, `a = relu(η xD − ηλ)`, `c = relu(a − η(aDᵀ − x)D − ηλ)`, `z⁺ = z½ + c D₁ᵀ` with `D`, `D₁`
    of shape `d × 4d` (CRATE-α: 2405.20299, §3).
    """

    ratio = 4

    def __init__(self, width: int, *, step_size: float, sparsity_weight: float, eps: float = 1e-6) -> None:
        """Make a block with random dictionaries, η = `step_size`, λ = `sparsity_weight`."""
        super().__init__()
        self.step_size, self.sparsity_weight = step_size, sparsity_weight
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dictionary = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(width, self.ratio * width)))
        self.decoder = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(width, self.ratio * width)))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Encode by two ISTA steps from zero, then decode."""
        normed: Tensor = self.norm(tokens)
        threshold = self.step_size * self.sparsity_weight
        first = (self.step_size * (normed @ self.dictionary)).sub_(threshold).relu_()
        residual = first @ self.dictionary.T - normed
        second = (first - self.step_size * (residual @ self.dictionary)).sub_(threshold).relu_()
        return tokens + second @ self.decoder.T


class MLP(nn.Module):
    """Linear, GELU, linear, skip: the ViT's block, for the ablations."""

    ratio = 4

    def __init__(self, width: int, *, eps: float = 1e-5) -> None:
        """Make a block with random weights."""
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.up = nn.Linear(width, self.ratio * width)
        self.down = nn.Linear(self.ratio * width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Apply the block and add the skip."""
        update: Tensor = self.down(functional.gelu(self.up(self.norm(tokens))))
        return tokens + update


def cut(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 rows p1 cols p2"]:
    """View images as patches of `side` × `side` px, which do not overlap."""
    return torch.unflatten(torch.unflatten(images, 3, (-1, side)), 2, (-1, side))


class LinearStem(nn.Module):
    """Cut patches in `(p1 p2 c)` order (pixel rows, pixel columns, RGB), then LN → Linear → LN (CRATE)."""

    def __init__(self, width: int, patch_size: int) -> None:
        """Make a stem with random weights."""
        super().__init__()
        inputs = 3 * patch_size**2
        self.patch_size = patch_size
        self.patch_norm = nn.LayerNorm(inputs)
        self.linear = nn.Linear(inputs, width)
        self.token_norm = nn.LayerNorm(width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b m d"]:
        """Turn images into patch tokens, row by row."""
        cells = cut(images, self.patch_size)
        patches = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # b (rows cols) (p1 p2 c)
        tokens: Tensor = self.token_norm(self.linear(self.patch_norm(patches)))
        return tokens


def embed_patches(images: Float[Tensor, "b 3 h w"], convolution: nn.Conv2d) -> Float[Tensor, "b rows cols d"]:
    """Convolve images by a kernel whose stride is its side, as a product.

    cuDNN's convolutions round float32 to TF32 on a GPU unless the whole process forbids it; products do not.
    """
    cells = cut(images, convolution.kernel_size[0])
    patches = cells.permute(0, 2, 4, 1, 3, 5).flatten(3)  # b rows cols (c p1 p2)
    return functional.linear(patches, convolution.weight.flatten(1), convolution.bias)


class ConvStem(nn.Module):
    """Cut patches with one strided convolution with bias (CRATE-α, CRATE-MAE)."""

    def __init__(self, width: int, patch_size: int) -> None:
        """Make a stem with random weights."""
        super().__init__()
        self.convolution = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b m d"]:
        """Turn images into patch tokens, row by row."""
        return embed_patches(images, self.convolution).flatten(1, 2)
