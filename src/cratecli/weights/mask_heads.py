"""Mask heads by torch: files stored, and loaded strictly; each belongs to one model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from cratecli.arrays import Soft
from cratecli.errors import WeightsError
from cratecli.model.engine import Model
from cratecli.model.head_inputs import HeadInputs, MaskHeadConfig
from cratecli.model.mask_head import HeadTensors, MaskHead
from cratecli.weights.head_files import KEY, NONE, HeadFile, read_head, refuse_other_model
from cratecli.weights.store import store_tensors
from cratecli.weights.strict import load_strictly


@dataclass(frozen=True, eq=False)
class LoadedHead:
    """A mask head that is ready to draw, and the path and SHA-256 of its file."""

    network: MaskHead
    path: Path
    sha256: str

    @property
    def config(self) -> MaskHeadConfig:
        """Give its config."""
        return self.network.config

    def draw(self, inputs: HeadInputs) -> Soft:
        """Draw one photo's soft mask, 0–1, at half the size that the head sees; 0.5 is the edge."""
        with torch.inference_mode():
            read = HeadTensors(*(torch.from_numpy(np.ascontiguousarray(each))[None] for each in inputs))
            logits = self.network(read)
            drawn: np.ndarray = logits.fine[0].sigmoid().numpy()
        return drawn


def store_head(
    path: Path,
    config: MaskHeadConfig,
    tensors: Mapping[str, Tensor],
    dtype: Literal["float32", "float16"] = "float16",
) -> str:
    """Write a head, and give the file's SHA-256. Raises `OutputError`."""
    metadata = {"format": "pt", KEY: json.dumps(config.to_dict())}
    return store_tensors(path, tensors, metadata, dtype=dtype)


def load_head(path: Path, model: Model) -> LoadedHead:
    """Load a head from its file, for the model that it belongs to.

    Raises `WeightsError` for a file that is not there, broken or no head, `UsageError` for another model's head.
    """
    file = read_head(path)
    refuse_other_model(file, model)
    return network_of(file)


def network_of(file: HeadFile) -> LoadedHead:
    """Load the network of a head's file. Raises `WeightsError` for tensors that do not fit."""
    try:
        tensors = load(file.content)
    except (ValueError, KeyError, TypeError, SafetensorError):
        raise WeightsError(f"{file.path}: {NONE}") from None
    with torch.device("meta"):
        network = MaskHead(file.config)
    load_strictly(network, tensors, file.path)
    network.eval().requires_grad_(False)
    return LoadedHead(network, file.path, file.sha256)
