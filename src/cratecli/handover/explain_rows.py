"""Read how a Parquet file or a shard of ours was made, and how the masks of one photo in it were. Imports no torch."""

from pathlib import Path
from typing import Any

from cratecli.errors import InputError
from cratecli.files import open_file
from cratecli.handover.packed_run import ROW_READERS
from cratecli.io.formats.record import Annotated

BEGINNING = 512
"""Bytes by which such a file is known."""

_OF_ONE = (
    *("version", "command", "recipe", "head", "head_sha256", "max_pixels", "orientation", "libraries"),
    *("weights", "weights_are", "weights_sha256", "engine", "device", "dtype", "batch_size", "seed"),
)
"""What a record of a run says of the masks of each photo."""


def rows_in(start: bytes) -> str | None:
    """Tell by its beginning whether a file holds rows: as what `--as` would write it."""
    if start.startswith(b"PAR1"):
        return "parquet"
    return "webdataset" if start[257:262] == b"ustar" else None


def record_of_rows(path: Path, kind: str, key: str | None) -> dict[str, Any] | None:
    """Read how a file of rows was made, or the masks of the photo with a key.

    Raises `InputError` where no photo, or one that failed, has the key, `ValueError` for what is not ours, `OSError`,
    and `UsageError` where Parquet's package is missing.
    """
    reader = ROW_READERS[kind]
    with open_file(path) as stream:
        about = reader.about(stream)
    record: Any = about.get("crate")
    if key is None and isinstance(record, dict) and "of" in about:  # of the shards that were named, one
        source = _first(path, kind).source or ""
        return record | {"inputs": [source.rpartition("::")[0]], "folder": "."}
    if key is not None and (made := about.get("made")) is not None:  # exported: the run's own record
        record = made[0] if len(made) == 1 else None
    if not isinstance(record, dict) or key is None:
        return record if isinstance(record, dict) else None
    photo = _find(path, kind, key)
    if photo.error is not None:
        raise InputError(f"{path}::{key}: has no mask: {photo.error}")
    own = {name: record[name] for name in _OF_ONE if name in record}
    return own | {"as": kind, "input": photo.source, "input_sha256": photo.sha256}


def _first(path: Path, kind: str) -> Annotated:
    with open_file(path) as stream:
        return next(ROW_READERS[kind].rows(stream))


def _find(path: Path, kind: str, key: str) -> Annotated:
    with open_file(path) as stream:
        found = next((photo for photo in ROW_READERS[kind].rows(stream) if photo.name == key), None)
    if found is None:
        raise InputError(f"{path}::{key}: not in there")
    return found
