"""Read out of an output how it was made, and tell what has changed since. Imports no torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cratecli.emergence.rules import BUILT_IN_HEAD
from cratecli.errors import InputError
from cratecli.files import real_folder, relative_path
from cratecli.handover.explain_rows import BEGINNING, record_of_rows, rows_in
from cratecli.io.formats import pages, picture, tensors
from cratecli.io.sources.entry import is_entry
from cratecli.io.urls import is_url
from cratecli.runs.manifest import outputs_in
from cratecli.runs.provenance import EXPORT_PATHS, Provenance
from cratecli.version import __version__
from cratecli.weights.own_heads import built_in_heads
from cratecli.weights.registry import load_registry

_NOTHING_OF_OURS = "no picture, no arrays, no page, no rows and no JSON of ours"
_BEGINNINGS = (b"{", b"[", b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True)
class Explained:
    """How an output was made: the record, its photos, and where it wrote; paths are as the working folder has them.

    `doubts` say what is not as it was then; `content` is the record as the file holds it.
    """

    made: Provenance
    inputs: tuple[str, ...]
    output: str
    doubts: tuple[str, ...]
    content: Mapping[str, Any]


def explain(path: Path) -> Explained:
    """Read how a picture, arrays, a page, a COCO dataset, a Parquet file, a shard or parts.json were made.

    `FILE::KEY` is a photo in a Parquet file or a shard, made again as a file of its own. Raises `InputError` for what
    does not say, and `UsageError` where Parquet's package is missing.
    """
    path, key = _split(path)
    content = _record(path, key)
    try:
        return _explained(path if key is None else path.with_name(_called(key, path)), content)
    except (ValidationError, KeyError, TypeError, ValueError, OSError):
        raise InputError(f"{path}: what it says of how it was made is not ours") from None


def _split(path: Path) -> tuple[Path, str | None]:
    """Split the name of a photo inside a file into both."""
    file, inside, key = str(path).rpartition("::")
    return (Path(file), key) if inside and key and not path.exists() else (path, None)


def _called(key: str, path: Path) -> str:
    return f"{key.rpartition('/')[2]}{path.suffix}"


def _record(path: Path, key: str | None) -> dict[str, Any]:
    content = _content(path)
    held: Any
    try:
        kind = rows_in(content)
        if kind is None and key is not None:
            raise InputError(f"{path}: holds no rows, and so no {key}")
        if kind is not None:
            held = record_of_rows(path, kind, key)
        elif content.lstrip()[:1] in (b"{", b"["):
            whole = json.loads(content)
            held = whole.get("crate", whole.get("info", {}).get("crate")) if isinstance(whole, dict) else None
        elif pages.is_page(content[:64]):
            held = pages.provenance_in(content)
        else:
            read = tensors.embedded_text if tensors.is_tensors(content[:64]) else picture.embedded_text
            text = read(content)
            held = None if text is None else json.loads(text)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError, StopIteration):
        raise InputError(f"{path}: {_NOTHING_OF_OURS}") from None
    if not isinstance(held, dict):
        raise InputError(f"{path}: does not say how it was made")
    return held


def _content(path: Path) -> bytes:
    """Read a file to its end, if it begins as an output does; of rows, which may be many, its beginning.

    Raises `InputError`.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: {_what_instead(path)}")
        with path.open("rb") as stream:
            start = stream.read(BEGINNING)
            ours = pages.is_page(start) or tensors.is_tensors(start) or rows_in(start)
            if not ours and not start.lstrip().startswith(_BEGINNINGS):
                raise InputError(f"{path}: {_NOTHING_OF_OURS}")
            return start if rows_in(start) else start + stream.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _what_instead(path: Path) -> str:
    """Say what a path is that is no file, and what to explain in its place."""
    if path.is_dir():
        made = next((name for name in outputs_in(path) if (path / name).is_file()), None)
        return f"a folder, not a file: explain a file in it{'' if made is None else f', as {path / made}'}"
    return "not a file" if path.exists() else "no such file"


def _explained(path: Path, content: Mapping[str, Any]) -> Explained:
    def here(name: str) -> str:
        """Turn a path seen from the output's folder into one seen from the working folder."""
        if b"\0" in os.fsencode(name):
            raise ValueError("a NUL ends a path")
        return (
            name
            if name == "-" or Path(name).is_absolute() or is_url(name)
            else relative_path(real_folder(path.parent) / name)
        )

    record = Provenance.model_validate(content)
    if "version" not in content or (record.command != "export" and not record.recipe):
        raise ValueError("something is left out")
    paths: dict[str, Any] = {
        name: here(value)
        for name in ("parts", "save_parts", "head")
        if (value := getattr(record, name)) not in (None, BUILT_IN_HEAD)
    }
    if record.background and record.background_sha256:
        paths["background"] = here(record.background)
    if record.photos and record.photos.files_from:
        paths["photos"] = record.photos.model_copy(update={"files_from": here(record.photos.files_from)})
    if record.weights and record.weights_are == "file":
        paths["weights"] = here(record.weights)
    if record.command == "export":
        given = record.recipe.items()
        paths["recipe"] = {name: here(value) if name in EXPORT_PATHS else value for name, value in given}
    made = record.model_copy(update=paths)
    together = record.inputs is not None or record.input is None
    named = record.inputs or [] if together else [record.input or "-"]
    inputs = tuple(map(here, named))
    output = relative_path(_first_of(path, record.sheet))
    if record.folder is not None:
        output = here(_above(record.folder))
    listed = made.photos.files_from if made.photos else None
    if (not inputs and listed is None) or (not together and not record.input_sha256):
        raise ValueError("made from nothing, or nothing known")
    gone = [
        name for name in ("save_parts",) if getattr(made, name) and not Path(getattr(made, name)).exists()
    ]
    doubts = [*_changed(record), *_weights(made), *_missing(made)]
    if together:
        doubts += [
            f"{each}: no longer there"
            for each in inputs
            if each != "-" and not is_entry(each) and not Path(each).exists()
        ]
        doubts += ["the photo came through standard input: pipe it in"] if "-" in inputs else []
    else:
        doubts += [doubt for each in inputs for doubt in _photo(each, record.input_sha256 or "")]
    # A vocabulary that is gone cannot hand on its names.
    made = made.model_copy(update=dict.fromkeys(gone))
    return Explained(made, inputs, output, tuple(doubts), content)


def _changed(made: Provenance) -> list[str]:
    """Tell which versions are others."""
    doubts = [] if made.version == __version__ else [f"made by crate {made.version}, this is {__version__}"]
    for name, then in made.libraries.items():
        try:
            now = version(name)
        except PackageNotFoundError:
            now = "not installed"
        if now != then:
            doubts.append(f"made with {name} {then}, which is {now} here")
    return doubts


def _missing(made: Provenance) -> list[str]:
    """Tell which files that options name are not there."""
    listed = made.photos.files_from if made.photos else None
    doubts = ["the list came through standard input: pipe it in"] if listed == "-" else []
    named = (None if listed == "-" else listed, made.parts, made.save_parts)
    if made.background and made.background_sha256 and _hash(made.background) != made.background_sha256:
        doubts.append(f"{made.background}: not the background it was made with, or not there any more")
    if made.head == BUILT_IN_HEAD:
        if made.head_sha256 not in built_in_heads():
            doubts.append("the built-in mask head is not the one it was made with")
    elif made.head and _hash(made.head) != made.head_sha256:
        doubts.append(f"{made.head}: not the mask head it was made with, or not there any more")
    return doubts + [f"{each}: no longer there" for each in named if each and not Path(each).exists()]


def _photo(source: str, sha256: str) -> list[str]:
    if source == "-":
        return [f"the photo came through standard input: pipe in the one with sha256 {sha256}"]
    if is_entry(source):
        return [f"{source}: not looked at; its sha256 was {sha256}"]
    match _hash(source):
        case None:
            return [f"{source}: the photo is not there any more; its sha256 was {sha256}"]
        case now if now != sha256:
            return [f"{source}: not the photo it was made from, whose sha256 was {sha256}"]
    return []


def _weights(made: Provenance) -> list[str]:
    if made.weights is None:
        return []
    name, then = made.weights, made.weights_sha256
    if made.weights_are == "file":
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


def _first_of(path: Path, sheet: int | None) -> Path:
    """Name the first of several contact sheets: what a command is given, which writes the others beside it."""
    return path if sheet is None else path.with_name(f"{path.stem.removesuffix(f'-{sheet}')}{path.suffix}")


def _above(folder: str) -> str:
    """Take the way from an output to a folder that it lies in, and to no other. Raises `ValueError`."""
    if set(Path(folder).parts) - {".."}:
        raise ValueError(f"{folder} is not above")
    return folder
