"""`crate serve` as its user meets it: what it refuses to start with, and how it ends."""

import json
import signal
import socket
import sys
from contextlib import closing
from subprocess import Popen
from typing import Any

import httpx2
import pytest

from cratecli.serve.guards import Guard
from tests.cli.conftest import Here, Machine, failed
from tests.support.waiting import PATIENCE, until
from tests.support.warm import warm_crate


def test_elsewhere_it_needs_a_token(machine: Machine, here: Here) -> None:
    failed(
        here("serve", "--host", "0.0.0.0"), 2, "--host 0.0.0.0 is reached from elsewhere: give --token-file"
    )
    failed(here("serve", "--host", "::"), 2, "is reached from elsewhere")
    failed(here("serve", "--host", "example.org", CRATE_TOKEN=" "), 2, "is reached from elsewhere")
    (machine.desk / "token").write_text("\n")
    failed(here("serve", "--token-file", "token"), 2, "token: is empty, and should hold a token")
    failed(here("serve", "--token-file", "none"), 2, "none: cannot be read: No such file")


def test_addresses_that_are_not_there(here: Here) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        failed(
            here("serve", "--port", port),
            2,
            f"127.0.0.1, port {port}: Address already in use: choose another",
        )
    failed(here("serve", "--host", "192.0.2.1", CRATE_TOKEN="x"), 2, "choose another --host or --port")


def test_folders_that_are_not_there(here: Here) -> None:
    failed(here("serve", "--local-files", "none"), 2, "none: not a folder")


@pytest.mark.parametrize("lacking", ["fastapi", "uvicorn", "python_multipart"])
def test_its_extra_is_named(here: Here, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)
    failed(here("serve"), 2, "crate serve needs an extra: pip install 'cratecli[serve]'")


def test_what_the_options_say(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[Any, ...]] = []
    monkeypatch.setattr("cratecli.serve.server.serve", lambda *given: served.append(given))
    (machine.desk / "token").write_text(" s3cret\n")
    done = here(
        *(
            "serve",
            "--port",
            "0",
            "--host",
            "localhost",
            "--allow-host",
            "Crate.example",
            "--token-file",
            "token",
        ),
        *(
            "--max-bytes",
            "2000",
            "--max-pixels",
            "3000",
            "--timeout",
            "4",
            "--max-requests",
            "5",
            "--batch-size",
            "6",
        ),
        CRATE_TOKEN="another",
    )
    assert done.code == 0
    assert done.err.startswith("crate: crate-nano, torch cpu float32: ready at http://127.0.0.1:")
    ((guard, _, limits, _),) = served
    assert isinstance(guard, Guard)
    assert guard._rules.token == "s3cret"
    assert (guard._rules.hosts, guard._rules.own) == (frozenset({"crate.example"}), "localhost")
    assert (limits.bytes, limits.pixels, limits.seconds, limits.requests, limits.together) == (
        2000,
        3000,
        4,
        5,
        6,
    )


def started(machine: Machine, *arguments: str) -> tuple["Popen[str]", str]:
    """Start a server on a free port; gives its address too."""
    server = machine.start("serve", "--port", "0", *arguments, program=(warm_crate(),))
    assert server.stderr
    return server, server.stderr.readline().rpartition(" ")[2].strip()


def test_a_signal_lets_it_finish_what_is_in_hand(machine: Machine) -> None:
    """Here a body that has come by half; nobody else gets in, and the exit code is 0."""
    content = machine.photo("photo.png").read_bytes()
    server, address = started(machine)
    url = httpx2.URL(address)
    assert httpx2.get(f"{address}health").json()["status"] == "UP"
    with socket.create_connection((url.host, url.port or 80), PATIENCE) as client:
        head = f"POST /v1/segment?sizes=64&refine=none HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: {len(content)}"
        client.sendall(f"{head}\r\n\r\n".encode() + content[:99])
        until(lambda: waits(address))
        server.send_signal(signal.SIGTERM)
        until(lambda: not listens(url))
        client.sendall(content[99:])
        with client.makefile("rb") as answer:
            text = answer.read()
    start, _, body = text.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["input"] == "photo"
    out, err = server.communicate(timeout=PATIENCE)
    assert (server.returncode, out, err) == (
        0,
        "",
        "crate: finishing what is in hand; once more ends at once\n",
    )


def waits(address: str) -> bool:
    """Tell whether the server has begun with the request that was sent."""
    return bool(httpx2.get(f"{address}health").json()["requests"] == 1)


def listens(url: httpx2.URL) -> bool:
    try:
        socket.create_connection((url.host, url.port or 80), PATIENCE).close()
    except OSError:
        return False
    return True
