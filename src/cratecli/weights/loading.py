"""Load a model by its name or file for the engine that shall run it. Imports neither engine before it is chosen."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from cratecli.errors import UsageError
from cratecli.model.engine import Engine, Model
from cratecli.model.graph import GraphModel
from cratecli.weights import fetch, graphs, registry
from cratecli.weights.download import explained
from cratecli.weights.gpu import gpu_here
from cratecli.weights.registry import Checkpoint

EngineChoice = Literal["auto", "torch", "onnx"]


def find_weights(name_or_file: str | Path | None) -> tuple[Checkpoint | None, Path]:
    """Find the registry's row, and the file, unread, behind a name; a checkpoint file has no row.

    `None` is the default model, which may be a file. Raises `UsageError` for an unknown name, `WeightsError` when its
    file is not here.
    """
    if name_or_file is None and (file := registry.default_file()) is not None:
        return None, file
    if name_or_file is not None and os.path.isfile(name_or_file):  # noqa: PTH113 - Path.is_file raises for a name too long
        return None, Path(name_or_file)
    name = registry.default_name() if name_or_file is None else str(name_or_file)
    row = registry.load_registry().find(name)
    return row, fetch.present(row)


def load(
    name_or_file: str | Path | None = None,
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    dtype: str = "auto",
) -> Model:
    """Load a model for an engine; `auto` is onnxruntime on the CPU for what has a graph, in the package or as a file.

    So it starts at once, and is no slower (benchmarks/startup.md); all else is torch's. `None` is the default model.
    Raises `UsageError` for an engine that does not run this model, or not there, and what `load_model` and `load_graph`
    raise.
    """
    if _runs_as_graph(name_or_file, engine=engine, device=device, dtype=dtype):
        return load_graph(name_or_file)
    from cratecli.weights import checkpoint

    return checkpoint.load_model(name_or_file, device=device, dtype=dtype)


def _runs_as_graph(name_or_file: str | Path | None, *, engine: EngineChoice, device: str, dtype: str) -> bool:
    """Tell whether onnxruntime shall run a model. Raises `UsageError` for what contradicts."""
    row, path = find_weights(name_or_file)
    fits = device in ("auto", "cpu") and dtype in ("auto", "float32")
    if graphs.is_graph(path):
        if engine == "torch":
            raise UsageError(f"{path} is an ONNX graph, which torch does not run: leave --engine out")
        if device not in ("auto", "cpu"):
            raise UsageError(f"{path} is an ONNX graph, and runs on the CPU: not on {device}")
        if dtype != "auto":
            raise UsageError(f"{path} has the number format that it was exported with: leave --dtype out")
        return True
    if engine == "onnx":
        if not fits:
            wrong = f"on {device}" if device not in ("auto", "cpu") else f"in {dtype}"
            raise UsageError(f"--engine onnx runs on the CPU, in float32: not {wrong}")
        return True
    has_graph = row is not None and row.graph_sha256 is not None and graphs.runtime_here()
    return engine == "auto" and fits and has_graph and (device == "cpu" or not gpu_here())


def can_run(engine: Engine, name_or_file: str | Path | None = None, *, dtype: str = "auto") -> bool:
    """Tell whether an engine can run a model at all. Raises what `find_weights` does."""
    row, path = find_weights(name_or_file)
    if graphs.is_graph(path):
        return engine == "onnx"
    has_graph = row is not None and row.graph_sha256 is not None
    return engine == "torch" or (has_graph and dtype in ("auto", "float32"))


def load_graph(name_or_file: str | Path | None = None) -> GraphModel:
    """Load a model for onnxruntime, without torch: an ONNX file of `crate models export`, or the built-in model.

    It answers `segment`, `objects`, `heads` and `parts`, on the CPU; `None` is the default model. Raises `UsageError`
    for an unknown name, or a model without a graph in the package, and `WeightsError` for a file that is missing or
    refused, and where onnxruntime is not installed.
    """
    row, path = find_weights(name_or_file)
    if row is not None:
        return graphs.load_own_graph(row)
    if not graphs.is_graph(path):
        hint = f"crate models export {path} -o FILE.onnx makes one"
        raise UsageError(f"{path} is a checkpoint, no ONNX graph: {hint}")
    return graphs.load_graph(path)


def cached_model(name_or_file: str | Path | None = None) -> Model:
    """Load a model for Python callers, once: the last one is kept, until its file or its registry row changes.

    An ONNX file is run by onnxruntime, all else by torch. Raises what `load_model` and `load_graph` raise.
    """
    row, path = find_weights(name_or_file)
    with explained(f"{path}: cannot be read", "check the file"):
        file = path.stat()
    version = (path.resolve(), file.st_size, file.st_mtime_ns, file.st_ino)
    return _load_version(None if name_or_file is None else str(name_or_file), row, version)


@lru_cache(maxsize=1)
def _load_version(name_or_file: str | None, *_version: object) -> Model:
    return load(name_or_file, engine="auto" if graphs.is_graph(name_or_file) else "torch")
