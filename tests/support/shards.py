"""Shards and tables of tiny photos."""

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.photos import photo


def jpeg(seed: int = 0, width: int = 32, height: int = 24) -> bytes:
    """Give the file of a photo: a bright disc on a dark ground."""
    content = io.BytesIO()
    Image.fromarray(photo(height, width, seed)).save(content, "JPEG")
    return content.getvalue()


def tar_of(
    members: Mapping[str, bytes] | Iterable[tarfile.TarInfo | tuple[str, bytes]], mode: str = "w"
) -> bytes:
    """Give a tar archive of files, and of headers as they are."""
    content = io.BytesIO()
    items = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(fileobj=content, mode=mode) as tar:  # type: ignore[call-overload]
        for each in items:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
                continue
            header = tarfile.TarInfo(each[0])
            header.size = len(each[1])
            tar.addfile(header, io.BytesIO(each[1]))
    return content.getvalue()


def odd(name: str, kind: bytes, leads_to: str = "") -> tarfile.TarInfo:
    """Give the header of a member that is no file."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, leads_to
    return header


def write_parquet(path: Path, rows: Sequence[Any], column: str = "image", **columns: Sequence[Any]) -> Path:
    """Write a table with a column of bytes, or of structs as Hugging Face has them."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({column: list(rows), **columns}), path)
    return path
