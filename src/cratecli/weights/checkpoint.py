"""Load a model from a verified checkpoint file: every known wrapping and layout, and no code unpickled."""

import json
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path
from pickle import UnpicklingError
from reprlib import repr as short
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from cratecli.errors import UsageError, WeightsError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.device import choose_device
from cratecli.model.engine import WeightsId
from cratecli.model.unroll import WhiteBox
from cratecli.weights import fetch
from cratecli.weights.class_names import class_names
from cratecli.weights.graphs import is_graph
from cratecli.weights.layouts import LAYOUTS, find_layout, rename
from cratecli.weights.loading import find_weights
from cratecli.weights.registry import Checkpoint
from cratecli.weights.rows import TIMM
from cratecli.weights.strict import list_names, load_strictly

_REASON = 200  # characters of a parser's own words
_NO_TENSORS = "refused: it is not a file of plain tensors"


class Tensors(NamedTuple):
    """The tensors of a checkpoint file, by the file's names, and the config and class names (JSON) stored in it."""

    by_name: dict[str, Tensor]
    config: CrateConfig | None
    labels: str | None = None


def read_tensors(path: Path) -> Tensors:
    """Read the tensors of a safetensors, torch or NumPy `.npz` file, whatever it is called.

    Known wrappings are taken off. Raises `WeightsError` for a file of anything but tensors by name.
    """
    config = labels = None
    if is_graph(path):
        raise WeightsError(f"{path}: is an ONNX graph, and this needs the model that it was made of")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if zipped := head.startswith(b"PK"):
            _refuse_packed_records(path)
            if _is_program(path):
                raise WeightsError(
                    f"{path}: is a program of torch.export: -m takes its model, or an ONNX export"
                )
        if head[8:] == b"{":
            with safe_open(path, framework="pt", backend="pread") as stored:
                about = stored.metadata() or {}
                labels = about.get("labels")
                if text := about.get("config"):
                    config = CrateConfig.from_dict(dict(json.loads(text)))
                content: Any = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        elif zipped and _is_npz(path):
            with np.load(path, allow_pickle=False) as arrays:
                content = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        else:
            # MAE's training script saves its options, an inert Namespace, beside the weights.
            with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except WeightsError:
        raise
    except UnpicklingError:
        raise WeightsError(f"{path}: {_NO_TENSORS}") from None
    except Exception as error:  # a broken file makes its parser raise anything
        reason = str(error).strip().partition("\n")[0][:_REASON] or type(error).__name__
        if "weights_only" in reason:  # torch's advice to run what is in the file, a TorchScript for one
            raise WeightsError(f"{path}: {_NO_TENSORS}") from None
        raise WeightsError(f"{path}: cannot be read as a checkpoint: {reason}") from None
    return Tensors(_unwrap(content, path), config, labels)


def _refuse_packed_records(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    stored = all(record.compress_type == zipfile.ZIP_STORED for record in records)
    if not stored or sum(record.file_size for record in records) > path.stat().st_size:
        raise ValueError("its records are compressed, or more than the file holds")


def _is_program(path: Path) -> bool:
    """Tell whether a zip file is a `.pt2` of torch.export."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/archive_format") for name in archive.namelist())


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """Descend to the state dict, and strip the prefix `module.` of DistributedDataParallel."""
    for wrapping in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no tensors by name")
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        plain = isinstance(value, Tensor) and value.layout is torch.strided
        if not plain or value.is_meta or value.is_nested:
            raise WeightsError(f"{path}: {short(name)} is not a plain tensor: this is no state dict")
        tensors[str(name)] = value
    if sum(tensor.nbytes for tensor in tensors.values()) > path.stat().st_size:
        raise WeightsError(f"{path}: refused: its tensors claim to be larger than the file")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def to_ours(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], str]:
    """Rename the tensors of a released file to our names, and give them with the name of the file's layout.

    Raises `WeightsError` for an unknown layout or a tensor that no rule of the layout knows.
    """
    layout = find_layout(tensors)
    if layout is None:
        raise WeightsError(f"{path}: not a CRATE checkpoint; its tensors are {list_names(tensors)}")
    try:
        renamed, unknown = rename(tensors, layout)
    except (RuntimeError, IndexError):
        raise WeightsError(f"{path}: a tensor has other dimensions than the {layout} layout") from None
    if unknown:
        raise WeightsError(f"{path}: unexpected in the {layout} layout: {list_names(unknown)}")
    return renamed, layout


def read_config(
    path: Path,
    heads: int | None = None,
    step_size: float | None = None,
    sparsity_weight: float | None = None,
) -> CrateConfig:
    """Read a file's config: the one stored in it, or one from its tensors' shapes and the caller's values.

    The number of heads, η and λ cannot be read off shapes. Raises `WeightsError` when the heads are not known.
    """
    tensors = read_tensors(path)
    return _config_of(tensors, path, heads, step_size, sparsity_weight)


def _config_of(
    tensors: Tensors, path: Path, heads: int | None, step_size: float | None, sparsity_weight: float | None
) -> CrateConfig:
    given = {"heads": heads, "step_size": step_size, "sparsity_weight": sparsity_weight}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if tensors.config is None and heads is None:
        raise WeightsError(
            f"{path}: how many heads it has cannot be read off a checkpoint; "
            f"name it first: crate models add {path} --as NAME --heads K"
        )
    try:
        if tensors.config is not None:
            return replace(tensors.config, **changes)
        renamed, layout = to_ours(tensors.by_name, path)
        return CrateConfig(**{**_read_shapes(renamed, path), **LAYOUTS[layout].constants, **changes})
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None


def _read_shapes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Read width, depth, patch, image size, classes and blocks off renamed tensors."""
    first = "layers.0."
    try:
        conv = tensors.get("stem.convolution.weight")
        inputs = tensors["stem.linear.weight"].shape[1] if conv is None else 0
        patch_size = isqrt(inputs // 3) if conv is None else conv.shape[-1]
        side = isqrt(tensors["position_embedding"].shape[1] - 1)
        rows, width = tensors[first + "attention.subspaces.weight"].shape
        parts = {name.removeprefix(first + "sparsifier.") for name in tensors if name.startswith(first)}
        classes = tensors["head.weight"].shape[0] if "head.weight" in tensors else 0
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(
            f"{path}: incomplete: the model's sizes cannot be read off its tensors ({error})"
        ) from None
    return {
        "patch_size": patch_size,
        "image_size": side * patch_size,
        "width": width,
        "depth": len({name.split(".")[1] for name in tensors if name.startswith("layers.")}),
        "classes": classes,
        "attention": "mhsa" if rows == 3 * width else "mssa",
        "sparsifier": "odl" if "decoder" in parts else "mlp" if "up.weight" in parts else "ista",
        "stem": "linear" if conv is None else "conv",
        "output_bias": first + "attention.output.bias" in tensors,
        "pre_logits": "pre_logits.weight" in tensors,
    }


def load_model(
    name_or_file: str | Path | None = None,
    heads: int | None = None,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    *,
    step_size: float | None = None,
    sparsity_weight: float | None = None,
) -> WhiteBox:
    """Load a model by its registry name or from a checkpoint file, for inference; nothing is downloaded.

    `None` is the default model. `heads`, `step_size` (η) and `sparsity_weight` (λ) replace what the registry
    or the file says. `device` is `auto`, `cpu`, `cuda[:N]`, `mps` or a `torch.device`; `dtype` is `auto`
    (bfloat16 on CUDA, else float32), `float32` or `bfloat16`.
    Raises `UsageError` (unknown name), `WeightsError` (missing, refused or unfit file), `DeviceError`.
    """
    place, number = choose_device(device, dtype)
    row, path = find_weights(name_or_file)
    if is_graph(path):
        raise UsageError(
            f"{path} is an ONNX graph, and this needs the model itself, by its name or checkpoint file"
        )
    sha256 = fetch.fingerprint(path)[1] if row is None else fetch.verified(row, path)
    tensors = read_tensors(path)
    model: WhiteBox
    if row is None or row.config is not None:
        known = tensors if row is None else tensors._replace(config=row.config)
        model = _build_crate(_config_of(known, path, heads, step_size, sparsity_weight), tensors, path)
        model.fold()  # in float32, whatever the number format
    elif (heads, step_size, sparsity_weight) == (None, None, None):
        model = _build_vit(row.architecture, row.name, tensors, path)
    else:
        raise UsageError(f"{row.name} is a ViT from timm: its heads, η and λ cannot be chosen")
    model.weights = WeightsId(str(path) if row is None else row.name, sha256)
    for bound in ("least_confidence", "least_agreement"):
        if row is not None and (measured := getattr(row, bound)) is not None:
            setattr(model, bound, measured)
    return model.eval().requires_grad_(False).to(place, number)


def build_crate(tensors: Tensors, path: Path) -> Crate:
    """Build the CRATE that a file describes by itself, on the CPU, in float32. Raises `WeightsError`."""
    return _build_crate(_config_of(tensors, path, None, None, None), tensors, path)


def _build_crate(config: CrateConfig, tensors: Tensors, path: Path) -> Crate:
    with torch.device("meta"):
        model = Crate(config)
    load_strictly(model, to_ours(tensors.by_name, path)[0], path)
    model.labels = class_names(tensors.labels, config.classes, path)
    return model


def check_fit(row: Checkpoint, path: Path) -> None:
    """Check that a file holds the tensors of a registry's row, whose bytes the registry may not know.

    Raises `WeightsError` for an unfit file.
    """
    if row.config is None:
        _build_vit(row.architecture, row.name, read_tensors(path), path)
    else:
        _build_crate(row.config, read_tensors(path), path)


def check_vit(path: Path, architecture: str, name: str) -> None:
    """Check that a file holds the weights of `timm:NAME`, a ViT; `name` is what it will be called.

    Raises `UsageError` for another model, `WeightsError` for an unfit file.
    """
    _build_vit(architecture, name, read_tensors(path), path)


def _build_vit(architecture: str, name: str, tensors: Tensors, path: Path) -> WhiteBox:
    from cratecli.model.vit import build_vit
    from cratecli.weights.vit_layouts import to_timms

    try:
        model = build_vit(architecture.removeprefix(TIMM))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    load_strictly(model.vit, to_timms(model.vit, tensors.by_name, path), path)
    return model
