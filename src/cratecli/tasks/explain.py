"""Read out of an output how it was made, and tell what has changed since. Imports no torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cratecli import __version__
from cratecli.errors import InputError
from cratecli.io.formats import png
from cratecli.tasks.provenance import PATHS, Setting
from cratecli.weights.registry import load_registry


@dataclass(frozen=True)
class Made:
    """How an output was made: a command, what it was given, its settings by name, and where it wrote.

    Paths are as the working folder has them. `doubts` say what is not as it was then; `told` is all the file holds.
    """

    command: str
    inputs: tuple[str, ...]
    settings: Mapping[str, Setting]
    output: str
    doubts: tuple[str, ...]
    told: Mapping[str, Any]


def explain(path: Path) -> Made:
    """Read how a PNG, a COCO dataset or a parts.json was made. Raises `InputError` for what does not tell."""
    told = _told(path)
    try:
        return _made(path, told)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path}: what it says of how it was made is not ours") from None


def _told(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    try:
        if content.lstrip()[:1] in (b"{", b"["):
            found = json.loads(content)
            told = found.get("crate", found.get("info", {}).get("crate")) if isinstance(found, dict) else None
        else:
            text = png.told(content)
            told = None if text is None else json.loads(text)
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{path}: no PNG and no JSON of ours") from None
    if not isinstance(told, dict):
        raise InputError(f"{path}: does not say how it was made")
    return told


def _made(path: Path, told: Mapping[str, Any]) -> Made:
    here = path.parent

    def found(name: str) -> str:
        """Turn a path seen from the output's folder into one seen from the working folder."""
        return "-" if name == "-" else os.path.relpath(here / _text(name))

    settings = {_text(name): _setting(value) for name, value in told["settings"].items()}
    for name in PATHS & settings.keys():
        settings[name] = found(_text(settings[name]))
    for name in ("device", "dtype", "batch_size"):
        if name in told:
            settings[name.replace("_", "-")] = str(told[name])
    weights = told.get("weights")
    if weights is not None:
        settings["model"] = found(weights) if told.get("weights_are") == "file" else _text(weights)
    inputs = tuple(found(each) for each in told.get("inputs", [told["input"]] if "input" in told else []))
    output = found(told["folder"]) if "folder" in told else os.path.relpath(path)
    doubts = [*_changed(told), *_weights(settings, told)]
    if "inputs" in told:
        doubts += [f"{each}: no longer there" for each in inputs if each != "-" and not Path(each).exists()]
    else:
        doubts += [doubt for each in inputs for doubt in _photo(each, _text(told["input_sha256"]))]
    return Made(_text(told["command"]), inputs, settings, output, tuple(doubts), told)


def _changed(told: Mapping[str, Any]) -> list[str]:
    """Tell which versions are others."""
    doubts = (
        [] if told["version"] == __version__ else [f"made by crate {told['version']}, this is {__version__}"]
    )
    for name, then in told.get("libraries", {}).items():
        try:
            now = version(_text(name))
        except PackageNotFoundError:
            now = "not installed"
        if now != then:
            doubts.append(f"made with {name} {then}, which is {now} here")
    return doubts


def _photo(source: str, sha256: str) -> list[str]:
    if source == "-":
        return [f"the photo came through standard input: pipe in the one with sha256 {sha256}"]
    try:
        with Path(source).open("rb") as stream:
            same = hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except OSError:
        return [f"{source}: the photo is not there any more; its sha256 was {sha256}"]
    return [] if same else [f"{source}: not the photo it was made from, whose sha256 was {sha256}"]


def _weights(settings: Mapping[str, Setting], told: Mapping[str, Any]) -> list[str]:
    if "model" not in settings:
        return []
    name, then = _text(settings["model"]), told["weights_sha256"]
    if told.get("weights_are") == "file":
        try:
            with Path(name).open("rb") as stream:
                now = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            return [f"{name}: the weights are not there any more; their sha256 was {then}"]
    else:
        row = load_registry().checkpoints.get(name)
        if row is None:
            return [f"no model {name} is registered here; its sha256 was {then}"]
        now = row.sha256 or then
    return [] if now == then else [f"{name}: not the weights it was made with, whose sha256 was {then}"]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _setting(value: object) -> Setting:
    if isinstance(value, list):
        return [_text(each) for each in value]
    return value if isinstance(value, bool) else _text(value)
