"""Read out of an output how it was made, and tell what has changed since. Imports no torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cratecli.errors import InputError
from cratecli.io.formats import png
from cratecli.runs.provenance import PATHS, Setting
from cratecli.version import __version__
from cratecli.weights.registry import load_registry

SETTINGS = PATHS | {
    *("as", "layer", "heads", "keep", "refine", "size", "min-area", "largest", "fill-holes"),
    *("n", "tau", "min-score", "k", "foreground", "names", "seed"),
    *("recursive", "include", "exclude", "null", "max-pixels"),
}
"""Options that decide an outcome; an output can have been made with no other."""

PLACE = ("device", "dtype", "batch_size")
_NOTHING_OF_OURS = "no PNG and no JSON of ours"


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
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        raise InputError(f"{path}: what it says of how it was made is not ours") from None


def _told(path: Path) -> dict[str, Any]:
    content = _content(path)
    try:
        if content.lstrip()[:1] in (b"{", b"["):
            found = json.loads(content)
            told = found.get("crate", found.get("info", {}).get("crate")) if isinstance(found, dict) else None
        else:
            text = png.embedded_text(content)
            told = None if text is None else json.loads(text)
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{path}: {_NOTHING_OF_OURS}") from None
    if not isinstance(told, dict):
        raise InputError(f"{path}: does not say how it was made")
    return told


def _content(path: Path) -> bytes:
    """Read a file to its end, if its first bytes are those of a PNG or of JSON. Raises `InputError`."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as stream:
            start = stream.read(64)
            if not start.lstrip().startswith((b"{", b"[", b"\x89PNG")):
                raise InputError(f"{path}: {_NOTHING_OF_OURS}")
            return start + stream.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _made(path: Path, told: Mapping[str, Any]) -> Made:
    def found(value: object) -> str:
        """Turn a path seen from the output's folder into one seen from the working folder."""
        name = _text(value)
        return name if name == "-" or Path(name).is_absolute() else os.path.relpath(path.parent / name)

    settings = {_known(name): _setting(value) for name, value in told["settings"].items()}
    for name in PATHS & settings.keys():
        settings[name] = found(settings[name])
    for name in PLACE:
        if name in told:
            value = told[name]
            settings[name.replace("_", "-")] = _text(str(value) if isinstance(value, int) else value)
    if "weights" in told:
        weights = told["weights"]
        settings["model"] = found(weights) if told.get("weights_are") == "file" else _text(weights)
    together = "inputs" in told or "input" not in told
    inputs = tuple(map(found, _texts(told.get("inputs", [])) if together else [told["input"]]))
    output = found(_above(told["folder"])) if "folder" in told else os.path.relpath(path)
    if not inputs and "files-from" not in settings:
        raise ValueError("made from nothing")
    doubts = [*_changed(told), *_weights(settings, told)]
    doubts += _lists(settings)
    if together:
        doubts += [f"{each}: no longer there" for each in inputs if each != "-" and not Path(each).exists()]
        doubts += ["the photo came through standard input: pipe it in"] if "-" in inputs else []
    else:
        doubts += [doubt for each in inputs for doubt in _photo(each, _text(told["input_sha256"]))]
    return Made(_text(told["command"]), inputs, settings, output, tuple(doubts), told)


def _changed(told: Mapping[str, Any]) -> list[str]:
    """Tell which versions are others."""
    then = _text(told["version"])
    doubts = [] if then == __version__ else [f"made by crate {then}, this is {__version__}"]
    for name, text in told.get("libraries", {}).items():
        then = _text(text)
        try:
            now = version(_text(name))
        except PackageNotFoundError:
            now = "not installed"
        if now != then:
            doubts.append(f"made with {name} {then}, which is {now} here")
    return doubts


def _lists(settings: dict[str, Setting]) -> list[str]:
    """Tell which files that options name are not there; a vocabulary that is gone cannot hand on its names."""
    doubts = []
    for name in sorted(PATHS & settings.keys()):
        path = _text(settings[name])
        if path == "-":
            doubts.append("the list came through standard input: pipe it in")
        elif not Path(path).exists():
            doubts.append(f"{path}: no longer there")
            if name == "save-parts":
                del settings[name]
    return doubts


def _photo(source: str, sha256: str) -> list[str]:
    if source == "-":
        return [f"the photo came through standard input: pipe in the one with sha256 {sha256}"]
    match _hash(source):
        case None:
            return [f"{source}: the photo is not there any more; its sha256 was {sha256}"]
        case now if now != sha256:
            return [f"{source}: not the photo it was made from, whose sha256 was {sha256}"]
    return []


def _weights(settings: Mapping[str, Setting], told: Mapping[str, Any]) -> list[str]:
    if "model" not in settings:
        return []
    name, then = _text(settings["model"]), _text(told["weights_sha256"])
    if told.get("weights_are") == "file":
        now = _hash(name)
        if now is None:
            return [f"{name}: the weights are not there any more; their sha256 was {then}"]
    else:
        row = load_registry().checkpoints.get(name)
        if row is None:
            return [f"no model {name} is registered here; its sha256 was {then}"]
        now = row.sha256 or then
    return [] if now == then else [f"{name}: not the weights it was made with, whose sha256 was {then}"]


def _hash(path: str) -> str | None:
    """Hash a file; nothing for what is none, as a device or a pipe, that would never end."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name too long
            return None
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _text(value: object) -> str:
    """Take a text that can be a word of a command. Raises `TypeError` and `ValueError`."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    if b"\0" in os.fsencode(value):
        raise ValueError("a NUL ends a word")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return list(map(_text, value))


def _setting(value: object) -> Setting:
    if isinstance(value, list):
        return _texts(value)
    return value if isinstance(value, bool) else _text(value)


def _known(name: str) -> str:
    """Take an option that decides an outcome: none that would write elsewhere, or say something else."""
    if name not in SETTINGS:
        raise ValueError(f"{name} decides nothing")
    return name


def _above(value: object) -> str:
    """Take the way from an output to a folder that it lies in, and to no other."""
    folder = _text(value)
    if set(Path(folder).parts) - {".."}:
        raise ValueError(f"{folder} is not above")
    return folder
