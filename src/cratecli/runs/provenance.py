"""How an output was made, as outputs and manifests hold it and `crate explain` reads it. Imports no torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cratecli.runs.jobs import Job
from cratecli.runs.manifest import MANIFEST
from cratecli.version import __version__

if TYPE_CHECKING:
    from cratecli.model.unroll import WhiteBox

Setting = str | bool | list[str]
"""An option's value as the command line has it: its words, whether it is set, or one word each time it is given."""

PATHS = frozenset({"files-from", "parts", "save-parts"})
"""Settings that are paths."""

EMPTY: Mapping[str, Any] = MappingProxyType({})
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "opencv-python-headless", "pillow")


@dataclass(frozen=True)
class Provenance:
    """What made an output: the command, its options as they are spelt there, and the weights.

    `settings` are what decides the outcome, nothing left to a default; `place` is where it ran and how. `inputs` are
    given where outputs are made from all of them together.
    """

    command: str
    settings: Mapping[str, Setting]
    weights: str
    weights_sha256: str
    place: Mapping[str, str | float]
    inputs: tuple[str, ...] = ()

    @property
    def options(self) -> str:
        """Digest what decides the outcome: SHA-256, in hexadecimal."""
        place = self.place["dtype"], self.place.get("least_confidence")
        told = [__version__, self.command, dict(self.settings), self.weights_sha256, *place]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, for JSON; paths are as the user gave them."""
        return {
            "version": __version__,
            "command": self.command,
            "settings": dict(self.settings),
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            **self.place,
            "seed": int(
                str(self.settings.get("seed", 0))
            ),  # k-means' where it is set, and GrabCut's, always 0
            "orientation": "upright, EXIF applied",
            "libraries": _libraries(),
        }

    def told(
        self, job: Job, sha256: str, facts: Mapping[str, Any] = EMPTY, folder: Path | None = None
    ) -> str:
        """Say how one photo's output was made, and what was found out on the way: text for a PNG.

        Paths are from its own folder. Where outputs are made of all `inputs` together, `folder` holds them all.
        """
        source = "-" if job.source is None else job.source
        about = {"input": _seen_from(source, job.target), "input_sha256": sha256}
        return json.dumps(self.since(job.target, folder) | about | dict(facts))

    def text(self, target: Path | None, folder: Path | None = None) -> str:
        """Say how an output of all inputs was made: text for a PNG; see `since`."""
        return json.dumps(self.since(target, folder))

    def since(self, target: Path | None, folder: Path | None = None) -> dict[str, Any]:
        """Say how an output, or the `folder` it is a part of, was made: plain data, paths from its own folder.

        Of all `inputs` what was given as an absolute path stays one: so are photos named in the output.
        """
        told = self.to_dict()
        told["settings"] |= {
            name: _seen_from(value, target)
            for name, value in self.settings.items()
            if name in PATHS and isinstance(value, str)
        }
        if Path(self.weights).is_file():
            told["weights"] = _seen_from(self.weights, target)
            told["weights_are"] = "file"
        if self.inputs or folder is not None:
            told["inputs"] = [
                each if Path(each).is_absolute() else _seen_from(each, target) for each in self.inputs
            ]
        if folder is not None:
            told["folder"] = _seen_from(folder, target)
        return told


def exported(kind: str, manifest: Path, target: Path | None) -> dict[str, Any]:
    """Say how a file was exported from a run: plain data, paths from its own folder."""
    run = manifest.parent if manifest.name == MANIFEST else manifest
    return {
        "version": __version__,
        "command": "export",
        "settings": {"as": kind},
        "inputs": [_seen_from(run, target)],
    }


def _seen_from(path: str | Path, target: Path | None) -> str:
    """Name a path from the folder an output lies in; from the working folder, if it goes to standard output."""
    folder = Path() if target is None else target.parent
    return "-" if path == "-" else Path(os.path.relpath(path, folder)).as_posix()


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def provenance(
    command: str,
    settings: Mapping[str, Setting],
    model: "WhiteBox",
    batch_size: int,
    inputs: tuple[str, ...] = (),
) -> Provenance:
    """Say how a command makes its outputs with a model."""
    from cratecli.runs.cache import identity

    parameter = next(model.parameters())
    weights = model.weights
    return Provenance(
        command=command,
        settings=settings,
        weights=weights.name if weights else "",
        weights_sha256=weights.sha256 if weights else identity(model),
        place={
            "device": str(parameter.device),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "batch_size": batch_size,
            **({"least_confidence": model.least_confidence} if command == "segment" else {}),
        },
        inputs=inputs,
    )
