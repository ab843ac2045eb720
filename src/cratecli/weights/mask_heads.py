"""Files of mask heads: safetensors with the config inside, loaded strictly; each belongs to one model."""

import hashlib
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
from cratecli.errors import UsageError, WeightsError
from cratecli.model.engine import Model
from cratecli.model.head_inputs import HeadInputs, MaskHeadConfig
from cratecli.model.mask_head import HeadTensors, MaskHead
from cratecli.weights.store import store_tensors
from cratecli.weights.strict import load_strictly

LARGEST = 256 << 20  # bytes of a file: heads are small
_KEY = "mask_head"  # of the config in the metadata: no model's file has it
_NONE = "is no mask head: `crate self-train` makes one"


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
    metadata = {"format": "pt", _KEY: json.dumps(config.to_dict())}
    return store_tensors(path, tensors, metadata, dtype=dtype)


def load_head(path: Path, model: Model) -> LoadedHead:
    """Load a head from its file, for the model that it belongs to.

    Raises `WeightsError` for a file that is not there, broken or no head, `UsageError` for another model's head.
    """
    content = _content(path)
    try:
        length = int.from_bytes(content[:8], "little")
        text = json.loads(content[8 : 8 + length])["__metadata__"][_KEY]
        config = MaskHeadConfig.from_dict(json.loads(text))
        tensors = load(content)
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        raise WeightsError(f"{path}: {_NONE}") from None
    named, own = model.learned, model.original.sha256 if model.original else model.weights_digest()
    if config.model_sha256 != own:
        called = f"{named.name}" if named else "the model"
        raise UsageError(
            f"{path}: belongs to a model whose sha256 is {config.model_sha256}, not to {called} ({own}): "
            "-m names the model, and --head none leaves the head out"
        )
    with torch.device("meta"):
        network = MaskHead(config)
    load_strictly(network, tensors, path)
    network.eval().requires_grad_(False)
    return LoadedHead(network, path, hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
        if path.stat().st_size > LARGEST:
            raise WeightsError(f"{path}: {_NONE}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
