"""A local server that answers as CVAT's does for one task: what its own SDK and command line ask of it, and no more."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TASK, LABEL, ATTRIBUTE, FUNCTION = 7, 31, 41, 3
"""The numbers by which this server knows its task, the label, the label's attribute and its function."""


@dataclass
class Cvat:
    """A server with one task of photos, one label, and what was done to the task."""

    port: int = 0
    photos: Mapping[str, bytes] = field(default_factory=dict)
    label: str = "object"
    attributes: Sequence[Mapping[str, Any]] = ()
    kind: str = "mask"
    prompts: list[dict[str, Any]] = field(default_factory=list)
    """Requests of people, which wait for an agent."""

    added: list[dict[str, Any]] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)
    function: dict[str, Any] = field(default_factory=dict)
    answered: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> list[str]:
        """Give the arguments that lead `cvat-cli` here."""
        return ["--server-host", "http://127.0.0.1", "--server-port", str(self.port)]

    def answer(self, method: str, path: str, asked: Mapping[str, str], body: Any) -> Any:
        """Answer one request; what this server does not know is an empty answer, and listed."""
        task, queue = f"/api/tasks/{TASK}", f"/api/functions/queues/function:{FUNCTION}/requests"
        answers: dict[str, Callable[[], Any]] = {
            "GET /api/server/about": self._about,
            "GET /api/labels": lambda: {
                "count": 1,
                "next": None,
                "previous": None,
                "results": [self._label()],
            },
            f"GET {task}": self._task,
            f"GET {task}/data/meta": self._meta,
            f"GET {task}/data": lambda: self._data(asked),
            f"PATCH {task}/annotations": lambda: _kept(self.added, body),
            f"PUT {task}/annotations": lambda: _kept(self.replaced, body),
            "POST /api/functions": lambda: self._register(body),
            f"GET /api/functions/{FUNCTION}": lambda: self.function,
            f"POST {queue}/acquire": lambda: self._assign(body["request_category"]),
        }
        asked_for = f"{method} {path.rstrip('/')}"
        if asked_for in answers:
            return answers[asked_for]()
        outcomes = {"complete": self.answered, "fail": self.failed}
        if path.startswith(queue) and (ending := path.rpartition("/")[2]) in outcomes:
            outcomes[ending].append(body)
        else:
            self.unknown.append(asked_for)
        return {}

    def _about(self) -> dict[str, str]:
        from cvat_sdk.version import VERSION

        words = dict.fromkeys(["name", "description", "logo_url", "subtitle"], "")
        return {**words, "version": VERSION}

    def _meta(self) -> dict[str, Any]:
        frames = [{"name": name, "related_files": 0, "width": 1, "height": 1} for name in self.photos]
        return {"chunks_updated_date": DATE, "frames": frames, "deleted_frames": []}

    def _data(self, asked: Mapping[str, str]) -> bytes:
        return self._chunk() if asked["type"] == "chunk" else [*self.photos.values()][int(asked["number"])]

    def _register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        wanted = {"min_neg_points": -1, "startswith_box": False, "startswith_box_optional": False}
        self.function = {"id": FUNCTION, **wanted, **body}
        return self.function

    def _assign(self, category: str) -> dict[str, Any]:
        return {"ar_assignment": self.prompts.pop(0) if self.prompts and category == "interactive" else None}

    def _task(self) -> dict[str, Any]:
        return {
            "id": TASK,
            "url": f"http://127.0.0.1:{self.port}/api/tasks/{TASK}",
            "name": "photos",
            "size": len(self.photos),
            "data_chunk_size": max(1, len(self.photos)),
            "data_original_chunk_type": "imageset",
            "organization": None,
            "updated_date": DATE,
            "jobs": {"completed": 0, "validation": 0, "count": 1, "url": ""},
            "labels": {"url": ""},
        }

    def _label(self) -> dict[str, Any]:
        attributes = [
            {"id": ATTRIBUTE, "mutable": False, "default_value": "", **each} for each in self.attributes
        ]
        return {
            "id": LABEL,
            "name": self.label,
            "type": self.kind,
            "attributes": attributes,
            "sublabels": [],
            "has_parent": False,
        }

    def _chunk(self) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for number, (name, content) in enumerate(self.photos.items()):
                archive.writestr(f"{number:06d}{Path(name).suffix}", content)
        return stream.getvalue()


def _kept(where: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    where.append(body)
    return body


DATE = "2026-01-02T03:04:05.000000Z"


@contextmanager
def cvat() -> Iterator[Cvat]:
    """Serve on a free port of this machine."""
    server = Cvat()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            address = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            answer = server.answer(
                self.command, unquote(address.path), asked, json.loads(sent) if sent else None
            )
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            kind = "application/octet-stream" if isinstance(answer, bytes) else "application/vnd.cvat+json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 - the names http.server looks for

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_port
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
