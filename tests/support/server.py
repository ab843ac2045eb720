"""A local server that plays the Hub, a plain address and Drive, well and badly."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

REVISION = "c0ffee" + "0" * 34


@dataclass
class Answer:
    """What the server says to a path, and how it says it."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None  # bytes, when the body is cut short of them
    stalls: bool = False  # after the body, until the server is closed
    ranges: bool = False  # whether a part can be had
    pause: float = 0  # seconds after every 64 kB


def lead_hub_client(address: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Lead the Hub's client of this process, which read its settings when imported, to a server and a cache."""
    settings = {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    for name, value in settings.items():
        patch.setattr(f"huggingface_hub.constants.{name}", value)


@dataclass
class Server:
    """A local server with its answers by path, and what it was asked."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def serve_hub(self, answer: Answer | bytes, etag: str) -> None:
        """Play the Hub for `owner/name` with one large file at one revision."""
        answer = Answer(answer) if isinstance(answer, bytes) else answer
        answer.headers |= {"X-Repo-Commit": REVISION, "ETag": f'"{etag}"'}
        for revision in (REVISION, "main"):
            self.answers[f"/owner/name/resolve/{revision}/torch/m.pth"] = answer

    def stand_in_for_hub(self, cache: Path, patch: pytest.MonkeyPatch) -> None:
        """Lead the Hub's client of this process here, and to a cache."""
        lead_hub_client(self.address, cache, patch)


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine, a thread a request."""
    closing = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.command, self.path))
            server.tokens.extend(filter(None, [self.headers.get("Authorization")]))
            answer = server.answers.get(self.path, Answer(b"", 404, {"X-Error-Code": "EntryNotFound"}))
            begin, status, headers = 0, answer.status, dict(answer.headers)
            if (part := self.headers.get("Range")) is not None:
                server.ranges.append(part)
                first = int(re.sub(r"\D", "", part))
                size = answer.announced or len(answer.body)
                if answer.ranges and first >= size:
                    begin, status = size, 416
                elif answer.ranges:
                    begin, status = first, 206
                    headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str((answer.announced or len(answer.body)) - begin))
            self.end_headers()
            if self.command == "GET":
                for place in range(begin, len(answer.body), 1 << 16):
                    self.wfile.write(answer.body[place : min(place + (1 << 16), len(answer.body))])
                    closing.wait(answer.pause)
                if answer.stalls:
                    closing.wait()

        do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """Say nothing of clients that were killed."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            closing.set()
            http.shutdown()
            thread.join()
