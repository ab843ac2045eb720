"""A model as an ONNX graph: what its file says of it, and what it gives for images. Imports no torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, Len
from jaxtyping import Float
from pydantic import Field

from cratecli.errors import InputError, UsageError
from cratecli.geometry import Grid
from cratecli.model.engine import Model, Place, WeightsId
from cratecli.records import Record

METADATA = "crate"
"""The key of the facts, as JSON, in the metadata of a graph's file."""
IMAGES, LOGITS = "images", "logits"
"""The input, and the output of class scores."""

_Side = Annotated[int, Interval(ge=1, le=65_536)]
_Channels = Annotated[list[float], Len(3, 3)]
_Share = Annotated[float, Interval(ge=0, le=1)]


class GraphFacts(Record):
    """What the file of an exported model says of it, as JSON under `crate` in its metadata."""

    version: str = Field(description="The version of crate.")
    weights: str | None = Field(
        description="The name of the model that was exported, or of its checkpoint's file."
    )
    weights_sha256: str = Field(description="SHA-256 of the checkpoint file, hexadecimal.")
    config: dict[str, Any] = Field(description="The config of a CRATE; of a ViT its heads.")
    depth: _Side = Field(description="Layers of the model.")
    heads: _Side = Field(description="Heads of a layer.")
    patch_size: _Side = Field(description="Side of a patch, px.")
    image_size: _Side = Field(description="Side of the images that the model was trained on, px.")
    mean: _Channels = Field(description="Mean of the red, green and blue channels, 0–1: it is subtracted.")
    std: _Channels = Field(description="Standard deviation of the channels, 0–1: it divides.")
    prefix: _Side = Field(description="Tokens before the patches, the class token first.")
    paper_layer: int = Field(description="The layer that the papers' figures show, −1 the last.")
    layers: Annotated[list[int], Len(1)] = Field(
        description="Layers whose attention and subspaces it gives, from 0."
    )
    sizes: list[Annotated[list[_Side], Len(2, 2)]] | None = Field(
        description="Heights and widths that it takes, px; null is any on the patch grid."
    )
    dtype: Literal["float32", "float16"] = Field(description="The number format of images and outputs.")
    tied: bool = Field(
        description="Whether queries are the subspace tokens too; else they are outputs of their own."
    )
    classes: list[str] = Field(
        description="The names of the classes, in the order of the logits, if they are known."
    )
    least_confidence: _Share = Field(description="The confidence below which `segment` finds nothing, 0–1.")
    least_agreement: _Share = Field(description="The same with heads `agree`.")

    def output_names(self) -> "tuple[Callable[[int], str], ...]":
        """Give what names the outputs of a layer."""
        return (
            (attention_name, subspaces_name) if self.tied else (attention_name, subspaces_name, queries_name)
        )


def attention_name(layer: int) -> str:
    """Name the output with the class token's attention in a layer."""
    return f"class_attention_{layer}"


def subspaces_name(layer: int) -> str:
    """Name the output with the subspace tokens of a layer."""
    return f"subspaces_{layer}"


def queries_name(layer: int) -> str:
    """Name the output with the queries of a layer, where they are not the subspace tokens."""
    return f"queries_{layer}"


@dataclass(frozen=True, eq=False)
class GraphState:
    """What a graph gave of one layer of some images, as `LayerState` gives it of a white box."""

    index: int
    grid: Grid
    prefix: int
    attention: Float[np.ndarray, "b k m"]
    key: Float[np.ndarray, "b k n p"]
    query: Float[np.ndarray, "b k n p"] | None = None

    def class_attention(self) -> Float[np.ndarray, "b k m"]:
        """Give the class token's attention to the patches, 0–1."""
        return self.attention

    def tokens(self) -> Float[np.ndarray, "b m d"]:
        """Give the subspace tokens of the patches, all heads concatenated."""
        heads_last = self.key[:, :, self.prefix :].transpose(0, 2, 1, 3)
        return heads_last.reshape(*heads_last.shape[:2], -1)

    def patch_attention(self, patch: int) -> Float[np.ndarray, "b k m"]:
        """Attend from one patch, counted row by row from 0, to the patches: `softmax(q kᵀ / √p)` over all tokens.

        Raises `ValueError` where the queries were not asked for.
        """
        if self.query is None:
            raise ValueError("the graph was not asked for queries")
        query = self.query[:, :, self.prefix + patch]
        scores = (self.key @ query[..., None])[..., 0] / np.float32(sqrt(self.key.shape[-1]))
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))[:, :, self.prefix :]


Run = Callable[[Sequence[str], np.ndarray], Sequence[np.ndarray]]
"""Runs a graph: names of outputs, and images, to their arrays; what no named output needs is not computed."""


class GraphModel(Model):
    """A model that `crate models export` wrote as an ONNX graph, run by onnxruntime on the CPU.

    It answers what needs attention and subspace tokens; see `Model` for what it tells of itself.
    """

    def __init__(self, facts: GraphFacts, run: Run, weights: WeightsId) -> None:
        """Take a graph that `run` runs; `weights` name its file. Raises `UsageError` for facts that contradict."""
        if not all(0 <= layer < facts.depth for layer in facts.layers) or 0 in facts.std:
            raise UsageError(f"{weights.name}: what it says of itself cannot be")
        self.facts, self._run = facts, run
        self.depth, self.heads = facts.depth, facts.heads
        self.patch_size, self.image_size = facts.patch_size, facts.image_size
        self.mean, self.std = _three(facts.mean), _three(facts.std)
        self.weights, self.labels = weights, tuple(facts.classes)
        self.least_confidence, self.least_agreement = facts.least_confidence, facts.least_agreement
        self.original = WeightsId(facts.weights or weights.name, facts.weights_sha256)

    @property
    def named(self) -> str:
        """Name the graph for people."""
        return self._weights.name

    @cached_property
    def _weights(self) -> WeightsId:
        if self.weights is None:
            raise ValueError("a graph has a file")
        return self.weights

    @property
    def place(self) -> Place:
        """Tell that onnxruntime runs it, on the CPU."""
        return Place("onnx", "cpu", self.facts.dtype)

    @property
    def paper_layer(self) -> int:
        """Give the layer that the papers' figures show."""
        return self.facts.paper_layer

    @property
    def constants(self) -> Mapping[str, Any]:
        """Give the config."""
        return self.facts.config

    def weights_digest(self) -> str:
        """Give the SHA-256 of the file."""
        return self._weights.sha256

    def states(
        self, images: Float[np.ndarray, "b 3 h w"], layers: Sequence[int], *, queries: bool = False
    ) -> Iterator[GraphState]:
        """Run the graph over normalised images, and give what it says of some layers, in their order.

        Nothing behind the last of them is computed. Raises `UsageError` for a layer that the graph does not give, and
        `InputError` for images of a size that it does not take.
        """
        facts = self.facts
        if lacking := set(layers) - set(facts.layers):
            given = ",".join(map(str, facts.layers))
            raise UsageError(
                f"{self.named} gives layers {given}, and layer {min(lacking)} is asked for: export it too"
            )
        height, width = images.shape[-2:]
        if facts.sizes is not None and [height, width] not in facts.sizes:
            taken = ", ".join(f"{high} × {wide}" for high, wide in facts.sizes)
            raise InputError(
                f"{self.named} takes images of {taken} px, and this one is shown at {height} × {width} px: "
                "export it with --size any"
            )
        outputs = [[attention_name(layer), subspaces_name(layer)] for layer in layers]
        if queries and not facts.tied:
            outputs = [[*names, queries_name(layer)] for names, layer in zip(outputs, layers, strict=True)]
        names = [name for each in outputs for name in each]
        given_as = np.ascontiguousarray(images, facts.dtype)
        found = iter(np.asarray(each, np.float32) for each in self._run(names, given_as))
        grid = Grid(height // self.patch_size, width // self.patch_size)
        for layer, each in zip(layers, outputs, strict=True):
            attention, key, *more = (next(found) for _ in each)
            query = more[0] if more else key
            yield GraphState(layer, grid, facts.prefix, attention, key, query if queries else None)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
