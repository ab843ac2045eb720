"""Read the photos of tables row by row: Parquet, Arrow and folders of `datasets`, with a column of images.

A column holds bytes, or structs of `bytes` and `path`, as Hugging Face writes them. Paths are never followed.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cratecli.errors import InputError, UsageError
from cratecli.io.sources.entry import Entry, Reading, failing, held, refuse_large

NAMES = ("image", "img", "photo", "picture", "jpg", "png", "webp")
"""What a column of images is usually called; which counts, where several hold bytes."""

ROWS = 16  # that are decoded together
MOST_OUT = 1 << 30  # bytes that a table may unpack to,
MOST_RATIO = 200  # or this many times its own; photos hardly shrink
_SPOOLED = 1 << 26


@contextmanager
def _arrow(name: str) -> Iterator[Any]:
    """Give pyarrow, and turn whatever it raises into an `InputError`. Raises `UsageError` where it is missing."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"{name}: needs an extra; run: pip install 'cratecli[parquet]'") from None
    try:
        yield pyarrow
    except (InputError, UsageError):
        raise
    except MemoryError:  # a size that lies
        raise InputError(f"{name}: cannot be read as a table: needs more memory than there is") from None
    except Exception as error:  # a broken file can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: cannot be read as a table: {reason[:300]}") from None


@contextmanager
def seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Give a stream that can be sought in: itself, or what a web server sends, in a temporary file."""
    if stream.seekable():
        yield stream
        return
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spooled:
        while chunk := stream.read(1 << 20):
            spooled.write(chunk)
        spooled.seek(0)
        yield spooled  # type: ignore[misc]


def parquet_entries(stream: BinaryIO, reading: Reading) -> Iterator[Entry]:
    """Read the photos of a Parquet file, a few rows at a time; see `_entries`."""
    name, column = reading.name, reading.column
    with _arrow(name) as arrow, seekable(stream) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        table = arrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, memory_map=False)
        chosen = choose_column(table.schema_arrow, column, name)
        _refuse_bombs(table.metadata, size, name)
        batches = table.iter_batches(ROWS, columns=[chosen], use_threads=False)
        yield from _entries((batch.column(0) for batch in batches), reading)


def count_rows(path: Path) -> int | None:
    """Count the rows of a Parquet file of this machine, if its footer says."""
    try:
        with _arrow(str(path)) as arrow, path.open("rb") as stream:
            return int(arrow.parquet.ParquetFile(stream).metadata.num_rows)
    except (InputError, OSError):
        return None


def arrow_entries(stream: BinaryIO, reading: Reading) -> Iterator[Entry]:
    """Read the photos of an Arrow file, a stream of batches as `datasets` writes it, or a file with an index."""
    name, column = reading.name, reading.column
    with _arrow(name) as arrow, seekable(stream) as file:
        magic = file.read(6)
        file.seek(0)
        reader = arrow.ipc.open_file(file) if magic == b"ARROW1" else arrow.ipc.open_stream(file)
        chosen = choose_column(reader.schema, column, name)
        batches = (
            (reader.get_batch(number) for number in range(reader.num_record_batches))
            if magic == b"ARROW1"
            else reader
        )
        yield from _entries((batch.column(chosen) for batch in batches), reading)


def is_saved_dataset(folder: Path) -> bool:
    """Tell whether a folder is one that `datasets` saved: a data set, or several splits of one."""
    whole = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return whole or (folder / "dataset_dict.json").is_file()


def saved_splits(folder: Path) -> list[Path]:
    """List the data sets in a folder that `datasets` saved: itself, or its splits. Raises `InputError`."""
    if not (folder / "dataset_dict.json").is_file():
        return [folder]
    try:
        splits = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        names = [str(each) for each in splits]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'dataset_dict.json'}: cannot be read: {type(error).__name__}") from None
    if any(Path(each).name != each for each in names):
        raise InputError(f"{folder / 'dataset_dict.json'}: names a split outside the folder")
    return [folder / each for each in names]


def dataset_entries(folder: Path, reading: Reading) -> Iterator[Entry]:
    """Read the photos of a folder that `datasets` saved, in the order in which it reads them."""
    name, column = reading.name, reading.column
    with _arrow(name):
        try:
            from datasets import disable_progress_bars, load_from_disk
        except ImportError:
            raise UsageError(f"{name}: needs an extra; run: pip install 'cratecli[datasets]'") from None
        disable_progress_bars()
        data = load_from_disk(str(folder)).with_format("arrow")
        chosen = choose_column(data.data.schema, column, name)
        data = data.select_columns([chosen])
        columns = (
            chunk
            for start in range(0, len(data), ROWS)
            for chunk in data[start : start + ROWS].column(chosen).chunks
        )
        yield from _entries(columns, reading)


def choose_column(schema: Any, asked: str | None, name: str) -> str:
    """Choose the column of images: the one `asked` for, what Hugging Face's features say, or the one of bytes.

    Raises `UsageError` where there is none, or several, and none has a usual name.
    """
    able = [field.name for field in schema if _holds_bytes(field.type)]
    if asked is not None:
        if asked in able:
            return asked
        what = "is no column of bytes" if asked in schema.names else "is no column of it"
        raise UsageError(f"{name}: --column {asked} {what}; {_listed(able)}")
    declared = [each for each in _declared(schema.metadata) if each in able]
    for named in (declared, able):
        if len(named) == 1:
            return named[0]
        if usual := [each for each in NAMES if each in named]:
            return usual[0]
    raise UsageError(f"{name}: which column holds photos? {_listed(able)}: give --column")


def _listed(able: Sequence[str]) -> str:
    return f"columns of bytes are {', '.join(able[:10])}" if able else "none is of bytes"


def _declared(metadata: Any) -> list[str]:
    """List the columns that Hugging Face's features call images."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(each) for each, kind in features.items() if kind.get("_type") == "Image"]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _holds_bytes(kind: Any) -> bool:
    with _arrow("the table") as arrow:
        types = arrow.types
        kind = getattr(kind, "storage_type", kind)
        if types.is_struct(kind):
            return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _refuse_bombs(metadata: Any, size: int, name: str) -> None:
    """Raise `InputError` for a file of `size` bytes that says it unpacks to far more than photos do.

    Only whole groups of rows are asked: pyarrow ends the process where it is asked for a column that is broken.
    """
    unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if unpacked > max(MOST_OUT, MOST_RATIO * size):
        raise InputError(f"{name}: unpacks to over {MOST_RATIO} times its size: refused as a bomb")


def _entries(columns: Iterator[Any], reading: Reading) -> Iterator[Entry]:
    """Give a photo a row, named by the row's number from 0; a row without bytes is one that cannot be read."""
    name, archive, most, row = reading.name, reading.archive, reading.most, 0
    for column in columns:
        column.validate(full=True)  # what reads cells trusts offsets, and would crash the process
        for value in getattr(column, "storage", column):
            member = f"{row:08}"
            label = f"{name}::{member}"
            try:
                content = _content(value, label, most)
            except InputError as error:
                yield Entry(label, member, failing(error), archive)
            else:
                yield Entry(label, member, held(content), archive, nbytes=len(content))
            row += 1


def _content(value: Any, label: str, most: int) -> bytes:
    """Take the bytes out of a cell. Raises `InputError` for one without."""
    path = None
    if hasattr(value, "items") and value.is_valid:
        path = value["path"].as_py() if "path" in value else None
        value = value["bytes"]
    if not value.is_valid:
        reason = "a path, and no bytes: paths in tables are not followed" if path else "empty"
        raise InputError(f"{label}: the row is {reason}" if not path else f"{label}: the row holds {reason}")
    buffer = value.as_buffer()
    refuse_large(len(buffer), label, most)
    return bytes(buffer.to_pybytes())
