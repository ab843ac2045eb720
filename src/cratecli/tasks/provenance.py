"""How an output was made, as it is written into outputs and manifests, and read again by `crate explain`."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cratecli import __version__
from cratecli.model.unroll import WhiteBox
from cratecli.tasks.features import identity
from cratecli.tasks.jobs import Job

Setting = str | bool | list[str]
"""An option's value as the command line has it: its words, whether it is set, or one word each time it is given."""

EMPTY: Mapping[str, Any] = MappingProxyType({})
_LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pillow")


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
    place: Mapping[str, str]
    inputs: tuple[str, ...] = ()

    @property
    def options(self) -> str:
        """Digest what decides the outcome: SHA-256, in hexadecimal."""
        told = [__version__, self.command, dict(self.settings), self.weights_sha256, self.place["dtype"]]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, for JSON."""
        return {
            "version": __version__,
            "command": self.command,
            "settings": dict(self.settings),
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            **self.place,
            "orientation": "upright, EXIF applied",
            "libraries": _libraries(),
        }

    def told(
        self, job: Job, sha256: str, facts: Mapping[str, Any] = EMPTY, output: Path | None = None
    ) -> str:
        """Say how one photo's output was made, and what was found out on the way: text for a PNG.

        Paths are from its own folder. Where all `inputs` together made it, `output` is the folder for everything.
        """
        source, target = job.source, job.target
        about = {"input": _seen_from("-" if source is None else source, target), "input_sha256": sha256}
        return json.dumps(self.since(target, output) | about | dict(facts))

    def text(self, target: Path | None, output: Path | None = None) -> str:
        """Say how an output of all inputs was made: text for a PNG; see `since`."""
        return json.dumps(self.since(target, output))

    def since(self, target: Path | None, output: Path | None = None) -> dict[str, Any]:
        """Say how an output, or the folder `output` of it, was made, as plain data; paths are from its own folder."""
        inputs = [_seen_from(each, target) for each in self.inputs]
        name = target if output is None else output
        told = {"output": "-" if name is None else _seen_from(name, target)}
        return self.to_dict() | ({"inputs": inputs} if inputs else {}) | told


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
    model: WhiteBox,
    batch_size: int,
    inputs: tuple[str, ...] = (),
) -> Provenance:
    """Say how a command makes its outputs with a model."""
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
            "batch_size": str(batch_size),
        },
        inputs=inputs,
    )
