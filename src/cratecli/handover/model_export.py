"""Hand a model to other runtimes: one file, read again and compared with the model on two photos before it counts."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from cratecli.arrays import RGB
from cratecli.emergence.features import absolute_layers
from cratecli.errors import OutputError, UsageError
from cratecli.files import replacing
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.io import images
from cratecli.model.graph import GraphFacts, attention_name
from cratecli.model.unroll import WhiteBox
from cratecli.weights import graphs
from cratecli.weights.exporting import (
    ExportChoice,
    Number,
    as_onnx,
    as_torch,
    facts_of,
    output_names,
    trace,
)

Format = Literal["onnx", "torch"]
ENDINGS: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
LARGEST_ERROR = 1e-4  # of an output's largest value: a float32 export that is further off is refused

_PHOTOS = ("china.jpg", "flower.jpg")  # which scikit-learn has


@dataclass(frozen=True)
class Exported:
    """What was written: where, how many bytes with which SHA-256, in hexadecimal, and how far it is from the model.

    Errors are the largest on two photos, as shares of an output's largest value: of attention, and of all outputs.
    """

    path: Path
    bytes: int
    sha256: str
    attention_error: float
    error: float


def choose_export(
    model: WhiteBox,
    *,
    layers: Sequence[int] | Literal["all"] = "all",
    sizes: Sequence[tuple[int, int]] | None = None,
    dtype: Number = "float32",
) -> ExportChoice:
    """Settle what an export gives; `sizes` are heights and widths, px, `None` is any.

    Raises `UsageError` for a layer that the model lacks, and a size off its patch grid.
    """
    if dtype not in get_args(Number):
        raise UsageError(f"dtype is {dtype!r}, not one of {', '.join(get_args(Number))}")
    try:
        every = absolute_layers(range(model.depth) if layers == "all" else layers, model.depth)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for height, width in sizes or ():
        if height % model.patch_size or width % model.patch_size or min(height, width) < 1:
            raise UsageError(f"a size of {height} × {width} px is no grid of {model.patch_size}-px patches")
    chosen = None if sizes is None else tuple(dict.fromkeys(Size(*size) for size in sizes))
    return ExportChoice(tuple(sorted(set(every))), chosen, dtype)


def choose_format(path: Path, asked: Format | None) -> Format:
    """Choose the format that a path ends in, or that was asked for. Raises `UsageError` where they contradict."""
    ended = next((each for each, ending in ENDINGS.items() if path.suffix.lower() == ending), None)
    if asked is not None and ended not in (None, asked):
        raise UsageError(f"{path} ends as a file of {ended}, and --format says {asked}")
    if (chosen := asked or ended) is None:
        raise UsageError(f"{path}: end it in {' or '.join(ENDINGS.values())}, or give --format")
    if chosen == "onnx" and ended != "onnx":
        raise UsageError(f"{path}: an ONNX file is known by its ending: call it {path.name}.onnx")
    return chosen


def export_model(model: WhiteBox, path: Path, choice: ExportChoice, form: Format) -> Exported:
    """Write a model, on the CPU and in float32, as one file for other runtimes, and read it again.

    Raises `OutputError` where it cannot be written, or answers otherwise than the model by more than 1e-4 (in float16,
    where it is not finite), and `UsageError` for what cannot be exported. Nothing is left of what is refused.
    """
    facts = facts_of(model, choice)
    program = trace(model, facts)
    content = as_onnx(program, facts).SerializeToString() if form == "onnx" else as_torch(program, facts)
    run = _onnx_run(content, facts, path) if form == "onnx" else _torch_run(content)
    errors = compare(model, facts, run)
    attention = max(errors[attention_name(layer)] for layer in facts.layers)
    worst = max(errors.values())
    if not np.isfinite(worst) or (choice.dtype == "float32" and worst > LARGEST_ERROR):
        raise OutputError(
            f"{path}: not written: it would answer otherwise than the model, "
            f"by {worst:.1e} of the largest value, at most {LARGEST_ERROR:g} is right"
        )
    try:
        with replacing(path) as stream:
            stream.write(content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    return Exported(path, len(content), hashlib.sha256(content).hexdigest(), attention, worst)


RunExport = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Runs an export on a batch: its outputs, in their order."""


def compare(model: WhiteBox, facts: GraphFacts, run: RunExport) -> dict[str, float]:
    """Compare an export with the model on two photos: of every output the largest error, as a share of its largest.

    They are shown together, and one alone, at each size that the export takes, or at the model's own, at its half again
    and at a small one.
    """
    errors = dict.fromkeys(output_names(facts), 0.0)
    shown = [
        np.stack([images.fit(photo, grid, model.patch_size, model.mean, model.std) for photo in photos()])
        for grid in _grids(model, facts)
    ]
    for batch in (*shown, shown[0][1:]):
        for name, right, found in zip(
            errors, _right(model, facts, batch), run(batch.astype(facts.dtype)), strict=True
        ):
            if right.shape != found.shape:
                raise OutputError(
                    f"{name} has another shape than the model's: {found.shape}, not {right.shape}"
                )
            off = float(
                np.abs(found.astype(np.float32) - right).max() / max(float(np.abs(right).max()), 1e-12)
            )
            errors[name] = max(errors[name], off) if np.isfinite(off) else np.inf
    return errors


def photos() -> list[RGB]:
    """Read the two photos that every export is tried on."""
    folder = files("sklearn.datasets.images")
    return [images.read_bytes(folder.joinpath(name).read_bytes(), name) for name in _PHOTOS]


def _grids(model: WhiteBox, facts: GraphFacts) -> list[Grid]:
    patch = model.patch_size
    if facts.sizes is not None:
        return [Grid(height // patch, width // patch) for height, width in facts.sizes]
    size, side = Size(*photos()[0].shape[:2]), model.image_size
    shown = (
        fit_grid(size, side, patch),
        fit_grid(size, side * 3 // 2, patch),
        fit_grid(size, 2 * patch, patch),
    )
    return list(dict.fromkeys(shown))


def _right(model: WhiteBox, facts: GraphFacts, batch: np.ndarray) -> list[np.ndarray]:
    """Answer as the model does."""
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for state in model.unroll(torch.from_numpy(batch)):
            if state.index in facts.layers:
                found += [state.class_attention(), state.subspaces]
                found += [] if facts.tied else [state.projection.query]
            tokens = state.tokens
        found.append(model.classify(tokens))
    return [each.float().numpy() for each in found]


def _onnx_run(content: bytes, facts: GraphFacts, path: Path) -> RunExport:
    run = graphs.runner(content, path)
    return lambda batch: run(output_names(facts), batch)


def _torch_run(content: bytes) -> RunExport:
    program = torch.export.load(io.BytesIO(content)).module()

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [each.float().numpy() for each in program(torch.from_numpy(batch))]

    return run
