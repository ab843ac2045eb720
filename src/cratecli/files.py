"""Atomic files: replaced whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

ORPHAN = f".crate-{'[0-9a-f]' * 32}.part"
"""The shell pattern of the files that `replacing` leaves behind when its process is killed."""


TEMPORARY = "set TMPDIR to a folder with room, that can be written"
"""What to do where there is no temporary folder."""


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary sibling; when the block ends well it takes the place of `path`, else it is removed.

    Makes the folder if need be. Of a link the target is replaced, not the link; a device or a pipe is written to.
    A file that is not `durable` may be lost, never torn, when the machine stops. Raises `OSError`.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        with path.open("wb") as stream:
            yield stream
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".crate-{uuid4().hex}.part")  # a name that fits where `path` fits
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
