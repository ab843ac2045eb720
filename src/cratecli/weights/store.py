"""Write a model as a checkpoint file for `load_model`: plain tensors, with the config in the metadata."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from cratecli.errors import OutputError
from cratecli.files import in_order, replacing
from cratecli.model.config import CrateConfig


def store_model(
    path: Path,
    config: CrateConfig,
    tensors: Mapping[str, Tensor],
    *,
    labels: Sequence[str] = (),
    dtype: Literal["float32", "float16"] = "float32",
) -> str:
    """Write a model's tensors, by our names, as safetensors, and give the file's SHA-256 in hexadecimal.

    The config and the names of the classes, in the order of the logits, stand in its metadata. The same tensors give
    the same bytes. Raises `OutputError` when it cannot be written.
    """
    metadata = {"format": "pt", "config": json.dumps(config.to_dict())}
    if labels:
        metadata["labels"] = json.dumps(list(labels))
    return store_tensors(path, tensors, metadata, dtype=dtype)


def store_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    dtype: Literal["float32", "float16"] = "float32",
) -> str:
    """Write tensors and metadata as safetensors, the same bytes each time, and give the file's SHA-256.

    Raises `OutputError` when it cannot be written.
    """
    number = {"float32": torch.float32, "float16": torch.float16}[dtype]
    plain = {name: tensor.detach().cpu().to(number).contiguous() for name, tensor in tensors.items()}
    content = in_order(safetensors.torch.save(plain, metadata=dict(metadata)))
    try:
        with replacing(path) as stream:
            stream.write(content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    return hashlib.sha256(content).hexdigest()
