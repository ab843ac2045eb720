"""The mask heads that the package has of its models: found, verified, and run by onnxruntime. Imports no torch."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from cratecli.arrays import Soft
from cratecli.errors import WeightsError
from cratecli.model.engine import Model
from cratecli.model.head_inputs import SOFT, HeadInputs, MaskHeadConfig
from cratecli.weights import fetch, graphs
from cratecli.weights.head_files import HeadFile, read_head
from cratecli.weights.registry import Checkpoint, load_registry, registry_files

_FILE = "head.safetensors"


def own_head(model: Model) -> "GraphHead | None":
    """Find the mask head that the package has of a model, or of the one that it was exported from; mostly none.

    Its graph is read when it first draws. Raises `WeightsError` where its file is missing or not the registry's.
    """
    learned = model.learned
    return None if learned is None else _own_head(learned.sha256)


def own_head_place(row: Checkpoint) -> Path:
    """Give the place of the mask head that the package has, or would have, of a built-in model."""
    return fetch.home(row).with_name(_FILE)


def load_own_head(row: Checkpoint) -> "GraphHead":
    """Read the head that the package has of a registered model. Raises `WeightsError`, as `own_head` does."""
    head = read_head(own_head_place(row))
    if head.sha256 != row.head_sha256:
        raise WeightsError(
            f"{head.path} has sha256 {head.sha256}, not {row.head_sha256}; {fetch.remedy(row)}"
        )
    return GraphHead(head, row)


@dataclass(frozen=True, eq=False)
class GraphHead:
    """A mask head of the package that onnxruntime runs, by the graph beside its file, and the registry's row."""

    file: HeadFile
    row: Checkpoint

    @property
    def config(self) -> MaskHeadConfig:
        """Give its config."""
        return self.file.config

    @property
    def sha256(self) -> str:
        """Give the SHA-256 of its file, in hexadecimal."""
        return self.file.sha256

    def draw(self, inputs: HeadInputs) -> Soft:
        """Draw one photo's soft mask, 0–1, at half the size that the head sees; 0.5 is the edge.

        Raises `WeightsError` where the graph is missing or not the registry's, or onnxruntime is not installed.
        """
        given = {name: np.ascontiguousarray(each)[None] for name, each in inputs._asdict().items()}
        (drawn,) = self._run([SOFT], given)
        return np.asarray(drawn[0], np.float32)

    def prepare(self) -> None:
        """Load the graph now. Raises what `draw` raises."""
        _ = self._run

    @cached_property
    def _run(self) -> graphs.RunArrays:
        place = self.file.path.with_suffix(graphs.ENDING)
        content = graphs.verified_graph(self.row, place, self.row.head_graph_sha256)
        return graphs.array_runner(content, place, {self.file.path.name: self.file.content})


@lru_cache(maxsize=2)
def _own_head(model_sha256: str) -> GraphHead | None:
    return next((load_own_head(row) for row in _rows() if row.sha256 == model_sha256), None)


def built_in_heads() -> frozenset[str]:
    """List the SHA-256 of all mask heads in the package."""
    return frozenset(str(row.head_sha256) for row in _rows())


def _rows() -> list[Checkpoint]:
    """List the rows of the packaged registry that have a head."""
    rows = load_registry(registry_files()[:1]).checkpoints.values()
    return [row for row in rows if row.head_sha256 is not None]
