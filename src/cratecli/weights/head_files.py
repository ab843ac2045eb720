"""Files of mask heads, read for either engine: safetensors with the config inside. Imports no torch."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from cratecli.arrays import Soft
from cratecli.errors import UsageError, WeightsError
from cratecli.model.engine import Model
from cratecli.model.head_inputs import HeadInputs, MaskHeadConfig

LARGEST = 256 << 20  # bytes of a file: heads are small
KEY = "mask_head"  # of the config in the metadata: no model's file has it
NONE = "is no mask head: `crate self-train` makes one"


class Drawer(Protocol):
    """A mask head that is ready to draw, whichever engine runs it, and the SHA-256 of its file."""

    @property
    def config(self) -> MaskHeadConfig:
        """Give its config."""

    @property
    def sha256(self) -> str:
        """Give the SHA-256 of its file, in hexadecimal."""

    def draw(self, inputs: HeadInputs) -> Soft:
        """Draw one photo's soft mask, 0–1, at half the size that the head sees; 0.5 is the edge."""


def drawn(head: Drawer, inputs: HeadInputs, called: str) -> Soft:
    """Let a head draw. Raises `WeightsError` for one that draws no numbers, `called` by what it is known as."""
    soft = head.draw(inputs)
    if not np.isfinite(soft).all():
        raise WeightsError(f"{called}: draws no numbers")
    return soft


@dataclass(frozen=True)
class HeadFile:
    """A mask head's file, as it was read; its tensors are not looked at yet."""

    path: Path
    content: bytes = field(repr=False)
    config: MaskHeadConfig
    sha256: str


def read_head(path: Path) -> HeadFile:
    """Read a head's file and its config. Raises `WeightsError` for a file that is not there, broken or no head."""
    content = _content(path)
    try:
        length = int.from_bytes(content[:8], "little")
        text = json.loads(content[8 : 8 + length])["__metadata__"][KEY]
        config = MaskHeadConfig.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(f"{path}: {NONE}") from None
    return HeadFile(path, content, config, hashlib.sha256(content).hexdigest())


def refuse_other_model(head: HeadFile, model: Model) -> None:
    """Raise `UsageError` for a head that belongs to another model, `WeightsError` for one that could not read it."""
    named, own = model.learned, model.original.sha256 if model.original else model.weights_digest()
    if head.config.model_sha256 != own:
        called = f"{named.name}" if named else "the model"
        raise UsageError(
            f"{head.path}: belongs to a model whose sha256 is {head.config.model_sha256}, not to {called} ({own}): "
            "-m names the model, and --head none leaves the head out"
        )
    if head.config.heads != model.heads or max(head.config.layers) >= model.depth:
        raise WeightsError(f"{head.path}: reads heads or layers that the model has not")


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
        if path.stat().st_size > LARGEST:
            raise WeightsError(f"{path}: {NONE}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
