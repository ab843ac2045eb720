"""Read photos and shards from web servers, as one stream each; redirects are followed, to web servers only."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, cast

from cratecli.errors import InputError
from cratecli.io.urls import scrub, shown

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import Response

TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16


class _Body(io.RawIOBase):
    """The body of an answer, as a file."""

    def __init__(self, response: "Response") -> None:
        self._chunks = response.iter_bytes(_CHUNK)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        while not self._left:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


@contextmanager
def open_page(url: str) -> Iterator[BinaryIO]:
    """Open what a web server has at a URL, to be read once, from its beginning. Raises `InputError`."""
    import httpx2

    name = shown(url)
    try:
        request = httpx2.stream(
            "GET",
            url,
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=TIMEOUT,
            verify=_certificates(),
        )
        with request as response:
            if response.status_code >= 400:
                raise InputError(f"{name}: the server answered {response.status_code}")
            yield cast(BinaryIO, io.BufferedReader(_Body(response)))
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
        reason = scrub(str(error)) or type(error).__name__
        raise InputError(f"{name}: cannot be downloaded: {reason}") from None


@cache
def _certificates() -> "SSLContext":
    """Read the authorities that are trusted, once."""
    import httpx2

    return httpx2.create_ssl_context()
