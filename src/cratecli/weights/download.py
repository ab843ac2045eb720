"""Downloads, the only use of the network: from the Hub by its own client, from elsewhere as one stream."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout

from cratecli.errors import WeightsError

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import Response

OnBytes = Callable[[int, int | None], None]
"""A progress function: called with the bytes that are here, and the bytes of the whole file, if known."""

Note = Callable[[str], None]
"""Takes a line for people."""

OFFICIAL_HUB = "https://huggingface.co"
_TIMEOUT = 30.0  # seconds without a byte
_LONGEST_PAGE = 1 << 19  # bytes of HTML that are looked at


class DownloadError(Exception):
    """A server did not send the file."""


class PageError(DownloadError):
    """A server sent an HTML page, whose `text` may say why."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the page; the message is for a page whose text says nothing."""
        answered = f"the server answered {status}"
        super().__init__(answered if status >= 400 else "an HTML page came (quota or login?), not weights")
        self.text = text


def unsaid(_text: str) -> None:
    """Take a line, and say it nowhere."""


def from_hub(
    repository: str,
    revision: str | None,
    file: str,
    on_bytes: OnBytes,
    *,
    again: bool,
    note: Note = unsaid,
) -> Path:
    """Download a file into the Hub's own cache, as its client does, and give its path there, unverified.

    `again` downloads a file that is in the cache. Where the Hub does not answer, the client tries again for half a
    minute, which goes to `note`. The user's token goes to the Hub alone, to no other endpoint.
    Raises what the client raises: see `explained`.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        """A progress bar that draws nothing and calls `on_bytes`."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            on_bytes(int(self.n), None if self.total is None else int(self.total))

        def update_transfer(self, n: float) -> None:
            """Take Xet's bytes on the wire; without this method they would count as the file's."""

        def set_transfer_postfix_str(self, text: str, refresh: bool = True) -> None:
            """Take Xet's speed on the wire."""

    try:
        with _quiet_hub(note):
            path = hf_hub_download(
                repository,
                file,
                revision=revision,
                token=None if constants.ENDPOINT == OFFICIAL_HUB else False,
                force_download=again,
                tqdm_class=Bar,
            )
    except RuntimeError as error:  # Xet's, which has no type of its own for a broken connection
        raise DownloadError(str(error)) from error
    return Path(path)


def hub_leftovers(repository: str) -> list[Path]:
    """List the temporary files that killed downloads of a repository have left in the Hub's cache.

    The client names such a file after the etag whose lock it holds: where the lock is free, the file is left over.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type="model")
    cache = Path(constants.HF_HUB_CACHE)
    leftovers = []
    for path in cache.glob(f"{folder}/blobs/*.incomplete"):
        lock = FileLock(cache / ".locks" / folder / f"{path.name.rsplit('.', 2)[0]}.lock", timeout=0)
        with suppress(Timeout, OSError, NotImplementedError), lock:
            leftovers.append(path)
    return leftovers


@cache
def _certificates() -> "SSLContext":
    """Read the authorities that are trusted, once: it takes longer than a small file from near by."""
    import httpx2

    return httpx2.create_ssl_context()


def from_web(url: str, stream: BinaryIO, on_bytes: OnBytes, *, exactly: int | None) -> None:
    """Download a file from a plain address to the end of a stream, up to `exactly` bytes where the size is known.

    The content of `stream`, open for appending, is the start of the file, and only the rest is requested; a server
    that cannot continue sends the whole file again. Also when this raises, the content is a start of the file.
    Raises `DownloadError`, and what the HTTP client raises: see `explained`.
    """
    import httpx2

    if exactly is not None and stream.tell() > exactly:
        _empty(stream)
    if (begun := stream.tell()) == exactly:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    request = httpx2.stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT, verify=_certificates()
    )
    with request as response:
        if response.headers.get("content-type", "").startswith("text/html"):
            raise PageError(response.status_code, _page(response))
        continues = response.headers.get("content-range", "").startswith(f"bytes {begun}-")
        if begun and not (response.status_code == httpx2.codes.PARTIAL_CONTENT and continues):
            if response.status_code in (httpx2.codes.PARTIAL_CONTENT, httpx2.codes.RANGE_NOT_SATISFIABLE):
                _empty(stream)
                from_web(url, stream, on_bytes, exactly=exactly)
                return
            response.raise_for_status()
            _empty(stream)
        response.raise_for_status()
        length = int(response.headers.get("content-length", 0))
        total = stream.tell() + length if length else exactly
        for chunk in response.iter_bytes():
            stream.write(chunk)
            on_bytes(stream.tell(), total)
            if exactly is not None and stream.tell() > exactly:
                _empty(stream)
                raise DownloadError(f"more than {exactly} bytes came")


def network_errors() -> tuple[type[Exception], ...]:
    """List the exceptions of the network, ours and the HTTP client's."""
    import httpx2

    return DownloadError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError


@contextmanager
def explained(failure: str, remedy: str) -> Iterator[None]:
    """Turn exceptions of files, the Hub's client and HTTP into a `WeightsError` of one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise WeightsError(f"{failure}: {reason(error)}; {remedy}") from error
    except WeightsError:
        raise
    except Exception as error:
        if not isinstance(error, network_errors()):
            raise
        raise WeightsError(f"{failure}: {reason(error)}; {remedy}") from error


def reason(error: BaseException) -> str:
    """Describe an exception of a file, the Hub's client or HTTP in a part of a line."""
    import httpx2
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError | ValueError) and error.__cause__ is not None:
        error = error.__cause__  # the Hub's client says "check your connection", or "the above error"
    if (status := getattr(getattr(error, "response", None), "status_code", None)) is not None:
        answered = f"the server answered {status}"
        if isinstance(error, GatedRepoError):
            return f"{answered}: accept its terms on its page at {OFFICIAL_HUB}, then run: hf auth login"
        return f"{answered} (does it want a login?)" if status in (401, 403) else answered
    if isinstance(error, httpx2.TimeoutException):
        return "the server stalled"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(filter(None, str(error).splitlines()), type(error).__name__)


def _empty(stream: BinaryIO) -> None:
    stream.seek(0)
    stream.truncate()


def _page(response: "Response") -> str:
    page = b""
    for chunk in response.iter_bytes():
        page += chunk
        if len(page) > _LONGEST_PAGE:
            break
    return page.decode(errors="replace")


class _Retries(logging.Handler):
    """Says once that the Hub's client waits and tries again."""

    def __init__(self, note: Note) -> None:
        super().__init__(logging.WARNING)
        self._note: Note | None = note

    def emit(self, record: logging.LogRecord) -> None:
        """Take one of the client's warnings."""
        if self._note is not None and "retry" in record.getMessage().lower():
            from huggingface_hub import constants

            note, self._note = self._note, None
            note(f"{constants.ENDPOINT} does not answer yet: trying again, for half a minute at most")


@contextmanager
def _quiet_hub(note: Note) -> Iterator[None]:
    """Keep the Hub client's warnings off stderr: our error says the same in one line, and our note that it waits."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level, logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Retries(note)], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        _, logger.handlers, logger.propagate = before
