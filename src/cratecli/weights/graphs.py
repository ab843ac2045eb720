"""Load ONNX graphs for onnxruntime: files of `crate models export`, and the built-in model's. Imports no torch."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import ValidationError

from cratecli.errors import UsageError, WeightsError, validation_message
from cratecli.model.engine import WeightsId, out_of_memory
from cratecli.model.graph import IMAGES, METADATA, GraphFacts, GraphModel, Run
from cratecli.weights import fetch
from cratecli.weights.download import explained
from cratecli.weights.registry import Checkpoint

ENDING = ".onnx"
_QUIET = 4  # of onnxruntime's log: fatal errors only, as an exception says the rest
_REASON = 200  # characters of a parser's own words
_INSTALL = "run: pip install onnxruntime"
EMPTY: Mapping[str, bytes] = MappingProxyType({})

RunArrays = Callable[[Sequence[str], Mapping[str, np.ndarray]], Sequence[np.ndarray]]
"""Runs a graph: names of outputs, and arrays by the names of inputs, to the outputs' arrays."""


def is_graph(name: str | Path | None) -> bool:
    """Tell whether a name is of an ONNX file, by its ending."""
    return name is not None and str(name).lower().endswith(ENDING)


def load_graph(path: Path) -> GraphModel:
    """Load an exported model from its ONNX file.

    Raises `WeightsError` for a file that is missing, broken, no graph of ours or with parts in other files, and
    where onnxruntime is not installed.
    """
    with explained(f"{path}: cannot be read", "check the file"):
        content = path.read_bytes()
    weights = WeightsId(str(path), hashlib.sha256(content).hexdigest())
    return _graph(content, EMPTY, path, weights)


def load_own_graph(row: Checkpoint) -> GraphModel:
    """Load the graph that the package has of a registered model: its weights are those of the checkpoint file.

    Raises `WeightsError` where one of the files is missing or not the registry's, or onnxruntime is not installed, and
    `UsageError` for a model without one.
    """
    place = graph_file(row)
    checkpoint = fetch.present(row)
    content = verified_graph(row, place, row.graph_sha256)
    with explained(f"{checkpoint}: cannot be read", fetch.remedy(row)):
        tensors = checkpoint.read_bytes()
    found = hashlib.sha256(tensors).hexdigest()
    if found != row.sha256:
        raise WeightsError(f"{checkpoint} has sha256 {found}, not {row.sha256}; {fetch.remedy(row)}")
    return _graph(content, {checkpoint.name: tensors}, place, WeightsId(row.name, found))


def verified_graph(row: Checkpoint, place: Path, sha256: str | None) -> bytes:
    """Read a graph of a model in the package. Raises `WeightsError` where it is missing or has another SHA-256."""
    with explained(f"{place}: cannot be read", fetch.remedy(row)):
        content = place.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(f"{place} has sha256 {found}, not {sha256}; {fetch.remedy(row)}")
    return content


def graph_file(row: Checkpoint) -> Path:
    """Give the place of the graph that the package has of a model. Raises `UsageError` for one without."""
    if row.graph_sha256 is None:
        hint = f"crate models export {row.name} -o FILE.onnx makes one, which -m FILE.onnx takes"
        raise UsageError(f"{row.name} has no ONNX graph in the package: {hint}")
    return fetch.home(row).with_suffix(ENDING)


def _graph(content: bytes, beside: Mapping[str, bytes], path: Path, weights: WeightsId) -> GraphModel:
    session = _session(content, beside, path)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        raise WeightsError(f"{path}: no graph of ours: `crate models export` makes one")
    try:
        facts = GraphFacts.model_validate_json(text)
    except ValidationError as error:
        reason = validation_message(error)
        raise WeightsError(f"{path}: what it says of itself is not ours: {reason}") from None
    given = {each.name for each in session.get_outputs()}
    wanted = {name(layer) for layer in facts.layers for name in facts.output_names()}
    if [each.name for each in session.get_inputs()] != [IMAGES] or not wanted <= given:
        raise WeightsError(f"{path}: its inputs and outputs are not what it says of itself")
    return GraphModel(facts, _of_images(_runner(session, path)), weights)


def runner(content: bytes, path: Path) -> Run:
    """Give what runs a graph; `path` stands for it in errors. Raises `WeightsError`, as `load_graph` does."""
    return _of_images(array_runner(content, path))


def array_runner(content: bytes, path: Path, beside: Mapping[str, bytes] = EMPTY) -> RunArrays:
    """Give what runs a graph that takes several arrays, and may read its weights of files `beside` it.

    Raises `WeightsError`, as `load_graph` does.
    """
    return _runner(_session(content, beside, path), path)


def _of_images(run: RunArrays) -> Run:
    return lambda names, images: run(names, {IMAGES: images})


def _runner(session: Any, path: Path) -> RunArrays:
    import onnxruntime

    only = onnxruntime.RunOptions()
    only.log_severity_level = _QUIET
    only.only_execute_path_to_fetches = True
    only.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(names: Sequence[str], given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            arrays: list[Any] = session.run(list(names), dict(given), only)
        except Exception as error:
            if out_of_memory(error):
                raise
            raise WeightsError(f"{path}: cannot be run: {_reason(error)}") from None
        return arrays

    return run


def _session(content: bytes, beside: Mapping[str, bytes], path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError(f"{path}: onnxruntime cannot be imported ({error}); {_INSTALL}") from None
    onnxruntime.disable_telemetry_events()  # which builds for Windows have
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # which would plan for the largest of all batches, at twice the memory
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if beside:
        options.add_external_initializers_from_files_in_memory(
            list(beside), list(beside.values()), [len(each) for each in beside.values()]
        )
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no base of its errors
        raise WeightsError(f"{path}: cannot be read as an ONNX graph: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_REASON]


def runtime_here() -> bool:
    """Tell whether onnxruntime is installed."""
    return find_spec("onnxruntime") is not None


def threads() -> int:
    """Count the threads that a graph runs on: as many as `OMP_NUM_THREADS` says, else one a core (0)."""
    try:
        return max(0, int(os.environ.get("OMP_NUM_THREADS", "0")))
    except ValueError:
        return 0
