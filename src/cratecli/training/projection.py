"""Principal components of a model's tokens: what a pool keeps of them, and a head learns to read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cratecli.errors import InputError, OutputError
from cratecli.files import replacing
from cratecli.model.head_inputs import HeadInputs

TOKENS, FINE_TOKENS = 64, 32  # principal components that are kept
PROJECTION = "projection.safetensors"
AGAIN = "begin again in another folder"
_RATE = 8  # of the fine tokens that a basis is made of, one in so many


@dataclass(frozen=True, eq=False)
class Projection:
    """Principal components of tokens, and of those of the finest view: `Float[channels components]` each."""

    tokens: Float[np.ndarray, "d c"]
    fine_tokens: Float[np.ndarray, "d c2"]

    @classmethod
    def of(cls, pictures: Sequence[HeadInputs]) -> "Projection":
        """Find them in pictures; what they give has variance one on average."""
        tokens = np.concatenate([each.tokens.reshape(len(each.tokens), -1).T for each in pictures])
        fine = np.concatenate(
            [each.fine_tokens.reshape(len(each.tokens), -1).T[::_RATE] for each in pictures]
        )
        return cls(_components(tokens, TOKENS), _components(fine, FINE_TOKENS))

    @classmethod
    def load(cls, folder: Path, channels: int) -> "Projection | None":
        """Read them from a pool, if it has any, of tokens of so many channels. Raises `InputError` for damaged ones."""
        path = folder / PROJECTION
        if not path.exists():
            return None
        try:
            found = cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise InputError(f"{path}: is damaged: {error}") from None
        whole = all(
            each.dtype == np.float32
            and each.shape == (channels, min(most, channels))
            and np.isfinite(each).all()
            for each, most in ((found.tokens, TOKENS), (found.fine_tokens, FINE_TOKENS))
        )
        if not whole:
            raise InputError(f"{path}: is damaged: {AGAIN}")
        return found

    def digest(self) -> str:
        """Hash them: SHA-256, in hexadecimal."""
        return hashlib.sha256(self.tokens.tobytes() + self.fine_tokens.tobytes()).hexdigest()

    def store(self, folder: Path) -> None:
        """Write them into a pool. Raises `OutputError`."""
        path = folder / PROJECTION
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as stream:
                stream.write(save({"tokens": self.tokens, "fine_tokens": self.fine_tokens}))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _components(rows: Float[np.ndarray, "n d"], most: int) -> Float[np.ndarray, "d c"]:
    covariance = rows.T.astype(np.float64) @ rows / len(rows)
    mean = rows.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(covariance - np.outer(mean, mean))
    count = min(most, len(values))
    deviations = np.sqrt(np.maximum(values[-count:], 0))
    return np.ascontiguousarray(vectors[:, -count:] / max(deviations.mean(), 1e-12), np.float32)
