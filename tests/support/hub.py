"""A local server that answers as the Hub does: repositories of models, made, written to by commits, and read."""

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Answer = tuple[int, bytes | dict[str, Any], dict[str, str]]
"""Status, content and headers."""
LARGE = ".safetensors"


@dataclass
class Repository:
    """One repository: its files, its commits (the last is `main`), and whether it is private."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    private: bool = False

    @property
    def revisions(self) -> set[str]:
        """List what names a state of it."""
        return {"main", *self.commits}

    def commit(self, files: dict[str, bytes]) -> str:
        """Take files up, and give the commit's name."""
        self.files |= files
        listed = repr(sorted((name, hashlib.sha256(each).hexdigest()) for name, each in self.files.items()))
        self.commits.append(hashlib.sha1(f"{self.commits}{listed}".encode()).hexdigest())
        return self.commits[-1]


@dataclass
class FakeHub:
    """The Hub: repositories by name, what was uploaded to it, and what it was asked, with which tokens."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)  # what it says of a repository besides
    breaks_off: bool = False  # whether it takes no large file
    refuses: int = 0  # with this status, whatever is asked

    def answer(self, path: str, body: bytes) -> Answer:
        """Answer a request: status, content and headers."""
        if self.refuses:
            return self.refuses, {"error": "no"}, {}
        place = path.partition("?")[0]
        for pattern, answers in _ROUTES.items():
            if match := re.fullmatch(pattern, place):
                return answers(self, body, *match.groups())
        return 404, {"error": "not found"}, {}

    def _validate(self, _body: bytes) -> Answer:
        return 200, {"errors": [], "warnings": []}, {}

    def _create(self, body: bytes) -> Answer:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "it is there", "url": f"{self.address}/{name}"}, {}
        self.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.address}/{name}", "id": name}, {}

    def _preupload(self, body: bytes, _name: str) -> Answer:
        paths = [each["path"] for each in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
        files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        return 200, {"files": files}, {}

    def _batch(self, body: bytes) -> Answer:
        wanted = [
            each | {"actions": {"upload": {"href": f"{self.address}/upload/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        return 200, {"transfer": "basic", "objects": wanted}, {}

    def _upload(self, body: bytes, oid: str) -> Answer:
        if self.breaks_off:
            return 403, {"error": "no"}, {}  # others are tried again, for long
        self.uploaded[oid] = body
        return 200, b"", {}

    def _commit(self, body: bytes, name: str) -> Answer:
        lines = [json.loads(line) for line in body.splitlines()]
        plain = {e["value"]["path"]: b64decode(e["value"]["content"]) for e in lines if e["key"] == "file"}
        large = {e["value"]["path"]: self.uploaded[e["value"]["oid"]] for e in lines if e["key"] == "lfsFile"}
        commit = self.repositories[name].commit(plain | large)
        url = f"{self.address}/{name}/commit/{commit}"
        return 200, {"commitUrl": url, "commitOid": commit, "success": True}, {}

    def _about(self, _body: bytes, name: str, revision: str | None) -> Answer:
        repository = self.repositories.get(name)
        if repository is None or (revision or "main") not in repository.revisions:
            return 404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"}
        files = [
            {"rfilename": path, "size": len(content), "blobId": "0" * 40}
            | ({"lfs": _pointer(content)} if path.endswith(LARGE) else {})
            for path, content in repository.files.items()
        ]
        commit = repository.commits[-1] if repository.commits else None
        return 200, {"id": name, "sha": commit, "siblings": files, **self.about}, {}

    def _file(self, _body: bytes, name: str, revision: str, path: str) -> Answer:
        repository = self.repositories.get(name)
        if repository is None or revision not in repository.revisions or path not in repository.files:
            return 404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"}
        content = repository.files[path]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": repository.commits[-1],
        }
        return 200, content, headers


_NAME = "([^/]+/[^/]+)"
_ROUTES: dict[str, Callable[..., Answer]] = {
    "/api/validate-yaml": FakeHub._validate,
    "/api/repos/create": FakeHub._create,
    f"/api/models/{_NAME}/preupload/main": FakeHub._preupload,
    r".*\.git/info/lfs/objects/batch": FakeHub._batch,
    "/upload/(.+)": FakeHub._upload,
    f"/api/models/{_NAME}/commit/main": FakeHub._commit,
    f"/api/models/{_NAME}(?:/revision/(.+))?": FakeHub._about,
    f"/{_NAME}/resolve/([^/]+)/(.+)": FakeHub._file,
}


def _pointer(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}


@contextmanager
def serving_hub() -> Iterator[FakeHub]:
    """Serve a Hub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append(f"{self.command} {self.path}")
            if token := self.headers.get("Authorization"):
                hub.tokens.append(f"{token} for {self.path}")
            status, content, headers = hub.answer(self.path, body)
            if isinstance(content, dict):
                content, headers = (
                    json.dumps(content).encode(),
                    headers | {"Content-Type": "application/json"},
                )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - the names http.server looks for

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        hub = FakeHub(f"http://127.0.0.1:{http.server_port}")
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()
