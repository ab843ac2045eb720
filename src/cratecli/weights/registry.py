"""Checkpoints by name: the packaged `weights.toml`, and the user's own over it; the default model."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import platformdirs
import tomli_w
from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from cratecli.errors import OutputError, RegistryError, UsageError, WeightsError
from cratecli.files import replacing
from cratecli.model.config import CrateConfig
from cratecli.weights.folders import own
from cratecli.weights.rows import Hub, Local, RegistryRow, Source, matching
from cratecli.weights.tables import parse_rows, read_bytes
from cratecli.wording import nearest

BUILT_IN = "crate-nano"
HUB = r"hf:(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w-][\w./-]*))?"
"""The pattern of a model's address on the Hub, which is its name once it is pinned."""
MODEL_FILES = (".onnx", ".pth", ".pt", ".safetensors")
"""What the names of models' files end with, as a rule."""
_NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"
_NAME_RULE = "letters, digits, - and _"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the registry; `None` is unknown, and `config` is `None` for timm's ViTs.

    `source` is `None` when the file cannot be downloaded and the user must bring it. `bytes` is exact,
    `approximate_bytes` as published. Below `least_confidence`, 0–1, `--heads auto` finds nothing, below
    `least_agreement` `agree`. `graph_sha256` is of its ONNX graph, if the package has one, `head_sha256` and
    `head_graph_sha256` of its own mask head and of that one's graph.
    """

    name: str
    architecture: str
    config: CrateConfig | None
    source: Source | None
    bytes: int | None = None
    approximate_bytes: int | None = None
    sha256: str | None = None
    licence: str | None = None
    trained_on: str | None = None
    note: str | None = None
    least_confidence: float | None = None
    least_agreement: float | None = None
    graph_sha256: str | None = None
    head_sha256: str | None = None
    head_graph_sha256: str | None = None
    unverified: bool = False

    @property
    def pinned(self) -> bool:
        """Tell whether the registry gives the file's SHA-256."""
        return self.sha256 is not None


@dataclass(frozen=True)
class Registry:
    """All checkpoints by name, in the order of the registry files."""

    checkpoints: Mapping[str, Checkpoint]

    @property
    def names(self) -> tuple[str, ...]:
        """List the names."""
        return tuple(self.checkpoints)

    def find(self, name: str) -> Checkpoint:
        """Find a checkpoint by name.

        Raises `UsageError`, with the nearest name, for an unknown one, and `WeightsError` for an address on the Hub
        that was not pulled.
        """
        if name not in self.checkpoints:
            if re.fullmatch(HUB, name, re.ASCII):
                raise WeightsError(f"{name} is not on this machine; run: crate models pull {name}")
            raise UsageError(f"no model {name!r}{nearest(name, self.names)}; see: crate models list")
        return self.checkpoints[name]


def user_registry() -> Path:
    """Give the path of the user's own registry, which need not exist."""
    return own(platformdirs.user_config_path) / "weights.toml"


def registry_files() -> tuple[Path, ...]:
    """List the registry files: the packaged one, the user's own if there is one, and `$CRATE_WEIGHTS_TOML`.

    The variable holds one path, or several with the system's path separator between.
    """
    named = os.environ.get("CRATE_WEIGHTS_TOML", "").split(os.pathsep)
    own = [user_registry()] if os.path.lexists(user_registry()) else []
    return (_packaged_registry(), *own, *(Path(os.path.expanduser(path)) for path in named if path))  # noqa: PTH111


def load_registry(paths: Iterable[Path] | None = None) -> Registry:
    """Read registry files, later over earlier; without paths, those that `registry_files` lists.

    Raises `RegistryError`, as `FILE:LINE: models.NAME: reason`, for a file that is unreadable or unsound.
    """
    checkpoints: dict[str, Checkpoint] = {}
    for path in registry_files() if paths is None else paths:
        checkpoints |= _parse(path, read_bytes(path))
    return Registry(MappingProxyType(checkpoints))


def save_checkpoint(checkpoint: Checkpoint) -> None:
    """Append a checkpoint, with every config field, if it has them, to the user's own registry.

    Takes a `Local` source or a file of the Hub, and a name that no registry has. Raises `UsageError` for a name that
    cannot be one, `OutputError` when the file cannot be written.
    """
    match checkpoint.source:
        case Local(file):
            check_name(checkpoint.name)
            place: dict[str, Any] = {"file": file}
        case Hub() as hub:
            place = {"hub": {name: value for name, value in asdict(hub).items() if value is not None}}
        case _:
            raise ValueError("only a file the user brought, or of the Hub, is saved in the user's registry")
    config = {} if checkpoint.config is None else checkpoint.config.to_dict()
    row = {"architecture": checkpoint.architecture, **config, **place, "licence": checkpoint.licence}
    row |= {"bytes": checkpoint.bytes, "sha256": checkpoint.sha256}
    known = {name: list(v) if isinstance(v, tuple) else v for name, v in row.items() if v is not None}
    path = user_registry()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            before = path.read_bytes().rstrip() + b"\n\n" if path.exists() else b""
            if there := _parse(path, before).get(checkpoint.name):  # another process was quicker
                if there == checkpoint:
                    return
                raise UsageError(f"{checkpoint.name} is registered by now, as another file")
            content = before + tomli_w.dumps({"models": {checkpoint.name: known}}).encode()
            _parse(path, content)  # what could not be read again must not be saved
            with replacing(path) as stream:
                stream.write(content)
    except OSError as error:
        hint = "set XDG_CONFIG_HOME to a folder that can be"
        raise OutputError(f"{path}: cannot be written: {error.strerror}; {hint}") from None


def check_name(name: str) -> None:
    """Raise `UsageError` unless `name` can name a checkpoint: ASCII letters, digits, `-` and `_`."""
    if not re.fullmatch(_NAME, name):
        raise UsageError(f"{name!r} cannot name a model: take {_NAME_RULE}")


def default_name() -> str:
    """Name the default model, or its file: `$CRATE_MODEL`, else what `set_default` saved, else the built-in one."""
    if name := os.environ.get("CRATE_MODEL"):
        return name
    try:
        return _saved_default().read_text(errors="replace").strip() or BUILT_IN
    except OSError:
        return BUILT_IN


def default_file() -> Path | None:
    """Give the default model's file, where the default is no name of the registry but a file.

    Raises `WeightsError` for a path that leads to none, and `RegistryError`.
    """
    name = default_name()
    if name in load_registry().checkpoints:
        return None
    if os.path.isfile(name):  # noqa: PTH113 - Path.is_file raises for a name too long
        return Path(name)
    if Path(name).name != name or Path(name).suffix in MODEL_FILES:
        told = "CRATE_MODEL" if os.environ.get("CRATE_MODEL") else "crate models default"
        raise WeightsError(f"{name}: no such file: it is the default model, by {told}")
    return None


def set_default(name: str) -> None:
    """Save the default model's name, or its file's path, in the user's config folder.

    Raises `OutputError` when that fails.
    """
    try:
        with replacing(_saved_default()) as stream:
            stream.write(f"{name}\n".encode())
    except OSError as error:
        hint = f"set XDG_CONFIG_HOME to a folder that can be, or CRATE_MODEL={name}"
        raise OutputError(f"{_saved_default()}: cannot be written: {error.strerror}; {hint}") from None


def _saved_default() -> Path:
    return own(platformdirs.user_config_path) / "default-model"


def _packaged_registry() -> Path:
    package = Path(__file__).parents[1]
    for folder in (package, package.parents[1]):  # an installed wheel; an editable checkout
        if (path := folder / "weights.toml").is_file():
            return path
    raise RegistryError(f"{package / 'weights.toml'}: missing; install cratecli again")


class _Rows(BaseModel):
    model_config = ConfigDict(extra="forbid")

    models: dict[Annotated[str, matching(f"{_NAME}|{HUB}", f"a name of {_NAME_RULE}")], RegistryRow] = {}


@lru_cache(maxsize=8)
def _parse(path: Path, content: bytes) -> Mapping[str, Checkpoint]:
    rows = parse_rows(path, content, _Rows).models
    return MappingProxyType({name: _checkpoint(name, row) for name, row in rows.items()})


def _checkpoint(name: str, row: RegistryRow) -> Checkpoint:
    facts = {each.name: getattr(row, each.name) for each in fields(Checkpoint) if each.name != "name"}
    return Checkpoint(name, **facts)
