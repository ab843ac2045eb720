"""A part vocabulary as a file: safetensors, with what is no array as JSON beside."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json, ValidationError
from safetensors import SafetensorError, safe_open

from cratecli.emergence.parts import Ground, Vocabulary
from cratecli.emergence.pca import Components
from cratecli.emergence.rules import Foreground
from cratecli.errors import InputError, OutputError, UsageError, validation_message
from cratecli.files import in_order, replacing
from cratecli.model.engine import Model
from cratecli.runs.cache import identity
from cratecli.tasks.recipes import PartRecipe

FORMAT = "crate parts 1"


class _Words(BaseModel):
    """What a vocabulary's file holds beside arrays, each a text of JSON; layers are counted from 0."""

    model_config = ConfigDict(strict=True)

    foreground: Foreground
    names: Annotated[list[str], BeforeValidator(json.loads)]  # pydantic would refuse what is no Unicode
    colours: Json[list[Annotated[int, Field(gt=0, lt=255)]]]
    layers: Json[list[int]]
    sizes: Json[list[int]]
    attention: Json[list[int]]


@dataclass(frozen=True, eq=False)
class Saved:
    """A vocabulary, and what the model was shown when it was learned."""

    vocabulary: Vocabulary
    recipe: PartRecipe


def save_vocabulary(path: Path, saved: Saved, model: Model) -> None:
    """Write a vocabulary whole or not at all, the same bytes each time. Raises `OutputError`."""
    words = saved.vocabulary
    arrays = {
        "everything.mean": words.ground.everything.mean,
        "everything.directions": words.ground.everything.directions,
        "everything.variances": words.ground.everything.variances,
        "inside.mean": words.inside.mean,
        "inside.directions": words.inside.directions,
        "inside.variances": words.inside.variances,
        "foreground": np.array([words.ground.side, words.ground.cut]),
        "range": np.stack([words.low, words.high]),
        "centroids": words.centroids,
    }
    about = {
        "format": FORMAT,
        "weights": model.weights.name if model.weights else "",
        "weights_sha256": model.weights.sha256 if model.weights else "",
        "model": identity(model),
        "layers": json.dumps(saved.recipe.layers),
        "sizes": json.dumps(saved.recipe.sizes),
        "attention": json.dumps(saved.recipe.attention),
        "foreground": words.ground.rule,
        "names": json.dumps(words.names),
        "colours": json.dumps(words.colours),
    }
    arrays = {name: np.ascontiguousarray(array, np.float64) for name, array in arrays.items()}
    try:
        with replacing(path) as stream:
            stream.write(in_order(safetensors.numpy.save(arrays, about)))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None


def load_vocabulary(path: Path, model: Model) -> Saved:
    """Read a vocabulary that was learned with `model`.

    Raises `InputError` for a file that is missing, broken or no vocabulary, `UsageError` for another model's.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with safe_open(path, framework="np", backend="pread") as stored:
            about = stored.metadata() or {}
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, ValueError) as error:  # NumPy knows not every number format
        raise InputError(f"{path}: cannot be read as a part vocabulary: {error}") from None
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: not a part vocabulary of this version")
    try:
        saved = _decode(arrays, about, model.depth)
    except ValidationError as error:
        raise InputError(f"{path}: a broken part vocabulary: {validation_message(error)}") from None
    except (KeyError, TypeError, ValueError, IndexError, UsageError) as error:
        raise InputError(f"{path}: a broken part vocabulary: {error}") from None
    if about.get("model") != identity(model):
        ours = model.weights.name if model.weights else "this model"
        theirs = f"{about.get('weights') or 'another model'} ({about.get('weights_sha256', '')[:12]})"
        raise UsageError(f"{path}: learned with {theirs}, which is not {ours}: use that model, or learn anew")
    return saved


def _decode(arrays: dict[str, Any], about: dict[str, str], depth: int) -> Saved:
    """Build the record, and refuse by `ValueError` what does not fit together."""

    def components(name: str) -> Components:
        parts = [arrays[f"{name}.{part}"] for part in ("mean", "directions", "variances")]
        read = Components(*parts)
        if read.directions.shape != (len(read.variances), len(read.mean)):
            raise ValueError(f"{name} of shape {read.directions.shape}")
        return read

    words = _Words.model_validate(about)
    everything, inside, centroids = components("everything"), components("inside"), arrays["centroids"]
    fits = (
        arrays["foreground"].shape == (2,)
        and arrays["range"].shape == (2, 3)
        and everything.mean.shape == inside.mean.shape == (everything.mean.size,)
        and len(everything.variances) == 4
        and all(0 <= layer < depth for layer in (*words.layers, *words.attention))
        and centroids.ndim == 2
        and 0 < len(centroids) == len(words.names) == len(words.colours) == len(set(words.colours))
        and centroids.shape[1] == len(inside.variances)
        and all(np.isfinite(array).all() for array in arrays.values())
    )
    if not fits:
        raise ValueError("its parts do not fit together")
    side, cut = (float(value) for value in arrays["foreground"])
    vocabulary = Vocabulary(
        ground=Ground(words.foreground, everything, side, cut),
        inside=inside,
        centroids=centroids,
        low=arrays["range"][0],
        high=arrays["range"][1],
        names=tuple(words.names),
        colours=tuple(words.colours),
    )
    layers, sizes, attention = (tuple(each) for each in (words.layers, words.sizes, words.attention))
    return Saved(vocabulary, PartRecipe(layers, sizes, attention, words.foreground, k=len(centroids)))
