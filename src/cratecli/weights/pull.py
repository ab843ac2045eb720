"""Download a checkpoint over a bad network: continued, begun again, asked of the next mirror, and verified."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from cratecli.errors import WeightsError
from cratecli.weights import download, fetch
from cratecli.weights.download import DownloadError, Note, OnBytes, from_hub, from_web, unsaid
from cratecli.weights.drive import from_drive
from cratecli.weights.registry import Checkpoint
from cratecli.weights.rows import Drive, Hub, Url

_Way = Callable[[BinaryIO], None]
"""Downloads the rest of a file to the end of a stream."""


def pull(
    checkpoint: Checkpoint,
    on_bytes: OnBytes = lambda _done, _total: None,
    *,
    offline: bool = False,
    note: Note = unsaid,
) -> Path:
    """Download a checkpoint unless a sound copy is on this machine, and give the verified file's path.

    A damaged copy is downloaded again. Processes that pull the same name wait for each other. `offline`, or
    `HF_HUB_OFFLINE` in the environment, uses no network: the file must be here. `note` is told what is waited for.
    Raises `WeightsError` when there is no source, it cannot be reached, or the file it sends is refused.
    """
    source = checkpoint.source
    if not isinstance(source, Hub | Drive | Url):
        return fetch.require(checkpoint)[0]
    if why := forbidden(offline=offline):
        return _without_network(checkpoint, why)
    with fetch.turn(checkpoint):
        fetch.sweep(checkpoint)
        here = fetch.locate(checkpoint)
        if here and not fetch.examine(checkpoint, here).fault:
            fetch.unfinished(checkpoint).unlink(missing_ok=True)
            return here
        with download.explained(f"cannot fetch {checkpoint.name}", _or_bring(checkpoint)):
            match source:
                case Hub():
                    return _from_hub(source, checkpoint, on_bytes, again=here is not None, note=note)
                case Drive(file_id):
                    ways = [("Google Drive", partial(from_drive, file_id))]
                case Url(addresses):
                    ways = [(str(urlsplit(url).hostname), partial(from_web, url)) for url in addresses]
            options = {"on_bytes": on_bytes, "exactly": checkpoint.bytes}
            return _from_first([(name, partial(way, **options)) for name, way in ways], checkpoint)


def forbidden(*, offline: bool) -> str:
    """Name what forbids to use the network, if anything does."""
    from huggingface_hub import is_offline_mode

    return "--offline" if offline else "HF_HUB_OFFLINE" if is_offline_mode() else ""


def _without_network(checkpoint: Checkpoint, why: str) -> Path:
    path = fetch.locate(checkpoint)
    fault = fetch.examine(checkpoint, path).fault if path else None
    if path and not fault:
        return path
    state = f"{path} {fault}" if path else f"{checkpoint.name} is not on this machine"
    raise WeightsError(f"{state}, and {why} forbids to fetch it: pull it without, or {_or_bring(checkpoint)}")


def _or_bring(checkpoint: Checkpoint) -> str:
    return f"if you have the file, run: crate models add FILE --as {checkpoint.name}"


def _from_hub(hub: Hub, checkpoint: Checkpoint, on_bytes: OnBytes, *, again: bool, note: Note) -> Path:
    path = from_hub(hub.repository, hub.revision, hub.file, on_bytes, again=again, note=note)
    if fault := fetch.examine(checkpoint, path).fault:
        raise DownloadError(f"what the Hub sent {fault}")
    fetch.home(checkpoint).unlink(missing_ok=True)  # a damaged copy there would be used before it
    return path


def _from_first(ways: Sequence[tuple[str, _Way]], checkpoint: Checkpoint) -> Path:
    """Download the file from the first server that has it. Raises `DownloadError` with the failure of each."""
    failures = []
    for server, way in ways:
        try:
            return _complete(checkpoint, way)
        except download.network_errors() as error:
            failures.append(f"{server}: {download.reason(error)}")
    raise DownloadError("; ".join(failures))


def _complete(checkpoint: Checkpoint, way: _Way) -> Path:
    """Download the rest of an unfinished file, verify the whole, and put it in its place.

    Only a pinned file is continued: its hash shows whether the pieces belong together. If they do not, the
    file is downloaded once more from its start.
    """
    path, home = fetch.unfinished(checkpoint), fetch.home(checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if checkpoint.pinned else "wb") as stream:
            begun = stream.tell()
            way(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if not (fault := fetch.examine(checkpoint, path).fault):
            path.replace(home)
            return home
        path.unlink()
    except OSError as error:
        failure = f"{path}: cannot be written: {error.strerror}"
        raise WeightsError(f"{failure}; free some space, or set CRATE_CACHE_DIR") from error
    finally:
        with suppress(OSError):
            if not (checkpoint.pinned and path.stat().st_size):
                path.unlink()
    if not begun:
        raise DownloadError(f"what it sent {fault}")
    return _complete(checkpoint, way)
