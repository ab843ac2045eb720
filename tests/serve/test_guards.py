"""What is refused before anybody looks at it: hosts, pages of others, strangers, and bodies without measure."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from cratecli.serve.guards import HEADERS, Guard, Rules
from cratecli.serve.limits import Limits, Room
from tests.support.waiting import PATIENCE

Message = MutableMapping[str, Any]


async def measure(scope: Any, receive: Any, send: Any) -> None:
    """Answer with how long the body was: the application that is guarded."""
    body = await Request(scope, receive).body()
    await Response(str(len(body)))(scope, receive, send)


def guard(limits: Limits | None = None, rules: Rules | None = None, delay: float = 1.0) -> Guard:
    limits = limits or Limits()
    return Guard(measure, rules or Rules(), limits, Room(limits, lambda: delay))


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def sending(*parts: bytes, then: Callable[[], Any] = never) -> Callable[[], Any]:
    """Send a body in parts, without its length."""

    async def messages() -> AsyncIterator[Message]:
        for number, part in enumerate(parts, 1):
            yield {"type": "http.request", "body": part, "more_body": number < len(parts)}
        while True:
            yield await then()

    return messages().__anext__


async def asked(
    guarded: Guard, receive: Any = None, method: str = "POST", path: str = "/v1/segment", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send one request, and give status, headers and body of the answer."""
    found: list[Message] = []

    async def send(message: Message) -> None:
        found.append(message)

    given = {"host": "127.0.0.1:8000"} | {name.replace("_", "-"): text for name, text in headers.items()}
    scope = {"type": "http", "method": method, "path": path, "query_string": b""}
    scope["headers"] = [(name.encode(), text.encode()) for name, text in given.items() if text != "none"]
    await guarded(scope, receive or sending(b"photo"), send)
    told = {name.decode(): value.decode() for name, value in found[0]["headers"]}
    return found[0]["status"], told, b"".join(each.get("body", b"") for each in found[1:])


@pytest.fixture(autouse=True)
def not_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing that follows a refusal."""
    monkeypatch.setattr("cratecli.serve.guards.LINGERING", 0.0)


def status(*given: Any, **named: Any) -> int:
    return asyncio.run(asked(*given, **named))[0]


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:9000": 200,
    "localhost:8000": 200,
    "LocalHost": 200,
    "[::1]:8000": 200,
    "192.168.1.7": 200,  # an address: nobody else's name leads there
    "crate.example": 200,
    "CRATE.example:80": 200,
    "own.example:8000": 200,
    "evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "localhost.evil.example": 421,
    "localhost:evil": 400,
    "[::1": 400,
    "": 400,
    "none": 400,
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.items())
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_is_rebound_is_refused(host: str, expected: int, method: str) -> None:
    rules = Rules(frozenset({"crate.example"}), own="Own.example")
    assert status(guard(rules=rules), method=method, host=host) == expected


ORIGINS = {
    ("http://127.0.0.1:8000", "none"): 200,
    ("https://proxy.example", "none"): 200,
    ("http://127.0.0.1:3000", "none"): 403,
    ("http://localhost:8000", "none"): 403,
    ("https://evil.example", "none"): 403,
    ("null", "none"): 403,
    ("http://[", "none"): 403,
    ("none", "cross-site"): 403,
    ("none", "same-site"): 403,
    ("none", "same-origin"): 200,
    ("none", "none"): 200,
}


@pytest.mark.parametrize(("sent", "expected"), ORIGINS.items())
def test_the_pages_of_others_may_not_ask(sent: tuple[str, str], expected: int) -> None:
    origin, site = sent
    guarded = guard(rules=Rules(frozenset({"proxy.example"}), own="127.0.0.1"))
    assert status(guarded, origin=origin, sec_fetch_site=site) == expected
    assert status(guarded, method="GET", path="/", origin=origin, sec_fetch_site=site) == 200


def basic(password: str) -> str:
    return "Basic " + b64encode(f"anybody:{password}".encode()).decode()


TOKENS = {
    "Bearer s3cret": 200,
    "bearer  s3cret ": 200,
    basic("s3cret"): 200,
    "Bearer s3cre": 401,
    "Bearer s3crett": 401,
    "Bearer": 401,
    "Bearer ": 401,
    basic("wrong"): 401,
    basic(""): 401,
    "Basic ~~~": 401,
    "Basic é": 401,
    "s3cret": 401,
    "none": 401,
}


@pytest.mark.parametrize(("sent", "expected"), TOKENS.items())
def test_a_server_with_a_token_asks_for_it(sent: str, expected: int) -> None:
    guarded = guard(rules=Rules(token="s3cret"))
    found, headers, _ = asyncio.run(asked(guarded, authorization=sent))
    assert found == expected
    assert headers.get("www-authenticate", "").startswith("Basic") == (expected == 401)
    assert status(guarded, method="GET", path="/", authorization=sent) == expected
    assert status(guarded, method="GET", path="/health", authorization="none") == 200


def test_a_body_is_of_limited_size_however_it_comes() -> None:
    guarded = guard(Limits(bytes=10))
    assert status(guarded, sending(b"12345", b"67890")) == 200
    assert status(guarded, sending(b"12345", b"678901")) == 413
    assert status(guarded, sending(b"x"), content_length="11") == 413
    assert status(guarded, sending(b"x"), content_length="-") == 400
    found, headers, body = asyncio.run(asked(guarded, sending(b"x" * 11, b"x" * 100)))
    assert (found, headers["connection"]) == (413, "close")
    assert b"--max-bytes" in body


def test_a_refused_body_is_not_asked_for() -> None:
    """Who asks first whether to send is answered at once."""
    guarded = guard(Limits(bytes=10))
    assert status(guarded, never, content_length="11", expect="100-continue") == 413


def test_what_follows_a_refusal_is_thrown_away_in_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or clients that send first and listen then would not see the answer."""
    assert status(guard(Limits(bytes=10)), never, content_length="11") == 413
    monkeypatch.setattr("cratecli.serve.guards.LINGERING", PATIENCE)
    taken: list[bytes] = []

    async def endless() -> Message:
        taken.append(b"1234")
        return {"type": "http.request", "body": taken[-1], "more_body": True}

    assert status(guard(Limits(bytes=10)), endless, content_length="11") == 413
    assert len(taken) == 3


def test_a_slow_body_is_not_waited_for() -> None:
    guarded = guard(Limits(body_seconds=0.0))
    found, _, body = asyncio.run(asked(guarded, never))
    assert (found, b"0 seconds" in body) == (408, True)


def test_more_requests_than_have_room_are_told_to_come_again() -> None:
    async def crowd() -> None:
        guarded = guard(Limits(requests=2), delay=7.4)
        arriving = asyncio.Event()

        async def late() -> Message:
            await arriving.wait()
            return {"type": "http.request", "body": b"12345"}

        held = [asyncio.create_task(asked(guarded, late)) for _ in range(2)]
        while guarded._room.requests < 2:
            await asyncio.sleep(0)
        found, headers, _ = await asked(guarded)
        assert (found, headers["retry-after"]) == (503, "7")
        assert (await asked(guarded, method="GET", path="/health"))[0] == 200
        arriving.set()
        assert [each[0] for each in await asyncio.gather(*held)] == [200, 200]
        assert (await asked(guarded))[0] == 200

    asyncio.run(crowd())


def test_bodies_together_are_of_limited_size() -> None:
    async def crowd() -> None:
        guarded = guard(Limits(bytes=10))
        arriving = asyncio.Event()

        async def late() -> Message:
            await arriving.wait()
            return {"type": "http.request", "body": b""}

        held = [asyncio.create_task(asked(guarded, _half(late))) for _ in range(4)]
        while guarded._room.bytes < 40:
            await asyncio.sleep(0)
        assert (await asked(guarded))[0] == 503
        arriving.set()
        assert [each[0] for each in await asyncio.gather(*held)] == [200] * 4
        assert (await asked(guarded))[0] == 200

    asyncio.run(crowd())


def _half(rest: Callable[[], Any]) -> Callable[[], Any]:
    """Send ten bytes, and then the rest."""

    async def messages() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"x" * 10, "more_body": True}
        yield await rest()

    return messages().__anext__


def test_every_answer_has_its_headers() -> None:
    for found, told in ((200, "127.0.0.1"), (421, "evil.example")):
        answered, headers, _ = asyncio.run(asked(guard(), host=told))
        assert answered == found
        assert HEADERS.items() <= {name.title(): value for name, value in headers.items()}.items()


def test_nothing_but_http_is_spoken() -> None:
    found: list[Message] = []

    async def send(message: Message) -> None:
        found.append(message)

    asyncio.run(guard()({"type": "websocket"}, never, send))
    assert found == []
