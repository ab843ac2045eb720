"""A run that was written as Parquet or as a WebDataset shard, as a manifest that can be read like any other."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

from cratecli.errors import InputError, NothingMatchedError, OutputError, UsageError
from cratecli.files import TEMPORARY, open_file
from cratecli.handover.finished_run import checked
from cratecli.io.formats import parquet, webdataset
from cratecli.io.formats.record import Annotated
from cratecli.io.sources.entry import is_entry
from cratecli.io.sources.stores import open_object
from cratecli.io.sources.tables import seekable
from cratecli.io.urls import is_url, shown
from cratecli.runs.inputs import refuse_no_path
from cratecli.runs.manifest import MANIFEST, ManifestRow


class RowReader(NamedTuple):
    """How a file says how it was made, and how its rows are read."""

    about: Callable[[BinaryIO], dict[str, Any]]
    rows: Callable[[BinaryIO], Iterator[Annotated]]


ROW_READERS: Mapping[str, RowReader] = {
    "parquet": RowReader(parquet.about, parquet.read_all),
    "webdataset": RowReader(webdataset.about, webdataset.read_all),
}
"""How files of rows are read, by what `--as` calls them."""

_READERS = {".parquet": ROW_READERS["parquet"], ".tar": ROW_READERS["webdataset"]}


@contextmanager
def manifest_of(run: str) -> Iterator[tuple[Path, int | None]]:
    """Give the manifest of a run; of a file of rows one is written, for the block, and the photos that failed counted.

    Raises `InputError` for a file that is broken or not ours, `NothingMatchedError` for one without a photo that was
    done, `OutputError` where none can be written, and `UsageError` for what is no path, or a URL of no such file.
    """
    refuse_no_path(run)
    reader = _READERS.get(PurePath(shown(run) if is_url(run) else run).suffix.lower())
    if is_url(run) and reader is None:
        raise UsageError(f"{shown(run)}: only .parquet and .tar are read by URL: download it first")
    if reader is None or Path(run).is_dir():
        yield Path(run), None
        return
    with _temporary() as folder:
        failed = _unpack(run, reader, folder / MANIFEST)
        if not (folder / MANIFEST).stat().st_size:
            raise NothingMatchedError(f"{shown(run) if is_url(run) else run}: no photo was done")
        yield folder / MANIFEST, failed


@contextmanager
def _opened(run: str) -> Iterator[BinaryIO]:
    with open_object(run) if is_url(run) else open_file(Path(run)) as stream:
        if PurePath(shown(run)).suffix.lower() == ".tar":
            yield stream
            return
        with seekable(stream) as file:
            yield file


@contextmanager
def _temporary() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="crate-")
    except OSError as error:
        raise OutputError(f"a temporary folder: cannot be made: {error.strerror}; {TEMPORARY}") from None
    with folder as name:
        yield Path(name)


def _unpack(run: str, reader: RowReader, manifest: Path) -> int:
    """Write the rows of a file as a manifest's; gives the number of photos that had failed. Raises `InputError`."""
    name = shown(run) if is_url(run) else run
    place, failed = Path() if is_url(run) else Path(os.path.realpath(Path(run).parent)), 0
    try:
        with _opened(run) as stream:
            about = reader.about(stream)
        ways = about.get("made") or [about.get("crate")]
        made = ways[0] if isinstance(ways, list) else None
        if not isinstance(made, dict) or not isinstance(made.get("command"), str):
            raise ValueError("does not say how it was made")
        if made.get("weights_are") == "file" and isinstance(
            made.get("weights"), str
        ):  # named from the file's folder on, which the manifest is not in
            made["weights"] = os.path.abspath(place / made["weights"])  # noqa: PTH100
        options = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
        with _opened(run) as stream, manifest.open("w", encoding="utf-8") as rows:
            for photo in reader.rows(stream):
                if photo.error is not None:
                    failed += 1
                    continue
                facts = {} if photo.confidence is None else {"confidence": photo.confidence}
                row = ManifestRow.of(
                    photo,
                    input=_source(place, photo.source or photo.name),
                    input_sha256=photo.sha256 or "",
                    output=None,
                    output_sha256=None,
                    options=options,
                    made=made | facts,
                )
                try:
                    checked(row)
                except ValueError as error:
                    raise ValueError(f"{photo.name}: {error}") from None
                rows.write(f"{row.to_json()}\n")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: not a run of ours: {' '.join(str(error).split())}") from None
    return failed


def _source(place: Path, source: str) -> str:
    """Name a photo from anywhere: one on this machine was named from the file's folder on."""
    if source == "-" or source.startswith("-/") or is_url(source):
        return source
    path = os.path.abspath(place / source)  # noqa: PTH100 - links stay
    return path if is_entry(source) else Path(path).as_posix()
