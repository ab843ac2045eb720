"""Bytes from the network, which nothing else asks: the Hub by its own client, the rest as one stream."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from cratecli.errors import WeightsError

OnBytes = Callable[[int, int | None], None]
"""Told, while a file comes in, how many bytes are here and how many there will be, when that is known."""

_OFFICIAL_HUB = "https://huggingface.co"
_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte


def from_hub(repository: str, revision: str | None, file: str, on_bytes: OnBytes, *, again: bool) -> Path:
    """Fetch a file into the Hub's own cache, as its client does, and give its path there, unverified.

    `again` fetches a file that is in the cache. The user's token goes to the Hub alone, to no other endpoint.
    Raises what the client raises: see `explained`.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        """A progress bar that draws nothing and tells `on_bytes`."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            on_bytes(int(self.n), None if self.total is None else int(self.total))

        def update_transfer(self, n: float) -> None:
            """Take Xet's bytes on the wire; without this method they would count as the file's."""

        def set_transfer_postfix_str(self, text: str, refresh: bool = True) -> None:
            """Take Xet's speed on the wire."""

    with _quiet_hub():
        path = hf_hub_download(
            repository,
            file,
            revision=revision,
            token=None if constants.ENDPOINT == _OFFICIAL_HUB else False,
            force_download=again,
            tqdm_class=Bar,
        )
    return Path(path)


def from_web(url: str, stream: BinaryIO, on_bytes: OnBytes, *, exactly: int | None) -> None:
    """Stream a file from a plain address, and no more than `exactly` bytes where the size is known.

    Raises `OSError` for an HTML page, and what the HTTP client raises: see `explained`.
    """
    import httpx2

    host, identity = urlsplit(url).hostname, {"Accept-Encoding": "identity"}
    with httpx2.stream("GET", url, headers=identity, follow_redirects=True, timeout=_TIMEOUT) as response:
        response.raise_for_status()
        if response.headers.get("content-type", "").startswith("text/html"):
            raise OSError(f"{host} sent an HTML page (quota or login?), not weights")
        total = int(response.headers.get("content-length", 0)) or exactly
        for chunk in response.iter_bytes(_CHUNK):
            stream.write(chunk)
            on_bytes(stream.tell(), total)
            if exactly is not None and stream.tell() > exactly:
                raise OSError(f"{host} sent more than {exactly} bytes")


@contextmanager
def explained(failure: str, remedy: str) -> Iterator[None]:
    """Turn what files, the Hub's client and HTTP raise into a `WeightsError` of one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise WeightsError(f"{failure}: {_reason(error)}; {remedy}") from error
    except Exception as error:
        import httpx2

        if not isinstance(error, httpx2.HTTPError):
            raise
        raise WeightsError(f"{failure}: {_reason(error)}; {remedy}") from error


def _reason(error: BaseException) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # "check your connection" is true of everything
    if (status := getattr(getattr(error, "response", None), "status_code", None)) is not None:
        return f"the server answered {status}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(filter(None, str(error).splitlines()), type(error).__name__)


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the Hub client's warnings off stderr: an error says in one line what they say in many."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
