"""Stream the photos of tar archives, as WebDataset's shards are, member by member: nothing is unpacked."""

import io
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from cratecli.errors import InputError
from cratecli.io import images
from cratecli.io.sources.entry import Entry, Reading, failing, held, refuse_large
from cratecli.wording import count_of

ENDINGS = (".tar", ".tar.gz", ".tgz")
LONGEST_HEADER = 1 << 20  # bytes of a name, or of an extended header
MOST_OUT = 1 << 30  # bytes that a compressed archive may unpack to,
MOST_RATIO = 100  # or this many times its own; photos hardly shrink
_CHUNK = 1 << 16
_FIELD = re.compile(r"[a-z_]+\.", re.I)
_LONG = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""The types of headers whose content is read into memory."""


class _Inflated(io.RawIOBase):
    """What a gzip stream unpacks to; a bomb is refused before memory or time is spent on it."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._read = self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        while True:
            content = self._inflate.unconsumed_tail
            if self._inflate.eof:  # another member of the same stream may follow
                content = self._inflate.unused_data or self._stream.read(_CHUNK)
                if not content:
                    return 0
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            elif not content:
                content = self._stream.read(_CHUNK)
                self._read += len(content)
            found = self._inflate.decompress(content, len(buffer))
            self._given += len(found)
            if self._given > max(MOST_OUT, MOST_RATIO * self._read):
                raise InputError(
                    f"{self._name}: unpacks to over {MOST_RATIO} times its size: refused as a bomb"
                )
            if found:
                buffer[: len(found)] = found
                return len(found)
            if not content and not self._inflate.eof:
                raise InputError(f"{self._name}: its compressed data are cut short")


class _Archive:
    """A tar archive in a stream, which may be compressed by gzip; faults of headers are not passed over."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._name = name
        self._whole = io.BufferedReader(cast(Any, stream))
        packed = self._whole.peek(2)[:2] == b"\x1f\x8b"
        self._stream = io.BufferedReader(_Inflated(self._whole, name), 1 << 17) if packed else self._whole
        self.broken: list[str] = []

    @contextmanager
    def opened(self) -> Iterator[tarfile.TarFile]:
        """Open it. Raises `InputError` for one that is broken, in the block too."""
        broken = self.broken

        class Header(tarfile.TarInfo):
            """A member's header, which may not be long."""

            @classmethod
            def frombuf(cls, buf: "bytes | bytearray", encoding: str, errors: str) -> "Header":
                try:
                    header = super().frombuf(buf, encoding, errors)
                except tarfile.HeaderError as error:
                    if len(buf) < tarfile.BLOCKSIZE or any(buf):  # zeros are the end
                        broken.append("it is cut short" if len(buf) < tarfile.BLOCKSIZE else str(error))
                    raise
                if header.size < 0 or (header.type in _LONG and header.size > LONGEST_HEADER):
                    broken.append(f"a header that speaks of {header.size:,} bytes")
                    raise tarfile.HeaderError(broken[-1])
                return header

        try:
            with tarfile.open(fileobj=self._stream, mode="r|", tarinfo=Header, errorlevel=1) as tar:
                yield tar
        except (tarfile.TarError, EOFError, zlib.error) as error:
            reason = broken[-1] if broken else " ".join(str(error).split())
            raise InputError(f"{self._name}: a broken archive: {reason}") from None
        finally:
            with suppress(ValueError):
                self._whole.detach()  # or it closes the stream, which is the caller's


def global_header(stream: BinaryIO) -> dict[str, str]:
    """Read the global header of a tar archive. Raises `InputError`."""
    with _Archive(stream, "the archive").opened() as tar:
        return dict(tar.pax_headers)


def tar_entries(stream: BinaryIO, reading: Reading) -> Iterator[Entry]:
    """Read the photos of a tar archive as they come, from a stream, which may be compressed by gzip.

    A photo is a regular file with the extension of one; the column are WebDataset's fields that hold photos, `;`
    between: what follows the first dot of a name. Without it, members of fields that name something else, as
    `1.mask.png`, are passed over, as is all that is no photo. A member that is refused, for its name or its size, is an
    entry that cannot be read. Raises `InputError` for an archive that is broken or cut short, after what could be read.
    """
    name, archive = reading.name, reading.archive
    fields = None if reading.column is None else set(reading.column.lower().split(";"))
    passed, taken = Counter[str](), 0
    shard = _Archive(stream, name)
    with shard.opened() as tar:
        for header in tar:
            vars(tar)["members"] = []  # else it keeps them all
            within = header.name.removeprefix("./")
            if header.isdir():
                continue
            if (reason := _refusal(header, within)) is None and not _is_photo(within, fields):
                passed[_field(within)] += 1
                continue
            label = f"{name}::{within}"
            taken += 1
            try:
                if reason is not None:
                    raise InputError(f"{label}: {reason}")
                refuse_large(header.size, label, reading.most)
            except InputError as error:
                yield Entry(label, within, failing(error), archive)
                continue
            member = tar.extractfile(header)
            content = b"" if member is None else member.read()
            yield Entry(label, within, held(content), archive, nbytes=len(content))
    if shard.broken:
        raise InputError(f"{name}: a broken archive, after {count_of(taken, 'photo')}: {shard.broken[-1]}")
    other = {field: number for field, number in passed.items() if _ending(field) in images.EXTENSIONS}
    if other and fields is None:
        named = f"{count_of(sum(other.values()), 'picture')} of other fields ({', '.join(sorted(other)[:3])})"
        reading.note(f"{name}: passed over {named}; --column takes them")
    if not taken:
        raise InputError(f"{name}: no photo in it")


def _refusal(header: tarfile.TarInfo, within: str) -> str | None:
    """Say why a member is not read, whatever it is."""
    if header.issym() or header.islnk():
        return "a link, not a file" if _is_photo(within, None) else None
    if not header.isreg():
        return "a device or a pipe, not a file"
    if header.issparse():
        return "a sparse file"
    if leads_out(within):
        return "its name leads out of the archive"
    return None


def leads_out(within: str) -> bool:
    """Tell whether a name is absolute, or climbs out of its folder, on any system.

    >>> [leads_out(each) for each in ("a/b.jpg", "../b.jpg", "/b.jpg", "a\\\\..\\\\b.jpg", "C:/b.jpg")]
    [False, True, True, True, True]
    """
    parts = re.split(r"[/\\]", within)
    return not parts[0] or ".." in parts or re.match(r"[A-Za-z]:", within) is not None or "\0" in within


def _field(within: str) -> str:
    """Give WebDataset's field of a member: what follows the first dot of its name."""
    return PurePosixPath(within).name.partition(".")[2].lower()


def _ending(field: str) -> str:
    return f".{field.rpartition('.')[2]}"


def _is_photo(within: str, fields: set[str] | None) -> bool:
    if PurePosixPath(within).name.startswith("."):
        return False
    field = _field(within)
    if fields is not None:
        return field in fields
    return _ending(field) in images.EXTENSIONS and _FIELD.match(field) is None
