"""Connections: who says nothing, or reads nothing, is not waited for; and 2,000 requests leave nothing behind."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2
import pytest

from cratecli.serve import server
from cratecli.serve.limits import Limits
from tests.support.environment import environment
from tests.support.waiting import PATIENCE

OK = b"HTTP/1.1 200"


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer with more than a connection holds by itself; or with nothing."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(1 << 26 if scope["path"] == "/large" else 0)})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve in a thread, with little patience."""
    for name in ("HEAD_SECONDS", "UNREAD_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(server, name, 0.05)
    with served() as address:
        yield address


@contextmanager
def served() -> Iterator[Any]:
    stop = Event()
    with closing(server.listen("127.0.0.1", 0)) as listening:
        thread = Thread(target=server.serve, args=(large, listening, Limits(), stop.is_set))
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            stop.set()
            thread.join()


def connected(address: Any, sent: bytes) -> socket.socket:
    client = socket.create_connection(address, PATIENCE)
    client.sendall(sent)
    return client


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD])
def test_connections_that_say_nothing_are_closed(address: Any, sent: bytes) -> None:
    with connected(address, sent) as client:
        assert client.recv(1) == b""
    with connected(address, HEAD + b"\r\n" + sent) as client, client.makefile("rb") as answer:
        assert answer.read().startswith(OK)


@pytest.mark.parametrize("more", [b"", (HEAD + b"\r\n") * 99])
def test_an_answer_that_nobody_reads_is_given_up(
    address: Any, monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    """Also where the client asks on and on."""
    lost, losing = Event(), server.Connection.connection_lost

    def told(this: server.Connection, reason: Exception | None) -> None:
        losing(this, reason)
        lost.set()

    monkeypatch.setattr(server.Connection, "connection_lost", told)
    with connected(address, HEAD.replace(b"/ ", b"/large ") + b"\r\n" + more):
        assert lost.wait(PATIENCE)


def test_what_is_no_http(address: Any) -> None:
    for sent in (b"\x16\x03\x01\r\n\r\n", HEAD * 2 + b"\r\n", HEAD + b"X: " + b"x" * (server.MOST_HEAD + 1)):
        with connected(address, sent) as client, client.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400")


def test_no_more_connections_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    with served() as address, connected(address, b""), connected(address, HEAD + b"\r\n") as client:
        assert client.recv(12) == b"HTTP/1.1 503"


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path, sent: bytes) -> None:
    """Once all libraries have what they need, 2,000 requests of several kinds add under 10 MB."""
    command = [sys.executable, "-m", "cratecli", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        place = process.stderr.readline().split()[-1]
        quick = {"sizes": "32", "refine": "none", "heads": "all"}
        cut = {"sizes": "32", "by": "maskcut", "count": "1"}
        kinds: list[dict[str, Any]] = [
            {"url": "v1/segment", "content": sent, "params": quick},
            {"url": "v1/segment", "files": {"image": ("a.png", sent)}, "data": quick | {"as": "cutout"}},
            {"url": "v1/objects", "content": sent, "params": cut},
            {"url": "v1/segment", "content": b"no photo"},
            {"url": "v1/segment", "content": sent, "params": quick | {"at": "9,8"}},
        ]
        with httpx2.Client(base_url=place, timeout=PATIENCE) as client:

            def ask(count: int) -> int:
                for number in range(count):
                    client.post(**kinds[number % len(kinds)])
                status = Path(f"/proc/{process.pid}/status").read_text()
                return int(status.split("VmRSS:")[1].split()[0])

            try:
                before, after = ask(300), ask(2000)
            finally:
                process.terminate()
    assert (process.returncode, after - before < 10_000) == (0, True), (before, after)
