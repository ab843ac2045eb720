"""Find and verify the file of a checkpoint on this machine; uses no network."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs
from filelock import FileLock

from cratecli.errors import UsageError, WeightsError
from cratecli.files import replacing
from cratecli.weights.download import explained, hub_leftovers
from cratecli.weights.folders import own
from cratecli.weights.registry import Checkpoint
from cratecli.weights.rows import BuiltIn, Drive, Hub, Local, Url

UNFINISHED = "weights.unfinished"
_PACKAGE_DATA = Path(__file__).parents[1] / "data"
_CHUNK = 1 << 20  # bytes
_PRETENDERS = {
    rb"\s*<(?:!doctype|html|head|\?xml)": "an HTML page, not weights",
    rb"version https://git-lfs": "a Git LFS pointer, not the weights it stands for",
    rb"\Z": "empty",
}


@dataclass(frozen=True)
class FileCheck:
    """The SHA-256 of a checkpoint's file, and its fault, if it has one, as the end of a sentence about the file."""

    sha256: str
    fault: str | None


def cache_folder() -> Path:
    """Give the folder of downloaded files: `$CRATE_CACHE_DIR`, else the platform's cache folder."""
    if folder := os.environ.get("CRATE_CACHE_DIR"):
        return Path(os.path.expanduser(folder))  # noqa: PTH111 - pathlib's raises
    return own(platformdirs.user_cache_path)


def locate(checkpoint: Checkpoint) -> Path | None:
    """Find a checkpoint's file on this machine, unread.

    Looks into the package, our cache folder and, at the row's revision, the Hub's cache.
    Raises `WeightsError` when a folder cannot be looked into.
    """
    with explained(f"cannot look for {checkpoint.name}", "check the cache folder's permissions"):
        if (path := home(checkpoint)).is_file():
            return path
        if isinstance(hub := checkpoint.source, Hub):
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(hub.repository, hub.file, revision=hub.revision)
            return Path(cached) if isinstance(cached, str) else None
    return None


def present(checkpoint: Checkpoint) -> Path:
    """Find a checkpoint's file on this machine, unread. Raises `WeightsError`, which says how to get it."""
    if (path := locate(checkpoint)) is None:
        raise WeightsError(f"{checkpoint.name} is not on this machine; {remedy(checkpoint)}")
    return path


def fingerprint(path: Path) -> tuple[int, str]:
    """Give a file's size in bytes and its SHA-256. Raises `WeightsError` when it cannot be read."""
    with explained(f"{path}: cannot be read", "check the file"), path.open("rb") as stream:
        return os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest()


def examine(checkpoint: Checkpoint, path: Path, *, record: bool = True) -> FileCheck:
    """Hash a file and compare it with the checkpoint's row.

    For a row without sha256 the hash must be the Hub's own (its etag), and the one of the file's first use, which
    is recorded in `hashes.json` of the cache folder, unless `record` is false.
    Raises `WeightsError` when the file cannot be read, or the record cannot be read or written.
    """
    with explained(f"{path}: cannot be read", remedy(checkpoint)):
        size, sha256 = fingerprint(path)
        with path.open("rb") as stream:
            start = stream.read(64)
        for pattern, what in _PRETENDERS.items():
            if re.match(pattern, start, re.I):
                return FileCheck(sha256, f"is {what}")
        if checkpoint.bytes not in (None, size):
            return FileCheck(sha256, f"has {size} bytes, not {checkpoint.bytes}")
        expected = checkpoint.sha256 or _etag(checkpoint, path)
        if expected not in (None, sha256):
            return FileCheck(sha256, f"has sha256 {sha256}, not {expected}")
        if not checkpoint.pinned and (first := _first_hash(checkpoint, sha256, record)) != sha256:
            forget = f"to trust it, delete {checkpoint.name} from {_hashes()}"
            return FileCheck(sha256, f"has sha256 {sha256}, not {first} as when first seen ({forget})")
    return FileCheck(sha256, None)


def verified(checkpoint: Checkpoint, path: Path) -> str:
    """Hash a file, and give its SHA-256.

    Raises `WeightsError` when it is not the file of the registry, or of its first use.
    """
    check = examine(checkpoint, path)
    if check.fault:
        raise WeightsError(f"{path} {check.fault}: refused as {checkpoint.name}; {remedy(checkpoint)}")
    return check.sha256


def require(checkpoint: Checkpoint) -> tuple[Path, str]:
    """Give the verified file of a checkpoint on this machine, and its SHA-256; downloads nothing.

    Raises `WeightsError` when it is missing or refused.
    """
    path = present(checkpoint)
    return path, verified(checkpoint, path)


def install(file: Path, checkpoint: Checkpoint) -> Path:
    """Copy a file the user has into the cache folder as `checkpoint`, verified; gives the copy's path.

    Raises `WeightsError` when it is refused or cannot be copied, `UsageError` for the built-in model and for
    one that is registered as a file outside the cache folder.
    """
    if isinstance(checkpoint.source, BuiltIn):
        raise UsageError(f"{checkpoint.name} is built in: choose another name")
    if not file.is_file():
        raise WeightsError(f"{file}: not a file")
    path = home(checkpoint)
    if not Path(os.path.normpath(path)).is_relative_to(cache_folder()):
        raise UsageError(f"{checkpoint.name} is registered as {path}: put the file there yourself")
    with (
        explained(f"{file}: cannot be copied to {path}", "free some space, or set CRATE_CACHE_DIR"),
        turn(checkpoint),
        replacing(path) as stream,
    ):
        with file.open("rb") as source:
            shutil.copyfileobj(source, stream, _CHUNK)
        stream.flush()
        if fault := examine(checkpoint, Path(stream.name)).fault:
            raise WeightsError(
                f"{file} {fault}: refused as {checkpoint.name}; other weights take another name"
            )
        unfinished(checkpoint).unlink(missing_ok=True)
    return path


def remedy(checkpoint: Checkpoint) -> str:
    """Say what to do to get a checkpoint's file."""
    match checkpoint.source:
        case BuiltIn():
            return "install cratecli again"
        case Hub() | Drive() | Url():
            return f"run: crate models pull {checkpoint.name}"
        case _:
            note = f" ({checkpoint.note})" if checkpoint.note else ""
            return f"it has no download source{note}; run: crate models add FILE --as {checkpoint.name}"


def home(checkpoint: Checkpoint) -> Path:
    """Give the place of a checkpoint's file outside the Hub's cache."""
    match checkpoint.source:
        case BuiltIn(path):
            return _PACKAGE_DATA / path
        case Local(path):
            return cache_folder() / path
        case Hub(file=file):
            return _folder(checkpoint) / PurePosixPath(file).name
        case _:
            return _folder(checkpoint) / "weights"


def unfinished(checkpoint: Checkpoint) -> Path:
    """Give the place of a checkpoint's file while it is downloaded from a plain address or Drive."""
    return _folder(checkpoint) / UNFINISHED


def sweep(checkpoint: Checkpoint) -> None:
    """Remove a checkpoint's files of killed processes, here and in the Hub's cache; the caller has its `turn`."""
    hub = checkpoint.source
    with explained(f"{_folder(checkpoint)}: cannot be written", "set CRATE_CACHE_DIR"):
        of_hub = hub_leftovers(hub.repository) if isinstance(hub, Hub) else []
        for path in (*_folder(checkpoint).glob(".crate-*.part"), *of_hub):
            path.unlink(missing_ok=True)


def _folder(checkpoint: Checkpoint) -> Path:
    return cache_folder() / "models" / re.sub("[:/]", "--", checkpoint.name)


def _etag(checkpoint: Checkpoint, path: Path) -> str | None:
    """Read the SHA-256 that the Hub announced: its cache links to a blob named by the etag."""
    blob = path.readlink().name if isinstance(checkpoint.source, Hub) and path.is_symlink() else ""
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else None


def _hashes() -> Path:
    return cache_folder() / "hashes.json"


def _first_hash(checkpoint: Checkpoint, sha256: str, record: bool) -> str:
    """Give the hash recorded for a checkpoint; if there is none, this one, which `record` writes down."""
    file = _hashes()
    if not record:
        return str(_recorded(file).get(checkpoint.name, sha256))
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        for orphan in file.parent.glob(".crate-*.part"):  # of a process killed while it wrote the record
            orphan.unlink(missing_ok=True)
        known = _recorded(file)
        if checkpoint.name not in known:
            with replacing(file) as stream:
                stream.write(json.dumps(known | {checkpoint.name: sha256}, indent=2).encode())
        return str(known.get(checkpoint.name, sha256))


def _recorded(file: Path) -> dict[str, object]:
    try:
        known = json.loads(file.read_bytes()) if file.exists() else {}
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise WeightsError(f"{file}: not our record of hashes; delete it")
    return known


@contextmanager
def turn(checkpoint: Checkpoint) -> Iterator[None]:
    """Wait until no other process fetches or copies this checkpoint."""
    folder = cache_folder() / "models"
    lock = FileLock(folder / f".{_folder(checkpoint).name}.lock")
    with explained(f"{folder}: cannot be written", "set CRATE_CACHE_DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
