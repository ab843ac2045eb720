"""The white box: one class for every CRATE, and the generator that unrolls it layer by layer."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from cratecli.geometry import Grid
from cratecli.model.blocks import ISTA, MHSA, MLP, MSSA, ODL, ConvStem, LinearStem
from cratecli.model.config import CrateConfig
from cratecli.model.unroll import LayerState, WhiteBox, patch_grid


class Layer(nn.Module):
    """One step of the optimisation: compress (`attention`), then sparsify (`sparsifier`)."""

    def __init__(self, config: CrateConfig) -> None:
        """Compose the blocks that `config` names."""
        super().__init__()
        eps = config.layer_norm_eps
        attention = MSSA if config.attention == "mssa" else MHSA
        self.attention = attention(config.width, config.heads, output_bias=config.output_bias, eps=eps)
        eta, lambda_ = config.step_size, config.sparsity_weight
        self.sparsifier: nn.Module
        if config.sparsifier == "mlp":
            self.sparsifier = MLP(config.width, eps=eps)
        elif config.sparsifier == "odl":
            self.sparsifier = ODL(config.width, step_size=eta, sparsity_weight=lambda_, eps=eps)
        else:
            soft = config.sparsifier == "soft-ista"
            self.sparsifier = ISTA(config.width, step_size=eta, sparsity_weight=lambda_, soft=soft, eps=eps)

    def forward(self, state: LayerState) -> Float[Tensor, "b n d"]:
        """Give the tokens after this layer."""
        tokens: Tensor = self.sparsifier(self.attention(state.tokens, state.projection))
        return tokens


class Crate(WhiteBox):
    """A CRATE of any family, composed from `CrateConfig`.

    `unroll` is the only forward pass: all else consumes it. Images are normalised `b 3 h w`, of any size whose
    sides (px) are multiples of `config.patch_size`.
    """

    pretrained_cfg: Mapping[str, object]  # timm's card of a model: there when timm made it
    default_cfg: Mapping[str, object]

    def __init__(self, config: CrateConfig) -> None:
        """Make a model with random weights."""
        super().__init__(
            depth=config.depth,
            heads=config.heads,
            patch_size=config.patch_size,
            image_size=config.image_size,
            mean=config.mean,
            std=config.std,
        )
        self.config = config
        stem = {"linear": LinearStem, "conv": ConvStem}[config.stem]
        patches = (config.image_size // config.patch_size) ** 2
        self.stem = stem(config.width, config.patch_size)
        self.class_token = _random_tokens(1, config.width)
        self.position_embedding = _random_tokens(1 + patches, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.final_norm_eps)
        self.pre_logits = nn.Linear(config.width, config.width) if config.pre_logits else nn.Identity()
        self.head = nn.Linear(config.width, config.classes) if config.classes else nn.Identity()

    @property
    def paper_layer(self) -> int:
        """Give the layer that the paper's figures show: the penultimate (2308.16271, B.1), if there are two."""
        return -2 if self.depth > 1 else -1

    @property
    def constants(self) -> Mapping[str, Any]:
        """Give the config."""
        return self.config.to_dict()

    def unroll(
        self, images: Float[Tensor, "b 3 h w"], kept: Int[Tensor, "b kept"] | None = None
    ) -> Iterator[LayerState]:
        """Yield each layer's state before its attention is computed, then one with the final tokens.

        There are `depth + 1` states; layers after the last one taken are never computed. With `kept`, for training,
        the layers see these patches only, numbered row by row, and their states lie on no grid.
        Raises `ValueError` when a side is not a multiple of the patch size.
        """
        grid = patch_grid(images, self.patch_size)
        patches = self.stem(images)
        tokens = torch.cat((self.class_token.expand(images.shape[0], -1, -1), patches), dim=1)
        tokens = tokens + resize_position_embedding(self.position_embedding, grid)
        if kept is not None:
            tokens = torch.cat((tokens[:, :1], tokens[:, 1:].gather(1, _each_channel(kept, tokens))), dim=1)
        for index, layer in enumerate(cast(Iterable[Layer], self.layers)):
            state = LayerState(index, tokens, grid, project=layer.attention.project)
            yield state
            tokens = layer(state)
        yield LayerState(self.depth, tokens, grid)

    def forward_features(
        self, images: Float[Tensor, "b 3 h w"], kept: Int[Tensor, "b kept"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Give the normalised tokens after the last layer, the class token first; `kept` as in `unroll`."""
        for state in self.unroll(images, kept):
            tokens = state.tokens
        normed: Tensor = self.norm(tokens)
        return normed

    def forward_head(self, tokens: Float[Tensor, "b n d"], pre_logits: bool = False) -> Float[Tensor, "b c"]:
        """Turn normalised tokens into class scores, or with `pre_logits` into the classifier's inputs."""
        features: Tensor = self.pre_logits(tokens[:, 0])
        return features if pre_logits else self.head(features)

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b c"]:
        """Turn the final tokens of an unrolling into class scores; without classes, the normalised class token."""
        return self.forward_head(self.norm(tokens))

    def forward(
        self, images: Float[Tensor, "b 3 h w"], kept: Int[Tensor, "b kept"] | None = None
    ) -> Float[Tensor, "b c"]:
        """Give the class scores (logits); for a model without classes, the normalised class token."""
        return self.forward_head(self.forward_features(images, kept))

    def fold(self) -> "Crate":
        """Prepare for inference: evaluation mode, and ISTA's two products as one matrix a layer."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ISTA):
                module.fold()
        return self

    def reset_classifier(self, num_classes: int, global_pool: Literal["token"] | None = None) -> None:
        """Replace the classifier by a random one (timm's convention); 0 removes it."""
        del global_pool  # a CRATE pools by its class token, always
        device = self.class_token.device
        self.config = replace(self.config, classes=num_classes)
        self.head = nn.Linear(self.config.width, num_classes, device=device) if num_classes else nn.Identity()

    def reset_image_size(self, image_size: int) -> None:
        """Fit the position embedding to images of another size (px). Raises `ValueError` off the patch grid."""
        self.config = replace(self.config, image_size=image_size)
        side = image_size // self.patch_size
        fitted = resize_position_embedding(self.position_embedding.detach(), Grid(side, side))
        self.position_embedding = nn.Parameter(fitted.clone())
        self.image_size = image_size

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that weight decay leaves alone, for timm's optimisers."""
        return {"class_token", "position_embedding"}


def _each_channel(kept: Int[Tensor, "b kept"], tokens: Float[Tensor, "b n d"]) -> Int[Tensor, "b kept d"]:
    return kept[:, :, None].expand(-1, -1, tokens.shape[-1])


def _random_tokens(count: int, width: int) -> nn.Parameter:
    """Draw from a standard normal, cut at ±4: uncut, torch imports sympy on the meta device (a second)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), a=-4.0, b=4.0))


def resize_position_embedding(
    embedding: Float[Tensor, "1 positions d"], grid: Grid
) -> Float[Tensor, "1 n d"]:
    """Fit a square grid's position embedding (class token first) to `grid`, bicubically.

    At the native grid it is returned as it is; a smaller one is antialiased. The argument is never changed.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if torch.compiler.is_compiling():  # a graph for any grid: nothing may depend on its sizes
        return _resized_in_graph(embedding, side, grid)
    if grid == (side, side):
        return embedding
    square = torch.unflatten(embedding[:, 1:], 1, (side, side)).permute(0, 3, 1, 2)
    smaller = min(grid) < side
    fitted = functional.interpolate(square.float(), size=tuple(grid), mode="bicubic", antialias=smaller)
    patches = fitted.flatten(2).transpose(1, 2).to(embedding.dtype)
    return torch.cat((embedding[:, :1], patches), dim=1)


def _resized_in_graph(embedding: Tensor, side: int, grid: Grid) -> Tensor:
    """Fit a position embedding to a grid of any size as two products of matrices, which exported graphs can hold.

    It is what torch's `interpolate` computes, the antialiased way where the grid is `smaller`.
    """
    square = torch.unflatten(embedding[:, 1:], 1, (side, side)).float()
    rows, cols = (torch.full((), 1.0) * count for count in grid)
    smaller = torch.minimum(rows, cols) < side
    down, across = (_bicubic(side, count, smaller) for count in grid)
    fitted = torch.einsum("ri,bijd,cj->brcd", down, square, across).flatten(1, 2).to(embedding.dtype)
    return torch.cat((embedding[:, :1], fitted), dim=1)


def _bicubic(side: int, count: int, smaller: Tensor) -> Tensor:
    """Give the weights, `count × side`, of bicubic resampling (Keys, 1981): a row sums to 1.

    Antialiased, the kernel (a = −0.5) is as wide as what a new patch covers, and cut off at the edges; else (a =
    −0.75) the outermost patches stand for those beyond them.
    """
    ratio = side / count
    centre = (torch.arange(count, dtype=torch.float32) + 0.5) * ratio
    place = torch.arange(-2, side + 2, dtype=torch.float32) + 0.5
    a = torch.where(smaller, -0.5, -0.75)
    stretch = torch.where(smaller, torch.clamp(torch.full((), 1.0) * ratio, min=1.0), torch.ones(()))
    far = ((place[None] - centre[:, None]) / stretch).abs()
    inner = ((a + 2) * far - (a + 3)) * far * far + 1
    outer = ((far - 5) * far + 8) * far * a - 4 * a
    weights = torch.where(far <= 1, inner, torch.where(far < 2, outer, torch.zeros_like(far)))
    within = weights[:, 2:-2]
    edges = weights[:, :3].sum(1, keepdim=True), weights[:, -3:].sum(1, keepdim=True)
    spread = torch.cat((edges[0], weights[:, 3:-3], edges[1]), dim=1) if side > 1 else torch.ones_like(within)
    return torch.where(smaller, within / within.sum(1, keepdim=True), spread)
