"""Listen, serve until asked to stop, and finish what is in hand."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cratecli.errors import UsageError
from cratecli.serve.guards import is_address
from cratecli.serve.limits import Limits

HEAD_SECONDS = 10.0  # for the head of a request, also of a further one on the same connection
IDLE_SECONDS = 5  # for a connection that was kept
UNREAD_SECONDS = 30.0  # for an answer that nobody reads,
UNREAD_BYTES = 100_000  # or of which fewer are read in that time
MOST_HEAD = 32 << 10  # bytes
CONNECTIONS = 256


class Connection(H11Protocol):
    """One connection; who says nothing, or reads nothing, is not waited for without end."""

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest of a head."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        else:
            self._forget()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, and where its last answer is not read, without a farewell."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """Let an answer wait until it is read, as long as it is."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on with an answer."""
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def _watch(self) -> None:
        held = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() > held - UNREAD_BYTES:
                self.transport.abort()
            else:
                self._watch()

        self._unread = self.loop.call_later(UNREAD_SECONDS, look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._forget()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Server(uvicorn.Server):
    """A server that asks whether to stop, and leaves signals to the program."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], bool]) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end."""
        return await super().on_tick(counter) or self._stopping()


def listen(host: str, port: int) -> socket.socket:
    """Open the socket. Raises `UsageError` for an address that is not this machine's, or in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}, port {port}: {reason}: choose another --host or --port") from None
    return listening


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host."""
    return host == "localhost" or (is_address(host) and ip_address(host.partition("%")[0]).is_loopback)


def address_of(listening: socket.socket) -> str:
    """Give the address as people type it."""
    host, port, *_ = listening.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: Any, listening: socket.socket, limits: Limits, stopping: Callable[[], bool]) -> None:
    """Serve until `stopping`; what is in hand then is finished, as long as the limits allow."""
    _log_bugs()
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=round(limits.body_seconds + limits.seconds) + 1,
        h11_max_incomplete_event_size=MOST_HEAD,
        limit_concurrency=CONNECTIONS,
        backlog=128,
    )
    server = _Server(config, stopping)
    asyncio.run(server.serve([listening]))


def _log_bugs() -> None:
    """Let tracebacks of broken requests reach stderr, and nothing of clients that cannot speak HTTP, or write forms."""
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logger = logging.getLogger("uvicorn.error")
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("crate: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
