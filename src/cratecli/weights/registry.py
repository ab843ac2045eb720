"""Checkpoints by name, and what is known of each: the packaged `weights.toml`, and the user's own over it."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from urllib.parse import urlsplit

import platformdirs
import tomli_w

from cratecli.errors import RegistryError, UsageError
from cratecli.files import replacing
from cratecli.model.config import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, CrateConfig
from cratecli.weights.tables import Table, read_table

BUILT_IN = "crate-nano"
CUSTOM = "custom"  # an architecture given field by field
TIMM = "timm:"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NORMALISATIONS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD)}


@dataclass(frozen=True)
class BuiltIn:
    """A file shipped in the package, relative to `cratecli/data`."""

    path: str


@dataclass(frozen=True)
class Hub:
    """A file on the Hugging Face Hub; no revision means whatever `main` holds."""

    repository: str
    revision: str | None
    file: str


@dataclass(frozen=True)
class Drive:
    """A file on Google Drive."""

    id: str


@dataclass(frozen=True)
class Url:
    """A file behind plain addresses: the first, and mirrors that are asked in turn when it fails."""

    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Local:
    """A file the user brought: absolute, or relative to the cache folder."""

    path: str


Source = BuiltIn | Hub | Drive | Url | Local


@dataclass(frozen=True)
class Checkpoint:
    """One row of the registry. What is not known is `None`; `config` is `None` for timm's ViTs.

    `source` is `None` when the file cannot be fetched and the user must bring it; `least_confidence`, 0–1, is what
    `auto` must have not to see nothing.
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
    unverified: bool = False

    @property
    def pinned(self) -> bool:
        """Tell whether the registry says what the file's bytes must be."""
        return self.sha256 is not None


@dataclass(frozen=True)
class Registry:
    """All checkpoints known by name, in the order of their files."""

    checkpoints: Mapping[str, Checkpoint]

    @property
    def names(self) -> tuple[str, ...]:
        """List the names."""
        return tuple(self.checkpoints)

    def find(self, name: str) -> Checkpoint:
        """Find a checkpoint by name. Raises `UsageError` with the nearest name for an unknown one."""
        if name not in self.checkpoints:
            raise UsageError(f"no model {name!r}{_nearest(name, self.names)}; see: crate models list")
        return self.checkpoints[name]


def user_registry() -> Path:
    """Give the path of the user's own registry, which need not exist."""
    return platformdirs.user_config_path("crate") / "weights.toml"


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
        checkpoints |= _read(path)
    return Registry(MappingProxyType(checkpoints))


def save_checkpoint(checkpoint: Checkpoint) -> None:
    """Append a checkpoint, every config field spelt out, to the user's own registry.

    Takes a `Local` source and a name no registry has. Raises `UsageError` for a name that cannot be one,
    `RegistryError` when the file cannot be written.
    """
    check_name(checkpoint.name)
    if checkpoint.config is None or not isinstance(checkpoint.source, Local):
        raise ValueError("only a CRATE the user brought is saved in the user's registry")
    row = {"architecture": checkpoint.architecture, **checkpoint.config.to_dict()}
    row |= {"file": checkpoint.source.path, "bytes": checkpoint.bytes, "sha256": checkpoint.sha256}
    known = {name: list(v) if isinstance(v, tuple) else v for name, v in row.items() if v is not None}
    path = user_registry()
    try:
        before = path.read_bytes().rstrip() + b"\n\n" if path.exists() else b""
        with replacing(path) as stream:
            stream.write(before + tomli_w.dumps({"models": {checkpoint.name: known}}).encode())
            stream.flush()
            _read(Path(stream.name))  # what could not be read again must not be saved
    except OSError as error:
        raise RegistryError(f"{path}: cannot be written: {error.strerror}") from None


def check_name(name: str) -> None:
    """Raise `UsageError` unless `name` can name a checkpoint: ASCII letters, digits, `-` and `_`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a model: take letters, digits, - and _")


def default_name() -> str:
    """Name the default model: `$CRATE_MODEL`, else the one `set_default` saved, else the built-in one."""
    if name := os.environ.get("CRATE_MODEL"):
        return name
    try:
        return _saved_default().read_text(errors="replace").strip() or BUILT_IN
    except OSError:
        return BUILT_IN


def set_default(name: str) -> None:
    """Save the default model's name in the user's config folder. Raises `UsageError` when that fails."""
    try:
        with replacing(_saved_default()) as stream:
            stream.write(f"{name}\n".encode())
    except OSError as error:
        raise UsageError(f"{_saved_default()}: cannot be written: {error.strerror}") from None


def _saved_default() -> Path:
    return platformdirs.user_config_path("crate") / "default-model"


def _packaged_registry() -> Path:
    package = Path(__file__).parents[1]
    for folder in (package, package.parents[1]):  # an installed wheel; an editable checkout
        if (path := folder / "weights.toml").is_file():
            return path
    raise RegistryError(f"{package / 'weights.toml'}: missing; install cratecli again")


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _read(path: Path) -> dict[str, Checkpoint]:
    top = read_table(path)
    models = {name: _checkpoint(row) for name, row in top.tables("models").items()}
    top.finish()
    return models


def _checkpoint(row: Table) -> Checkpoint:
    name = row.path[-1]
    if not _NAME.fullmatch(name):
        raise row.broken("a name takes letters, digits, - and _")
    architecture = row.need("architecture", str)
    checkpoint = Checkpoint(
        name=name,
        architecture=architecture,
        config=_config(row, architecture),
        source=_source(row),
        bytes=row.take("bytes", int),
        approximate_bytes=row.take("approximate_bytes", int),
        sha256=row.take("sha256", str),
        licence=row.take("licence", str),
        trained_on=row.take("trained_on", str),
        note=row.take("note", str),
        least_confidence=row.number("least_confidence") if "least_confidence" in row.rest else None,
        unverified=row.take("unverified", bool) or False,
    )
    row.finish()
    if checkpoint.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", checkpoint.sha256):
        raise row.broken("sha256 is not 64 lower-case hexadecimal digits", "sha256")
    for size in ("bytes", "approximate_bytes"):
        if (value := getattr(checkpoint, size)) is not None and value < 1:
            raise row.broken(f"{size} is not positive", size)
    if checkpoint.least_confidence is not None and not 0 <= checkpoint.least_confidence <= 1:
        raise row.broken("least_confidence is not within 0 to 1", "least_confidence")
    return checkpoint


def _config(row: Table, architecture: str) -> CrateConfig | None:
    if architecture.startswith(TIMM):
        if not re.fullmatch(
            r"[\w.-]+", architecture.removeprefix(TIMM), re.ASCII
        ):  # timm would fetch `hf-hub:…`
            raise row.broken(f"{architecture!r} is not timm: and a name of timm's own", "architecture")
        return None
    if architecture not in ARCHITECTURES and architecture != CUSTOM:
        raise row.broken(
            f"unknown architecture {architecture!r}{_nearest(architecture, ARCHITECTURES)}", "architecture"
        )
    values = ARCHITECTURES[architecture].to_dict() if architecture in ARCHITECTURES else {}
    if (normalisation := row.take("normalisation", str)) is not None:
        if normalisation not in _NORMALISATIONS:
            raise row.broken(f"normalisation is not one of {', '.join(_NORMALISATIONS)}", "normalisation")
        values["mean"], values["std"] = _NORMALISATIONS[normalisation]
    for part in fields(CrateConfig):
        if part.name not in row.rest:
            if part.default is MISSING and part.name not in values:
                raise row.broken(f"{part.name} is missing")
        elif part.type is float:
            values[part.name] = row.number(part.name)
        elif part.type is int or part.type is bool:
            values[part.name] = row.take(part.name, part.type)
        else:  # a name or three numbers: CrateConfig looks closer
            values[part.name] = row.take(part.name, list if part.name in ("mean", "std") else str)
    try:
        return CrateConfig.from_dict(values)
    except ValueError as error:
        raise row.broken(str(error)) from None


def _source(row: Table) -> Source | None:
    given = [name for name in ("builtin", "hub", "drive", "url", "file") if name in row.rest]
    if len(given) > 1:
        raise row.broken(f"one source is enough, not {' and '.join(given)}", given[1])
    if (hub := row.table("hub")) is not None:
        return _hub(hub)
    if (path := row.take("builtin", str)) is not None:
        return BuiltIn(path)
    if (drive := row.take("drive", str)) is not None:
        if not re.fullmatch(r"[\w-]+", drive, re.ASCII):
            raise row.broken("drive is not a Google Drive file id", "drive")
        return Drive(drive)
    if "url" in row.rest:
        return _url(row)
    return Local(file) if (file := row.take("file", str)) is not None else None


def _url(row: Table) -> Url:
    """Take one address, or a list of them."""
    addresses = row.take("url", list) if isinstance(row.rest["url"], list) else [row.need("url", str)]
    if not addresses or not all(isinstance(each, str) and _is_address(each) for each in addresses):
        raise row.broken("url is not an http(s) address, or a list of them", "url")
    return Url(tuple(addresses))


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(re.fullmatch(r"https?://[!-~]+", text) and parts.hostname and parts.port != 0)
    except ValueError:  # half an IPv6 address, or a port that is none
        return False


def _hub(row: Table) -> Hub:
    hub = Hub(row.need("repository", str), row.take("revision", str), row.need("file", str))
    row.finish()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", hub.repository, re.ASCII):
        raise row.broken("repository is not OWNER/NAME", "repository")
    if hub.revision is not None and not re.fullmatch("[0-9a-f]{40}", hub.revision):
        raise row.broken("revision is not a whole commit (40 hexadecimal digits)", "revision")
    file = PurePosixPath(hub.file)
    if file.is_absolute() or ".." in file.parts or not file.name:
        raise row.broken("file is not a path inside the repository", "file")
    return hub
