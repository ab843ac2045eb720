"""Examine the models on this machine: folders, registries, files, leftovers."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cratecli.doctor.finding import Finding, fine, problem, warning
from cratecli.errors import RegistryError
from cratecli.weights import fetch, registry
from cratecli.weights.download import hub_leftovers
from cratecli.weights.registry import Checkpoint
from cratecli.weights.rows import Hub
from cratecli.wording import count_of

_ROOM = 2_000_000_000  # bytes; the largest published checkpoint has 1.3 GB


def temporary() -> Iterator[Finding]:
    """Check that there is a folder for temporary files."""
    remedy = "set TMPDIR to a folder that is yours"
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        yield problem("temporary files", f"{error.strerror or error}; {remedy}")
        tempfile.tempdir = (
            os.sep
        )  # libraries ask where it is as they are imported, and break where it is nowhere
    else:
        yield from _folder("temporary files", Path(folder), remedy, ours=False)


def folders() -> Iterator[Finding]:
    """Check that the folders of models and settings can be written, and have room."""
    yield from _folder("cache", fetch.cache_folder(), "set CRATE_CACHE_DIR to a folder that is yours")
    from huggingface_hub import constants

    yield from _folder("Hub's cache", Path(constants.HF_HUB_CACHE), "set HF_HOME to a folder that is yours")
    remedy = "remove what is in its place, or set XDG_CONFIG_HOME"
    yield from _folder("config", registry.user_registry().parent, remedy)


def readable(size: int) -> str:
    """Write a size in bytes as people read it, in steps of a thousand.

    >>> readable(999), readable(2_040_000)
    ('999 bytes', '2.0 MB')
    """
    if size < 1000:
        return count_of(size, "byte")
    power = min(4, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.1f} {' kMGT'[power]}B"


def _folder(name: str, path: Path, remedy: str, *, ours: bool = True) -> Iterator[Finding]:
    try:
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        yield problem(name, f"{path} cannot be written: {error.strerror}; {remedy}")
        return
    state = f"{path}: {readable(free)} free"
    if ours:
        holds = f"holds {_size(path)}" if path.exists() else "is not there yet"
        state = f"{path} {holds}; {readable(free)} free"
    if free > _ROOM:
        yield fine(name, state)
    else:
        yield warning(name, f"{state}, too little for a large model: {remedy}")


def _size(folder: Path) -> str:
    """Add up the sizes of a folder's files, each once: the Hub's cache links to its own."""
    files = (Path(each, name) for each, _, names in os.walk(folder) for name in names)
    return readable(sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink()))


def models() -> Iterator[Finding]:
    """Read the registries, verify every model on this machine, and check that the default one is among them."""
    known: dict[str, Checkpoint] = {}
    for path in registry.registry_files():
        try:
            rows = registry.load_registry([path]).checkpoints
        except RegistryError as error:
            yield problem("registry", f"{error}; correct it, or remove the file")
        else:
            known |= rows
            yield fine("registry", f"{path}: {count_of(len(rows), 'model')}")
    sound: set[str] = set()
    damaged: set[str] = set()
    for row in known.values():
        if (file := fetch.locate(row)) is None:
            continue
        fault = fetch.examine(row, file, record=False).fault
        (damaged if fault else sound).add(row.name)
        if fault:
            yield problem(row.name, f"{file} {fault}; {fetch.remedy(row)}")
    yield fine("models", f"{len(sound)} here and as registered: {', '.join(sorted(sound)) or 'none'}")
    yield _default(known, sound, damaged)


def _default(known: Mapping[str, Checkpoint], sound: set[str], damaged: set[str]) -> Finding:
    name = registry.default_name()
    asked = f"{name}, of CRATE_MODEL," if os.environ.get("CRATE_MODEL") else name
    if name in sound:
        return fine("default model", f"{asked} is here and as registered")
    if name in known:
        state = "damaged" if name in damaged else "not on this machine"
        return problem("default model", f"{asked} is {state}; {fetch.remedy(known[name])}")
    if os.path.isfile(name):  # noqa: PTH113 - Path.is_file raises for a name too long
        return fine("default model", f"{asked} is a file, and here")
    return problem(
        "default model", f"{asked} is in no registry; run: crate models default {registry.BUILT_IN}"
    )


def leftovers() -> Iterator[Finding]:
    """List the files that interrupted or killed downloads have left."""
    known: dict[str, Checkpoint] = {}
    for path in registry.registry_files():
        with suppress(RegistryError):  # a finding of `models`
            known |= registry.load_registry([path]).checkpoints
    repositories = {row.source.repository for row in known.values() if isinstance(row.source, Hub)}
    cache, config = fetch.cache_folder(), registry.user_registry().parent
    killed = [*cache.rglob(".crate-*.part"), *config.glob(".crate-*.part")]
    for file in (*killed, *(file for each in repositories for file in hub_leftovers(each))):
        yield warning(
            "left over", f"{file}: of a process that was killed, or runs now; delete it if none does"
        )
    for file in cache.rglob(fetch.UNFINISHED):
        again = f"crate models pull {file.parent.name} goes on with it, or delete it"
        yield warning("left over", f"{file}: of a pull that runs or was broken off; {again}")
