"""Spoilt shards, tables and files of rows: entries, or one line; no traceback, no end of the process, no hang."""

import gzip
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from cratecli.errors import InputError, UsageError
from cratecli.io.formats import parquet, webdataset
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.sources.packed import Packed, packed_kind
from tests.support.mutate import mutate
from tests.support.shards import jpeg, tar_of, write_parquet

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

LONGEST = 20  # seconds for a file, on a busy machine
ROWS: dict[str, Callable[[BinaryIO], Iterator[Annotated]]] = {
    "rows.parquet": parquet.read_all,
    "rows.tar": webdataset.read_all,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give a small file of each kind."""
    photos = [jpeg(seed) for seed in range(4)]
    shard = tar_of({f"{number}.jpg": photo for number, photo in enumerate(photos)})
    table = write_parquet(tmp_path_factory.mktemp("sound") / "a", [{"bytes": photo} for photo in photos])
    made = {"a.tar": shard, "a.tar.gz": gzip.compress(shard, mtime=0), "a.parquet": table.read_bytes()}
    arrow = pyarrow.table({"image": photos})
    for name, writer in (("a.arrow", pyarrow.ipc.new_stream), ("b.arrow", pyarrow.ipc.new_file)):
        stream = io.BytesIO()
        with writer(stream, arrow.schema) as sink:
            sink.write_table(arrow)
        made[name] = stream.getvalue()
    mask = annotate(np.eye(24, 32, dtype=bool), 0.5)
    done = [Annotated("a.jpg", 24, 32, [mask]), Annotated("b.jpg", 0, 0, [], error="no photo")]
    for name, write in (("rows.parquet", parquet.write), ("rows.tar", webdataset.write)):
        stream = io.BytesIO()
        write(done, {"crate": {}}, stream)
        made[name] = stream.getvalue()
    return made


def spoil(sound: dict[str, bytes], folder: Path, seeds: range) -> None:
    for seed in seeds:
        for name, content in sound.items():
            spoilt = mutate(content, np.random.default_rng(seed))
            began = time.monotonic()
            try:
                if name in ROWS:
                    list(ROWS[name](io.BytesIO(spoilt)))
                else:
                    read_all(folder / name, spoilt)
            except (InputError, UsageError, ValueError) as error:
                assert "\n" not in str(error), (name, seed)
            assert time.monotonic() - began < LONGEST, (name, seed)


def read_all(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    kind = packed_kind(str(path))
    assert kind is not None
    for entry in Packed(str(path), kind).entries(1_000_000, lambda _note: None):
        try:
            entry.read(1_000_000)
        except InputError:
            continue


def test_spoilt_sources(sound: dict[str, bytes], tmp_path: Path) -> None:
    spoil(sound, tmp_path, range(40))


@pytest.mark.slow
def test_many_spoilt_sources(sound: dict[str, bytes], tmp_path: Path) -> None:
    spoil(sound, tmp_path, range(1000, 8000))


def test_arrow_that_points_outside_itself_is_refused(tmp_path: Path) -> None:
    """Reading its cells would end the process."""
    offsets = np.array([0, 1 << 28, 3], np.int32)
    column = pyarrow.Array.from_buffers(
        pyarrow.binary(), 2, [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(b"abc")]
    )
    batch = pyarrow.RecordBatch.from_arrays([column], ["image"])
    stream = io.BytesIO()
    with pyarrow.ipc.new_stream(stream, batch.schema) as sink:
        sink.write_batch(batch)
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_all(tmp_path / "a.arrow", stream.getvalue())
