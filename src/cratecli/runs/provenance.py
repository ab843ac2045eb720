"""How an output was made, as outputs and manifests record it and `crate explain` reads it. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cratecli.emergence.rules import BUILT_IN_HEAD
from cratecli.files import seen_from
from cratecli.io.urls import is_url, shown
from cratecli.runs.jobs import Job
from cratecli.runs.manifest import MANIFEST
from cratecli.version import __version__

if TYPE_CHECKING:
    from cratecli.model.engine import Model

_ENGINES: Mapping[str, tuple[str, ...]] = {"torch": ("torch",), "onnx": ("onnxruntime",)}
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "opencv-python-headless", "pillow")
_MATTING = ("pymatting", "numba")
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, serialize_by_alias=True, validate_by_name=True)


EXPORT_PATHS = ("root", "ids_from")
"""The options of an export that are paths."""

Command = Literal["segment", "objects", "parts", "heads", "layers", "explore"]
"""The commands that ask a question."""


class Selection(BaseModel):
    """How photos were chosen, beside the names that were given: the options of the command line."""

    model_config = _STRICT

    recursive: bool = Field(default=False, description="Whether folders of folders were searched.")
    include: list[str] = Field(default=[], description="Shell patterns of photos to take.")
    exclude: list[str] = Field(default=[], description="Shell patterns of photos to leave out.")
    files_from: str | None = Field(
        default=None, description="A file that lists photos; `-` is standard input."
    )
    null: bool = Field(default=False, description="Whether paths in the list end with NUL.")


class Provenance(BaseModel):
    """How an output was made: the command, its recipe, the weights, the place and the photos.

    In an output, paths are relative to the folder that the output lies in. Fields of other versions are passed over.
    """

    model_config = _STRICT | {"extra": "ignore"}

    version: str = Field(default=__version__, description="The version of crate.")
    command: Command | Literal["export"] = Field(description="The command of crate.")
    recipe: dict[str, Any] = Field(
        default={}, description="Every option of the question, nothing left to a default."
    )
    as_: str | None = Field(
        default=None, validation_alias="as", serialization_alias="as", description="What was written: --as."
    )
    background: str | None = Field(
        default=None, description="What the cut-out is put on: a colour, or the path of a photo."
    )
    background_sha256: str | None = Field(
        default=None, description="SHA-256 of the background's file, hexadecimal; a colour has none."
    )
    crop: bool | None = Field(default=None, description="Whether the picture is cropped to the mask's box.")
    margin: float | None = Field(
        default=None, description="Room around that box, as a share of its longer side, 0–1."
    )
    matting: bool | None = Field(default=None, description="Whether the cut-out's edges are soft.")
    head: str | None = Field(
        default=None, description="The mask head that drew the mask: a path, or built-in."
    )
    head_sha256: str | None = Field(default=None, description="SHA-256 of the head's file, hexadecimal.")
    names: str | None = Field(default=None, description="Names given to parts: --names.")
    parts: str | None = Field(default=None, description="The part vocabulary that labelled: a path.")
    save_parts: str | None = Field(
        default=None, description="The part vocabulary that handed on names: a path."
    )
    max_pixels: int | None = Field(
        default=None, description="The most pixels a photo might have, if it was set."
    )
    photos: Selection | None = Field(
        default=None, description="How photos were chosen, for outputs of several."
    )
    input: str | None = Field(
        default=None, description="The photo's path or URL; `-` is standard input, `a.tar::b.jpg` in a shard."
    )
    input_sha256: str | None = Field(default=None, description="SHA-256 of the photo's file, hexadecimal.")
    inputs: list[str] | None = Field(default=None, description="Photos and folders, for outputs of several.")
    folder: str | None = Field(default=None, description="The folder that the whole run wrote.")
    sheet: int | None = Field(
        default=None, description="The contact sheet's number, of a run that wrote several, from 2."
    )
    weights: str | None = Field(
        default=None, description="The model's name, or the path of its checkpoint file."
    )
    weights_are: Literal["file"] | None = Field(default=None, description="`file` where `weights` is a path.")
    weights_sha256: str | None = Field(
        default=None, description="SHA-256 of the checkpoint file, hexadecimal."
    )
    engine: str | None = Field(default=None, description="What ran the model: torch or onnx (onnxruntime).")
    device: str | None = Field(default=None, description="Where the model ran: cpu, cuda:0, mps.")
    dtype: str | None = Field(default=None, description="The model's number format: float32 or bfloat16.")
    batch_size: int | None = Field(
        default=None, description="Photos that went through the model together, at most."
    )
    heads: list[int] | None = Field(
        default=None, description="The heads whose attention became the mask, from 0."
    )
    cropped: list[int] | None = Field(
        default=None,
        description="Left, top, width, height of what the picture shows, px of the upright photo.",
    )
    threshold: float | None = Field(
        default=None, description="The cut on the saliency map scaled to its own range, 0–1."
    )
    confidence: float | None = Field(
        default=None, description="How good the mask is thought to be, 0–1; see `crate segment --json`."
    )
    seed: int = Field(default=0, description="Seed of k-means; GrabCut's is always 0.")
    orientation: str = Field(default="upright, EXIF applied", description="The frame of pixels and boxes.")
    libraries: dict[str, str] = Field(default={}, description="Versions of the libraries that decide bits.")

    @property
    def digest(self) -> str:
        """Hash what decides the outcome, for --resume: SHA-256, in hexadecimal."""
        deciding = self.model_dump(
            include={"version", "command", "recipe", "as_", "names", "parts", "save_parts", "max_pixels"}
            | {
                "photos",
                "weights_sha256",
                "engine",
                "dtype",
                "crop",
                "margin",
                "matting",
                "head_sha256",
            }
        )
        deciding["background"] = self.background_sha256 or self.background
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def as_data(self) -> dict[str, Any]:
        """Give plain data, for JSON; what is not known is left out."""
        return self.model_dump(exclude_none=True)

    def to_json(self) -> str:
        """Write it as JSON text, for a picture."""
        return json.dumps(self.as_data())

    def of_photo(self, job: Job, sha256: str, *, folder: Path | None = None, **facts: Any) -> "Provenance":
        """Say how one photo's output was made, with the facts measured on the way.

        Where outputs are made of all inputs together, `folder` holds them all.
        """
        target = None if job.destination else job.target
        about = {"input": job.seen_from(Path() if target is None else target.parent), "input_sha256": sha256}
        return self.seen_from(target, folder).model_copy(update=about | facts)

    def seen_from(self, target: Path | None, folder: Path | None = None) -> "Provenance":
        """Make paths relative to the folder that an output lies in; without `target` to the working folder.

        `folder` is the folder that the output is a part of. Of `inputs`, absolute paths stay absolute: so are photos
        named in the output.
        """
        paths: dict[str, Any] = {
            name: relative(value, target)
            for name in ("parts", "save_parts", "head")
            if (value := getattr(self, name)) not in (None, BUILT_IN_HEAD)
        }
        if self.background and self.background_sha256:
            paths["background"] = relative(self.background, target)
        if self.photos and self.photos.files_from:
            listed = {"files_from": relative(self.photos.files_from, target)}
            paths["photos"] = self.photos.model_copy(update=listed)
        if self.weights and Path(self.weights).is_file():
            paths |= {"weights": relative(self.weights, target), "weights_are": "file"}
        if self.inputs is not None or folder is not None:
            inputs = self.inputs or []
            paths["inputs"] = [
                p if Path(p).is_absolute() or is_url(p) else relative(p, target) for p in inputs
            ]
        if folder is not None:
            paths["folder"] = relative(folder, target)
        return self.model_copy(update=paths)


def provenance(
    command: Command,
    recipe: Mapping[str, Any],
    model: "Model",
    batch_size: int,
    *,
    inputs: Sequence[str] | None = None,
    **options: Any,
) -> Provenance:
    """Say how a command makes its outputs with a model; `inputs` are given for outputs made of several photos."""
    from cratecli.runs.cache import identity

    engine, device, dtype = model.place
    weights = model.weights
    return Provenance(
        command=command,
        recipe=dict(recipe),
        seed=recipe.get("seed", 0),
        weights=weights.name if weights else None,
        weights_sha256=weights.sha256 if weights else identity(model),
        engine=engine,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        inputs=None if inputs is None else list(inputs),
        libraries=_libraries(_ENGINES[engine], _MATTING if options.get("matting") else ()),
        **options,
    )


def exported(
    kind: str,
    manifest: Path | str,
    target: Path | None,
    options: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Say how a file was exported from a run, with `options`, into a `folder` of several: plain data.

    Paths are relative to the file's folder.
    """
    run = shown(manifest) if isinstance(manifest, str) and is_url(manifest) else Path(manifest)
    if isinstance(run, Path):
        run = relative(run.parent if run.name == MANIFEST else run, target)
    recipe = {
        name: relative(value, target) if name in EXPORT_PATHS else value
        for name, value in (options or {}).items()
    }
    within = None if folder is None else relative(folder, target)
    made = Provenance(command="export", as_=kind, inputs=[run], recipe=recipe, folder=within)
    if recipe.get("orientation") == "raw":
        made = made.model_copy(update={"orientation": "as stored, EXIF not applied"})
    return made.as_data()


def relative(path: str | Path, target: Path | None) -> str:
    """Give a path as seen from the folder of `target`, or from the working folder; `-` stays."""
    folder = Path() if target is None else target.parent
    return "-" if path == "-" else seen_from(folder, Path(path))


@cache
def _libraries(engine: tuple[str, ...], more: tuple[str, ...] = ()) -> dict[str, str]:
    return {name: version(name) for name in (*engine, *_LIBRARIES, *more)}
