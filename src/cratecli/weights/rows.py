"""One row of `weights.toml`: a checkpoint's architecture, where its file comes from, and how it is verified."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cratecli.model.config import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, CrateConfig
from cratecli.wording import nearest

CUSTOM = "custom"  # an architecture given field by field
TIMM = "timm:"


def matching(pattern: str, meaning: str) -> AfterValidator:
    """Refuse text that does not match a pattern whole; `meaning` says what it should be."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"should be {meaning}")
        return text

    return AfterValidator(check)


def _check_path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("should be a path inside the repository")
    return text


def _check_addresses(given: object) -> object:
    addresses = given if isinstance(given, list) else [given]
    if not addresses or not all(isinstance(each, str) and _is_address(each) for each in addresses):
        raise ValueError("should be an http(s) address, or a list of them")
    return tuple(addresses)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(re.fullmatch(r"https?://[!-~]+", text) and parts.hostname and parts.port != 0)
    except ValueError:  # half an IPv6 address, or a port that is none
        return False


def check_architecture(name: str) -> str:
    """Give back the name of an architecture, ours or timm's. Raises `ValueError` for what cannot be one."""
    if name.startswith(TIMM):
        if not re.fullmatch(r"[\w.-]+", name.removeprefix(TIMM), re.ASCII):  # timm would fetch `hf-hub:…`
            raise ValueError(f"should be {TIMM} and a name of timm's own")
    elif name not in ARCHITECTURES and name != CUSTOM:
        raise ValueError(f"unknown{nearest(name, ARCHITECTURES)}")
    return name


@dataclass(frozen=True)
class BuiltIn:
    """A file shipped in the package, relative to `cratecli/data`."""

    path: str


@dataclass(frozen=True)
class Hub:
    """A file on the Hugging Face Hub; no revision means whatever `main` holds."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    repository: Annotated[str, matching(r"[\w.-]+/[\w.-]+", "OWNER/NAME")]
    file: Annotated[str, AfterValidator(_check_path)]
    revision: Annotated[str, matching("[0-9a-f]{40}", "a whole commit (40 hexadecimal digits)")] | None = None


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

_SOURCES: Mapping[str, Callable[[Any], Source]] = {
    "builtin": BuiltIn,
    "hub": lambda hub: hub,
    "drive": Drive,
    "url": Url,
    "file": Local,
}
_Addresses = Annotated[
    tuple[str, ...], BeforeValidator(_check_addresses, json_schema_input_type=str | list[str])
]
_FileSize = Annotated[int, Field(strict=True, ge=1)]


class RegistryRow(BaseModel):
    """One row `[models.NAME]` of a registry file: an architecture, where the file comes from, and its hash.

    Further fields are those of `CrateConfig`, in place of the architecture's. What is not known is left out.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    architecture: Annotated[str, AfterValidator(check_architecture)] = Field(
        description="A named architecture, `timm:NAME`, or `custom` with every field of `CrateConfig` given."
    )
    normalisation: Literal["imagenet"] | None = Field(
        None, description="Mean and std of the channels, by name."
    )
    builtin: str | None = Field(None, description="The file, shipped in the package.")
    hub: Hub | None = Field(None, description="The file on the Hugging Face Hub.")
    drive: Annotated[str, matching(r"[\w-]+", "a Google Drive file id")] | None = Field(
        None, description="The file's id on Google Drive."
    )
    url: _Addresses | None = Field(None, description="The file's address, or a list of them, asked in turn.")
    file: str | None = Field(
        None, description="The file on this machine: absolute, or relative to the cache folder."
    )
    bytes: _FileSize | None = Field(None, description="The file's exact size, bytes.")
    approximate_bytes: _FileSize | None = Field(
        None, description="The file's size as published, rounded, bytes."
    )
    sha256: Annotated[str, matching("[0-9a-f]{64}", "64 lower-case hexadecimal digits")] | None = Field(
        None, description="The file's SHA-256; without it the row is not pinned."
    )
    licence: str | None = Field(None, description="The licence of the weights.")
    trained_on: str | None = Field(None, description="The data that the weights were trained on.")
    note: str | None = Field(None, description="A remark, shown in lists.")
    least_confidence: Annotated[float, Field(strict=True, ge=0, le=1)] | None = Field(
        None,
        description="The confidence, an expected IoU, 0–1, below which `segment` finds nothing, with heads `auto`.",
    )
    least_agreement: Annotated[float, Field(strict=True, ge=0, le=1)] | None = Field(
        None,
        description="The same with heads `agree`, whose confidence is agreement × contrast.",
    )
    graph_sha256: Annotated[str, matching("[0-9a-f]{64}", "64 lower-case hexadecimal digits")] | None = Field(
        None, description="SHA-256 of the model's ONNX graph, beside the file in the package."
    )
    head_sha256: Annotated[str, matching("[0-9a-f]{64}", "64 lower-case hexadecimal digits")] | None = Field(
        None,
        description="SHA-256 of the model's own mask head, `head.safetensors` beside the file in the package.",
    )
    head_graph_sha256: Annotated[str, matching("[0-9a-f]{64}", "64 lower-case hexadecimal digits")] | None = (
        Field(None, description="SHA-256 of that head's ONNX graph, `head.onnx` beside it.")
    )
    unverified: Annotated[bool, Field(strict=True)] = Field(
        False, description="Whether the file's layout was never seen, so that loading may be refused."
    )

    @field_validator(*_SOURCES)
    @classmethod
    def _check_only_source(cls, source: Any, row: ValidationInfo) -> Any:
        if others := [name for name in _SOURCES if row.data.get(name) is not None]:
            raise ValueError(f"one source is enough, and {others[0]} is given")
        return source

    @model_validator(mode="after")
    def _check_config(self) -> Self:
        _ = self.config
        return self

    @cached_property
    def config(self) -> CrateConfig | None:
        """Compose the config; `None` for a ViT of timm. Raises pydantic's `ValidationError`."""
        given = dict(self.model_extra or {})
        if self.architecture.startswith(TIMM):
            _NoConfig.model_validate(given)
            return None
        named = ARCHITECTURES[self.architecture].to_dict() if self.architecture != CUSTOM else {}
        normalisation = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if self.normalisation else {}
        return TypeAdapter(CrateConfig).validate_python(named | normalisation | given)

    @property
    def source(self) -> Source | None:
        """Give where the file comes from; `None` when the user must bring it."""
        given = ((kind, getattr(self, name)) for name, kind in _SOURCES.items())
        return next((kind(value) for kind, value in given if value is not None), None)


class _NoConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
