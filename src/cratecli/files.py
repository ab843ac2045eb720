"""Atomic files: replaced whole or not at all."""

import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

ORPHAN = f".crate-{'[0-9a-f]' * 32}.part"
"""The shell pattern of the files that `replacing` leaves behind when its process is killed."""


TEMPORARY = "set TMPDIR to a folder with room, that can be written"
"""What to do where there is no temporary folder."""


MOST_TEXT = 1 << 28
"""Bytes that a list, a recipe or another file of text has at most: paths of some millions of photos."""


def read_text_bytes(path: Path) -> bytes:
    """Read a file of text, or a pipe, to its end. Raises `OSError`, for one that has more than `MOST_TEXT` too."""
    with path.open("rb") as stream:
        return bounded(stream.read(MOST_TEXT + 1), str(path))


def bounded(content: bytes, name: str) -> bytes:
    """Give back what was read. Raises `OSError` if it is more than `MOST_TEXT`: a device, say, that never ends."""
    if len(content) > MOST_TEXT:
        raise OSError(errno.EFBIG, f"more than {MOST_TEXT >> 20} MiB: split it", name)
    return content


def open_file(path: Path) -> BufferedReader:
    """Open a file to read it. Raises `OSError`, for a pipe or a device too: they may never answer, or never end."""
    stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def real_place(path: Path) -> str:
    """Give a file's path without a link on the way to it; the file itself may be one.

    >>> real_place(Path("/.."))
    '/'
    """
    if path.name in ("", os.pardir):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118


def real_folder(folder: Path) -> Path:
    """Give a folder so that `..` behind it leads where the system goes: as it is, or where links lead."""
    real = os.path.realpath(folder)
    if real == os.path.abspath(folder):  # noqa: PTH100 - links are what is asked for
        return folder
    return Path(real if folder.is_absolute() else relative_path(real))


def seen_from(folder: Path, path: Path) -> str:
    """Give a path relative to a folder, with `/` between, so that it leads there whatever links are on either way."""
    return Path(relative_path(real_place(path), os.path.realpath(folder))).as_posix()


def relative_path(path: str | Path, folder: str | Path = os.curdir) -> str:
    """Give a path relative to a folder; from another drive, which only Windows has, the whole path.

    >>> relative_path("/d/a/x.jpg", "/d/b") == os.path.join("..", "a", "x.jpg")
    True
    """
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return os.path.abspath(path)  # noqa: PTH100 - links stay


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


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


def in_order(content: bytes) -> bytes:
    """Sort the header of a safetensors file, whose metadata safetensors writes in any order."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written in a folder. Raises `OSError`."""
    for path in folder.glob(ORPHAN) if folder.is_dir() else ():
        path.unlink(missing_ok=True)


def sweep(folders: Iterable[Path]) -> None:
    """Remove what killed processes left half written in some folders, where it can be removed."""
    for folder in folders:
        with suppress(OSError):
            remove_leftovers(folder)
