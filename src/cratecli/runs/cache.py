"""What the model saw, kept in memory or on disk for the next question about the same photos."""

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors.numpy

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import OutputError
from cratecli.files import replacing
from cratecli.geometry import Grid
from cratecli.model.engine import Model

FORMAT = 1  # of an entry: a change of what `observe` gives takes the next number
_PARTS = ("attention", "tokens", "coding_rate", "zero_fraction")


class ViewCache(Protocol):
    """A place for views, found again by photo, layer, grid and whether the photo was mirrored."""

    def load(self, photo: str, layer: int, grid: Grid, mirrored: bool, *, trace: bool) -> View | None:
        """Find one layer of a photo, named by its `fingerprint`; with `trace`, only one that was traced."""

    def store(self, photo: str, layer: int, mirrored: bool, view: View) -> None:
        """Keep a view of one layer. Raises `OutputError` when it cannot be written."""


class MemoryCache:
    """Views in memory, for one model, for as long as the object lives: about 4 MB a photo of the built-in model."""

    def __init__(self) -> None:
        """Start with nothing kept."""
        self._views: dict[tuple[str, int, Grid, bool], View] = {}

    def load(self, photo: str, layer: int, grid: Grid, mirrored: bool, *, trace: bool) -> View | None:
        """Find one layer of a photo; see `ViewCache`."""
        view = self._views.get((photo, layer, grid, mirrored))
        return None if view is None or (trace and not _traced(view)) else view

    def store(self, photo: str, layer: int, mirrored: bool, view: View) -> None:
        """Keep a view of one layer; one that was traced is not replaced by one that was not."""
        key = photo, layer, view.grid, mirrored
        if key not in self._views or _traced(view):
            self._views[key] = view


class FeatureCache:
    """A folder of views, a file a layer: what a photo showed a model once need not be computed again.

    An entry is found by the photo's pixels, the model's weights, constants and number format, the layer, the grid
    and whether the photo was mirrored. It is float32, with a checksum: a damaged entry counts as none.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        """Open a folder, which need not be there yet, for one model."""
        self.folder = folder
        self._model = [identity(model), model.place.numbers]

    def load(self, photo: str, layer: int, grid: Grid, mirrored: bool, *, trace: bool) -> View | None:
        """Find one layer of a photo, named by its `fingerprint`; with `trace`, only one that was traced."""
        try:
            parts = safetensors.numpy.load(self._path(photo, layer, grid, mirrored).read_bytes())
            digest = parts.pop("sha256").tobytes()
        except (OSError, KeyError, ValueError, safetensors.SafetensorError):
            return None
        if set(parts) != set(_PARTS) or digest != _digest(parts):
            return None
        view = View(*(parts[name] for name in _PARTS))
        return None if trace and not _traced(view) else view

    def store(self, photo: str, layer: int, mirrored: bool, view: View) -> None:
        """Keep a view of one layer. Raises `OutputError` when it cannot be written."""
        parts = {name: np.ascontiguousarray(getattr(view, name), np.float32) for name in _PARTS}
        checksum = {"sha256": np.frombuffer(_digest(parts), np.uint8)}
        path = self._path(photo, layer, view.grid, mirrored)
        try:
            with replacing(path, durable=False) as stream:
                stream.write(safetensors.numpy.save(parts | checksum))
        except OSError as error:
            raise OutputError(f"{path}: features cannot be kept: {error.strerror or error}") from None

    def _path(self, photo: str, layer: int, grid: Grid, mirrored: bool) -> Path:
        key = json.dumps([FORMAT, *self._model, photo, layer, *grid, mirrored])
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.safetensors"


def _traced(view: View) -> bool:
    return not np.isnan([*view.zero_fraction, *view.coding_rate]).any()


def _digest(parts: dict[str, np.ndarray]) -> bytes:
    together = hashlib.sha256()
    for name in _PARTS:
        together.update(str(parts[name].shape).encode() + np.ascontiguousarray(parts[name]).tobytes())
    return together.digest()


def identity(model: Model) -> str:
    """Tell a model from all that would see otherwise, by its weights and the constants that no file holds.

    It is a SHA-256 in hexadecimal; the device and the number format are no part of it.
    """
    together = hashlib.sha256(model.weights_digest().encode())
    together.update(json.dumps([dict(model.constants), model.mean, model.std], sort_keys=True).encode())
    return together.hexdigest()


def fingerprint(rgb: RGB) -> str:
    """Name a photo by its upright pixels: the SHA-256 of its size and them, in hexadecimal."""
    together = hashlib.sha256(str(rgb.shape).encode())
    together.update(np.ascontiguousarray(rgb).data)
    return together.hexdigest()
