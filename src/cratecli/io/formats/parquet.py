"""Write and read the objects of photos as a Parquet file: a row a photo, with its masks as RLE, or its error."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

from cratecli.errors import UsageError
from cratecli.io.formats.names import Keys, plain
from cratecli.io.formats.record import Annotated, AnnotatedPhotos, restore

ROWS = 1000  # of a group: what a viewer reads to show a page
MOST_GROUP = 1 << 31  # bytes that a group may unpack to
ABOUT = b"crate"
"""The key of the schema's metadata that holds how the file was made, as JSON."""


def _pyarrow() -> Any:
    """Give pyarrow. Raises `UsageError` where it is missing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet needs an extra; run: pip install 'cratecli[parquet]'") from None
    return pyarrow


def _schema(arrow: Any, info: Mapping[str, Any]) -> Any:
    """Give the columns; sizes and boxes (left, top, width, height) are in px of the upright photo."""
    one = arrow.struct(
        [
            ("label", arrow.string()),
            ("score", arrow.float64()),
            ("box", arrow.list_(arrow.int32())),
            ("area", arrow.int64()),
            ("rle", arrow.struct([("size", arrow.list_(arrow.int32())), ("counts", arrow.string())])),
        ]
    )
    fields = [
        ("key", arrow.string()),
        ("input", arrow.string()),
        ("input_sha256", arrow.string()),
        ("height", arrow.int32()),
        ("width", arrow.int32()),
        ("empty", arrow.bool_()),
        ("confidence", arrow.float64()),
        ("objects", arrow.list_(one)),
        ("error", arrow.string()),
    ]
    return arrow.schema(fields, metadata={ABOUT: json.dumps(dict(info)).encode()})


def write(photos: AnnotatedPhotos, info: Mapping[str, Any], stream: BinaryIO) -> None:
    """Write a row a photo, compressed by zstd, a group of rows at a time; `info` goes into the schema's metadata."""
    arrow = _pyarrow()
    schema = _schema(arrow, info)
    with arrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        key = Keys()
        rows = (_writable(record_of(photo, key(photo.name))) for photo in photos)
        while group := list(islice(rows, ROWS)):
            writer.write_batch(arrow.RecordBatch.from_pylist(group, schema=schema))


def _writable(row: dict[str, Any]) -> dict[str, Any]:
    """Escape paths, and errors that name them, where they are no UTF-8, which is all that Parquet holds."""
    texts = {name: row[name] for name in ("key", "input", "error") if row[name] is not None}
    return row | {name: plain(text) for name, text in texts.items() if not _is_utf8(text)}


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def record_of(photo: Annotated, key: str) -> dict[str, Any]:
    """Give a photo's row: as JSON has it too."""
    failed = photo.error is not None
    return {
        "key": key,
        "input": photo.source if photo.source is not None else photo.name,
        "input_sha256": photo.sha256,
        "height": None if failed else photo.height,
        "width": None if failed else photo.width,
        "empty": None if failed else not photo.objects,
        "confidence": photo.confidence,
        "objects": [
            {
                "label": each.label,
                "score": each.score,
                "box": list(each.box),
                "area": each.area,
                "rle": {"size": list(each.rle["size"]), "counts": each.rle["counts"]},
            }
            for each in photo.objects
        ],
        "error": photo.error,
    }


def read(stream: BinaryIO) -> Iterator[Annotated]:
    """Read the photos back, but those that failed. Raises `ValueError` for anything else."""
    return (photo for photo in read_all(stream) if photo.error is None)


def read_all(stream: BinaryIO) -> Iterator[Annotated]:
    """Read the photos back, those that failed too. Raises `ValueError` for what is no such file."""
    arrow = _pyarrow()
    try:
        table = arrow.parquet.ParquetFile(stream, memory_map=False)
        for number in range(table.metadata.num_row_groups):
            if table.metadata.row_group(number).total_byte_size > MOST_GROUP:
                raise ValueError("a group of rows unpacks to too much")
        for batch in table.iter_batches(ROWS, use_threads=False):
            batch.validate(full=True)  # what reads cells trusts offsets, and would crash the process
            yield from map(photo_of, batch.to_pylist())
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"not a Parquet file of ours ({_one_line(error)})") from None


def about(stream: BinaryIO) -> dict[str, Any]:
    """Read how a file was made. Raises `ValueError` for one that does not say."""
    arrow = _pyarrow()
    try:
        held = json.loads((arrow.parquet.read_schema(stream).metadata or {})[ABOUT])
    except (arrow.ArrowException, OSError, KeyError, RecursionError) as error:
        raise ValueError(f"not a Parquet file of ours ({_one_line(error)})") from None
    if not isinstance(held, dict):
        raise ValueError("does not say how it was made")
    return held


def photo_of(row: object) -> Annotated:
    """Read a row back. Raises `ValueError` for what is none."""
    try:
        if not isinstance(row, dict):
            raise TypeError("not a row")
        source, sha256, error = (_text(row.get(name)) for name in ("input", "input_sha256", "error"))
        about: dict[str, Any] = {
            "confidence": row.get("confidence"),
            "source": source,
            "sha256": sha256,
            "error": error,
        }
        name = str(row["key"])
        if error is not None:
            return Annotated(name, 0, 0, [], **about)
        objects = [restore(each["rle"], float(each["score"]), str(each["label"])) for each in row["objects"]]
        if any(each.rle["size"] != [row["height"], row["width"]] for each in objects):
            raise ValueError(f"{name}: a mask is not of its photo's size")
        return Annotated(name, int(row["height"]), int(row["width"]), objects, **about)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a photo's row ({type(error).__name__}: {error})") from None


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("no text")
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
