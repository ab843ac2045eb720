"""Object stores and web servers: list photos below a URL, read them, write outputs, through fsspec and httpx2."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cratecli.errors import CrateError, InputError, OutputError, UsageError
from cratecli.io.sources import web
from cratecli.io.sources.entry import Entry, refuse_large
from cratecli.io.urls import STORES, WEB, path_of, protocol_of, refuse_unknown, scrub, shown

BLOCK = 1 << 22  # bytes of a shard that are asked for at once


@dataclass(frozen=True)
class Found:
    """An object below a URL: its path from there on, and its URL."""

    within: str
    url: str


def filesystem(url: str) -> tuple[Any, str]:
    """Give fsspec's file system of a store's URL, and the path in it.

    Raises `UsageError` for a protocol that is not known, or whose package is missing.
    """
    import fsspec

    refuse_unknown(url)
    protocol = protocol_of(url)
    try:
        with explained(url):
            system, path = fsspec.core.url_to_fs(url)
    except ImportError:
        extra = STORES.get(protocol)
        raise UsageError(
            f"{shown(url)}: {protocol}:// needs an extra; run: pip install 'cratecli[{extra}]'"
        ) from None
    return system, path


@contextmanager
def explained(url: str, what: str = "cannot be read") -> Iterator[None]:
    """Turn whatever a store's client raises, but for a missing package, into an `InputError` of one line."""
    try:
        yield
    except (CrateError, ImportError, MemoryError):
        raise
    except FileNotFoundError:
        absent = "no such object" if what == "cannot be read" else f"{what}: no such bucket"
        raise InputError(f"{shown(url)}: {absent}") from None
    except PermissionError as error:
        raise InputError(f"{shown(url)}: {what}: access denied: {scrub(str(error))}") from None
    except Exception as error:  # every client has exceptions of its own
        reason = scrub(str(error)) or type(error).__name__
        raise InputError(f"{shown(url)}: {what}: {reason[:300]}") from None


def is_prefix(url: str) -> bool:
    """Tell whether a URL stands for the objects below it. Raises `InputError` for one of a web server."""
    if protocol_of(url) in WEB:
        if url.endswith("/"):
            raise InputError(
                f"{shown(url)}: a web server does not say what is in a folder: name photos or shards, "
                "or give a list by --files-from"
            )
        return False
    system, path = filesystem(url)
    if url.endswith("/"):
        return True
    with explained(url):
        return bool(system.isdir(path))


def list_objects(url: str, *, recursive: bool) -> list[Found]:
    """List the objects below a store's URL, sorted; hidden ones are left out. Raises `InputError`."""
    system, path = filesystem(url)
    top = path.rstrip("/")
    with explained(url, "cannot be listed"):
        paths = system.find(top, maxdepth=None if recursive else 1)
    below = [(each.removeprefix(f"{top}/") if top else each.lstrip("/"), each) for each in sorted(paths)]
    return [
        Found(within, _url(url, system, each))
        for within, each in below
        if within and not any(part.startswith(".") for part in within.split("/"))
    ]


def _url(like: str, system: Any, path: str) -> str:
    named = str(system.unstrip_protocol(path))
    return f"{like.partition('://')[0]}://{named.partition('://')[2].lstrip('/')}"


def photo_at(url: str) -> Entry:
    """Take a URL for a photo. Raises `UsageError` for a protocol that is not known, or whose package is missing."""
    refuse_unknown(url)
    if protocol_of(url) not in WEB:
        filesystem(url)
    path = path_of(url).as_posix()
    return Entry(shown(url), path, partial(read_object, url), title=path, url=url)


def read_object(url: str, most: int) -> bytes:
    """Read an object whole, of `most` bytes at most. Raises `InputError`, and `UsageError` for a missing package."""
    if protocol_of(url) in WEB:
        with web.open_page(url) as stream:
            content = stream.read(most + 1)
    else:
        system, path = filesystem(url)
        with explained(url):
            size = system.info(path).get("size")
            refuse_large(size or 0, shown(url), most)
            content = system.cat_file(path)
    refuse_large(len(content), shown(url), most)
    return bytes(content)


def version_of(url: str) -> str | None:
    """Tell an object's state from others, if its store does: by size, and entity tag or date. Raises `InputError`."""
    if protocol_of(url) in WEB:
        return None
    system, path = filesystem(url)
    with explained(url):
        about = system.info(path)
    marks = (
        "ETag",
        "etag",
        "md5Hash",
        "md5",
        "oid",
        "blob_id",
        "LastModified",
        "mtime",
        "last_modified",
        "created",
    )
    known = next((str(about[mark]) for mark in marks if about.get(mark)), None)
    return None if known is None else f"{about.get('size')}-{known}"


@contextmanager
def open_object(url: str) -> Iterator[BinaryIO]:
    """Open an object, to be read from its beginning; that of a store can be sought in. Raises `InputError`."""
    if protocol_of(url) in WEB:
        with web.open_page(url) as stream:
            yield stream
        return
    system, path = filesystem(url)
    with explained(url), system.open(path, "rb", block_size=BLOCK, cache_type="readahead") as stream:
        yield stream


@dataclass(frozen=True)
class Destination:
    """A place in a store that outputs go below. Objects are written whole: readers see the old one, or the new."""

    url: str = field(repr=False)

    @classmethod
    def of(cls, output: str) -> "Destination":
        """Take a URL for what outputs go below. Raises `UsageError` for one that nothing is written to."""
        refuse_unknown(output, "written")
        filesystem(output)
        return cls(output.rstrip("/"))

    def at(self, within: str) -> str:
        """Give the URL of an output, without credentials."""
        return f"{shown(self.url)}/{within}" if within else shown(self.url)

    def write(self, within: str, content: bytes) -> None:
        """Write an output. Raises `OutputError`; where a store refuses a name, `alone`."""
        with _writing(self.at(within)):
            system, path = filesystem(f"{self.url}/{within}" if within else self.url)
            system.pipe_file(path, content)

    def upload(self, within: str, file: Path) -> None:
        """Write an output from a file; the object appears when all of it is there. Raises `OutputError`."""
        with _writing(self.at(within)):
            system, path = filesystem(f"{self.url}/{within}" if within else self.url)
            system.put_file(str(file), path)

    def read(self, within: str, most: int) -> bytes | None:
        """Read an output back; nothing where it is not there. Raises `OutputError` where that cannot be told."""
        with _writing(self.at(within)):
            system, path = filesystem(f"{self.url}/{within}" if within else self.url)
            try:
                return None if system.info(path).get("size", 0) > most else bytes(system.cat_file(path))
            except FileNotFoundError:
                return None

    def there(self) -> set[str]:
        """List the outputs that are there, by their paths. Raises `InputError`."""
        system, path = filesystem(self.url)
        with explained(self.url, "cannot be listed"):
            system.invalidate_cache()
            return {each.removeprefix(f"{path.rstrip('/')}/") for each in system.find(path)}


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """Turn what a store's client raises into an `OutputError`, `alone` where it is for the name."""
    try:
        with explained(name, "cannot be written"):
            try:
                yield
            except ValueError as error:  # a name that the store does not take
                reason = scrub(str(error))
                raise OutputError(f"{name}: cannot be written: {reason}", alone=True) from None
    except InputError as error:
        raise OutputError(str(error)) from None
