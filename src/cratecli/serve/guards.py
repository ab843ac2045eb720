"""What stands before every request: who may ask, from where, how much, and for how long."""

import asyncio
import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cratecli.serve.limits import Held, Limits, Room
from cratecli.serve.refused import RefusedError, failure_of

HEALTH = "/health"
LINGERING = 2.0  # seconds for which a refused body is read and thrown away, so that the answer is seen
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


@dataclass(frozen=True)
class Rules:
    """Who may ask: names that requests may be sent to, beside addresses and localhost; a token, if one is needed.

    Pages of `hosts`, which are proxies, may ask too; those of `own`, at another port, may not.
    """

    hosts: frozenset[str] = frozenset()
    token: str | None = None
    own: str = "localhost"

    def refuse_host(self, headers: Headers) -> None:
        """Raise `RefusedError` for a request to another name, whose page could read the answer."""
        named = headers.getlist("host")
        host = _split(named[0]) if len(named) == 1 else None
        if host is None or host.hostname is None:
            raise RefusedError(400, "a request names one host")
        if not self._is_ours(host.hostname):
            raise RefusedError(
                421, f"{host.hostname[:80]}: not a name of this server; --allow-host NAME makes it one"
            )

    def refuse_origin(self, headers: Headers) -> None:
        """Raise `RefusedError` for a request that a browser sends for a page of another server."""
        origin = headers.get("origin")
        if origin is None:
            foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        else:
            sent = _split(origin.partition("://")[2])
            name = sent.hostname if sent else None
            foreign = sent is None or not (sent.netloc == headers.get("host") or name in self.hosts)
        if foreign:
            raise RefusedError(403, "the page of another server may not ask this one")

    def refuse_stranger(self, headers: Headers) -> None:
        """Raise `RefusedError` for a request without the token: after `Bearer`, or the password of `Basic`."""
        if self.token is not None and not hmac.compare_digest(
            _token(headers.get("authorization", "")), self.token.encode()
        ):
            raise RefusedError(
                401,
                "the server needs its token: Authorization: Bearer TOKEN, or the password of Basic",
                {"WWW-Authenticate": 'Basic realm="crate", charset="UTF-8"'},
            )

    def _is_ours(self, host: str) -> bool:
        return host in {*self.hosts, self.own.lower(), "localhost"} or is_address(host)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address: no other name's owner can lead that elsewhere."""
    try:
        return bool(ip_address(host.partition("%")[0]))
    except ValueError:
        return False


def _split(host: str) -> SplitResult | None:
    try:
        split = urlsplit(f"//{host}")
        _ = split.port  # which is checked when it is asked for
    except ValueError:
        return None
    return split


def _token(authorization: str) -> bytes:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1")
    if scheme.lower() == "basic":
        with suppress(Base64Error, ValueError):
            return b64decode(rest, validate=True).partition(b":")[2]
    return b""


class Guard:
    """Lets requests through that the rules and limits allow, with their whole body, and answers the others.

    It stands around the whole application: what it refuses nobody else has seen.
    """

    def __init__(self, app: ASGIApp, rules: Rules, limits: Limits, room: Room) -> None:
        """Stand before an application; `room` counts what is in hand."""
        self._app, self._rules, self._limits, self._room = app, rules, limits, room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers, send = Headers(scope=scope), _with_headers(send)
        try:
            self._refuse_by_head(scope, headers)
            if scope["method"] in ("GET", "HEAD"):
                await self._app(scope, receive, send)
                return
            with self._room.entered() as held:
                body = await self._whole(receive, held)
                await self._app(scope, _replayed(body, receive), send)
        except RefusedError as refusal:
            waits = headers.get("expect", "").lower() == "100-continue" or refusal.status == 408
            with suppress(TimeoutError):
                await asyncio.wait_for(_thrown_away(receive, 0 if waits else self._limits.bytes), LINGERING)
            more = refusal.headers | {"Connection": "close"}
            answer = JSONResponse(failure_of(refusal).as_data(), refusal.status, more)
            await answer(scope, receive, send)

    def _refuse_by_head(self, scope: Scope, headers: Headers) -> None:
        self._rules.refuse_host(headers)
        if scope["path"] != HEALTH:
            self._rules.refuse_stranger(headers)
        if scope["method"] not in ("GET", "HEAD"):
            self._rules.refuse_origin(headers)
            if _length(headers) > self._limits.bytes:
                raise _too_large(self._limits)

    async def _whole(self, receive: Receive, held: Held) -> bytes:
        """Receive a body, of limited size and in limited time."""
        parts: list[bytes] = []
        more = True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    part = message.get("body", b"")
                    held.take(len(part))
                    if held.bytes > self._limits.bytes:
                        raise _too_large(self._limits)
                    parts.append(part)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RefusedError(
                408, f"the body took more than {self._limits.body_seconds:g} seconds"
            ) from None
        return b"".join(parts)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body that has come as one message; what comes after it is that the client has left."""
    waiting = [body]

    async def replaying() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replaying


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(413, f"the body has more than {limits.bytes:,} bytes; --max-bytes raises the limit")


def _length(headers: Headers) -> int:
    try:
        return int(headers.get("content-length", "0"))
    except ValueError:
        raise RefusedError(400, "the content's length is no number") from None


async def _thrown_away(receive: Receive, most: int) -> None:
    more = True
    while more and most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        more = message.get("more_body", False)
