"""Write and read masks as a WebDataset shard: a tar with `KEY.mask.png` and `KEY.json` for each photo."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from cratecli.errors import InputError
from cratecli.io.formats.names import Keys
from cratecli.io.formats.parquet import photo_of, record_of
from cratecli.io.formats.png import encode_mask
from cratecli.io.formats.record import Annotated, AnnotatedPhotos
from cratecli.io.sources.entry import Reading
from cratecli.io.sources.tars import global_header, tar_entries

ABOUT = "CRATE.provenance"
"""The keyword of the archive's global header that holds how it was made, as JSON; readers of shards pass it over."""

MOST_RECORD = 1 << 26  # bytes of a photo's JSON


def write(photos: AnnotatedPhotos, info: Mapping[str, Any], stream: BinaryIO) -> None:
    """Write two members a photo, the mask of all its objects and its record; of one that failed the record alone.

    A dot in a key's last part becomes `_`: what follows the first dot of a member's name is its field.
    """
    header = {ABOUT: json.dumps(dict(info))}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, pax_headers=header) as tar:
        key_of = Keys(dotless=True)
        for photo in photos:
            key = key_of(photo.name)
            if photo.error is None:
                _add(tar, f"{key}.mask.png", encode_mask(photo.mask))
            _add(tar, f"{key}.json", json.dumps(record_of(photo, key)).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)  # dated 1970, so that equal masks give equal bytes
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))
    vars(tar)["members"] = []  # else it keeps them all


def read(stream: BinaryIO) -> Iterator[Annotated]:
    """Read the photos back, but those that failed. Raises `ValueError` for anything else."""
    return (photo for photo in read_all(stream) if photo.error is None)


def read_all(stream: BinaryIO) -> Iterator[Annotated]:
    """Read the photos back from their records, those that failed too. Raises `ValueError` for what is no such shard."""
    reading = Reading("the shard", None, "json", MOST_RECORD, lambda _note: None)
    try:
        for entry in tar_entries(stream, reading):
            yield photo_of(json.loads(entry.read(MOST_RECORD)))
    except (InputError, RecursionError) as error:
        raise ValueError(str(error)) from None


def about(stream: BinaryIO) -> dict[str, Any]:
    """Read how a shard was made. Raises `ValueError` for one that does not say."""
    try:
        held = json.loads(global_header(stream).get(ABOUT, "null"))
    except (InputError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(held, dict):
        raise ValueError("does not say how it was made")
    return held
