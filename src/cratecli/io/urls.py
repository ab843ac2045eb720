"""Tell URLs, as of web pages and buckets, from paths, and show them without what is secret in them."""

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from cratecli.errors import UsageError

WEB = ("http", "https")
STORES: Mapping[str, str | None] = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
    **dict.fromkeys(("hf", "memory"), None),
}
"""The protocols of stores that fsspec reads, and the extra with the package of each; the Hub's is always there."""

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(name: str) -> bool:
    """Tell whether a name is a URL, and no path that is there.

    >>> is_url("s3://bucket/a.jpg"), is_url("photos/a.jpg"), is_url("a::b.jpg")
    (True, False, False)
    """
    return _PROTOCOL.match(name) is not None and not os.path.lexists(name)


def protocol_of(url: str) -> str:
    """Give a URL's protocol, in small letters."""
    return url.partition("://")[0].lower()


def shown(url: str) -> str:
    """Show a URL without user, password, query and fragment: they may hold credentials, as signed URLs do.

    >>> shown("https://me:secret@host/a.jpg?X-Amz-Signature=1"), shown("s3://bucket/a b.jpg")
    ('https://host/a.jpg', 's3://bucket/a b.jpg')
    """
    protocol, between, rest = url.partition("://")
    if not between:
        return url
    if protocol.lower() in WEB:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{protocol}://{host.rpartition('@')[2]}{slash}{path}"


def scrub(text: str) -> str:
    """Take credentials out of the URLs in a message of somebody else's, and make it one line.

    >>> scrub("403 for https://me:pw@host/a?sig=1 and more")
    '403 for https://host/a?… and more'
    """
    text = re.sub(r"(://)[^/\s@'\"]*@", r"\1", " ".join(text.split()))
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1?…", text)


def path_of(url: str) -> PurePosixPath:
    """Give the path that names of outputs are made of: host or bucket first, without a query.

    Whatever is quoted in it, it is `kept_inside`.

    >>> [path_of(f"https://host/{name}").as_posix() for name in ("a%20b.jpg?x=1", "%00.jpg", "x/..%2f..%2fc.jpg")]
    ['host/a b.jpg', 'host/%00.jpg', 'host/x/c.jpg']
    """
    named = shown(url).partition("://")[2]
    return kept_inside(unquote(named) if protocol_of(url) in WEB else named)


def kept_inside(name: str) -> PurePosixPath:
    """Give a path less its roots and `..`, which lead out of a folder; a NUL, which no path can hold, is quoted.

    >>> kept_inside("/a/../../b.jpg").as_posix()
    'a/b.jpg'
    """
    path = PurePosixPath(name.replace("\0", "%00"))
    return PurePosixPath(*(part for part in path.parts if part not in ("..", path.anchor)))


def refuse_unknown(url: str, what: str = "read") -> None:
    """Raise `UsageError` for a URL of a protocol that photos are not read from, or outputs not written to."""
    protocol = protocol_of(url)
    if protocol in WEB and what != "read":
        raise UsageError(f"{shown(url)}: a web server takes no files: give a path, or a bucket")
    if protocol not in (*WEB, *STORES):
        known = ", ".join(f"{each}://" for each in (*(WEB if what == "read" else ()), *STORES))
        raise UsageError(f"{shown(url)}: {protocol}:// is not {what}; known are {known}")


def refuse_url(name: str, what: str = "read", *, piped: str = "crate segment -") -> None:
    """Raise `UsageError` for a URL, as of a web page or a bucket, where only paths are taken.

    `piped` is the command that takes its bytes, if one does.
    """
    if is_url(name):
        if what != "read":
            raise UsageError(f"{shown(name)}: URLs cannot be {what} yet: give a path, and upload it")
        so = f", as by: curl -s {shown(name)} | {piped}" if piped and name.startswith(("http", "ftp")) else ""
        raise UsageError(f"{shown(name)}: URLs cannot be read yet: download it first{so}")
