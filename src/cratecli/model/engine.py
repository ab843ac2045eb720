"""What every question needs of a model, whichever engine runs it. Imports no torch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Engine = Literal["torch", "onnx"]

_EXHAUSTED = (
    "DefaultCPUAllocator",
    "out of memory",
    "Insufficient memory",
    "bad_alloc",
    "Failed to allocate memory",
)


@dataclass(frozen=True)
class WeightsId:
    """Name the weights a model was loaded from, and the SHA-256 of their file, in hexadecimal."""

    name: str
    sha256: str


class Place(NamedTuple):
    """What runs a model, where, and in which number format, in words: `torch`, `cuda:0`, `bfloat16`."""

    engine: Engine
    device: str
    dtype: str

    @property
    def numbers(self) -> str:
        """Name what decides the last bits: `torch.bfloat16`."""
        return f"{self.engine}.{self.dtype}"


class Model(ABC):
    """Any model that can be asked about photos: torch's, a `WhiteBox`, or an ONNX graph, a `GraphModel`.

    `weights` is set by whoever loads it, and `least_confidence` and `least_agreement`, 0–1, where they were measured
    for them: with less confidence `--heads auto`, or `agree`, finds nothing. Of an export, `original`
    are the weights that it was made of. `labels` name its classes, in the order of the logits, where its checkpoint
    does. `image_size` and `patch_size` are in px; `mean` and `std` normalise the red, green and blue channels, 0–1.
    Where `has_class_token` is false, class attention is the mean over patches; with `pooling`, the last layer is a
    pooling head, whose one learned query stands for every patch's.
    """

    has_class_token: bool = True
    pooling: bool = False
    depth: int
    heads: int
    patch_size: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: WeightsId | None = None
    original: WeightsId | None = None
    labels: tuple[str, ...] = ()
    least_confidence: float = (
        0.1  # low, both: what texture reaches, and what photos, differs from model to model
    )
    least_agreement: float = 0.12

    @property
    @abstractmethod
    def place(self) -> Place:
        """Tell what runs the model, and where."""

    @property
    def paper_layer(self) -> int:
        """Give the layer that the paper's figures show: the penultimate of a CRATE (-2), the last of a ViT (-1).

        (2308.16271, B.1.) Of other models it is the last.
        """
        return -1

    @property
    def constants(self) -> Mapping[str, Any]:
        """Give what decides the outcome beside the weights and the normalisation, as plain data."""
        return {"heads": self.heads}

    @property
    def learned(self) -> WeightsId | None:
        """Name the weights as they were learned: of an export, those that it was made of."""
        return self.original or self.weights

    @abstractmethod
    def weights_digest(self) -> str:
        """Name the weights by the SHA-256 of their file, or, where they have none, of their numbers."""


class DistantModel(Model):
    """What is known of a model that is loaded elsewhere: all but what it sees."""

    def __init__(self, model: Model) -> None:
        """Note what a model tells of itself."""
        for name in Model.__annotations__:
            setattr(self, name, getattr(model, name))
        self._place, self._digest = model.place, model.weights_digest()
        self._paper_layer, self._constants = model.paper_layer, dict(model.constants)

    @property
    def place(self) -> Place:
        """Tell what runs the model, and where."""
        return self._place

    @property
    def paper_layer(self) -> int:
        """Give the layer that the paper's figures show."""
        return self._paper_layer

    @property
    def constants(self) -> Mapping[str, Any]:
        """Give what decides the outcome beside the weights and the normalisation."""
        return self._constants

    def weights_digest(self) -> str:
        """Name the weights by a SHA-256."""
        return self._digest


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out: torch's or NumPy's own, or one of a C++ library."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    return isinstance(error, Exception) and any(sign in str(error) for sign in _EXHAUSTED)
