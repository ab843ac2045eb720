"""Fetching: a local server plays the Hub, a plain address and Drive, well and badly; nobody else is asked."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import cratecli.errors
from cratecli.errors import UsageError, WeightsError
from cratecli.model.config import ARCHITECTURES
from cratecli.weights import fetch
from cratecli.weights.registry import BuiltIn, Checkpoint, Drive, Hub, Local, Source, Url

GOOD = b"\x80\x02weights" * 1000
WRONG = GOOD[:-1] + b"?"
PAGE = b"<!DOCTYPE html><title>Quota exceeded</title>"
SHA = hashlib.sha256(GOOD).hexdigest()
REVISION = "c0ffee" + "0" * 34
NOTHING = Checkpoint("m", "crate_tiny_patch16_224", ARCHITECTURES["crate_tiny_patch16_224"], None)
PULL = """
import sys
from pathlib import Path
from cratecli.errors import CrateError
from cratecli.weights import fetch, registry
told = []
try:
    row = registry.load_registry([Path(sys.argv[1])]).find("m")
    print(fetch.pull(row, lambda done, total: told.append((done, total))), told[-1:])
except CrateError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@dataclass
class Answer:
    """What the server says to a path, and how it says it."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None  # bytes, when the body is cut short of them


@dataclass
class Server:
    """A local server with its answers by path, and what it was asked."""

    address: str
    answers: dict[str, Answer]
    asked: list[tuple[str, str]]
    tokens: list[str]

    def serve_hub(self, body: bytes, etag: str = SHA) -> None:
        """Play the Hub for `owner/name` with one large file at one revision."""
        headers = {"X-Repo-Commit": REVISION, "ETag": f'"{etag}"'}
        self.answers[f"/owner/name/resolve/{REVISION}/torch/m.pth"] = Answer(body, headers=headers)
        self.answers["/owner/name/resolve/main/torch/m.pth"] = Answer(body, headers=headers)


@pytest.fixture
def server() -> Iterator[Server]:
    answers: dict[str, Answer] = {}
    asked: list[tuple[str, str]] = []
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.command, self.path))
            tokens.extend(filter(None, [self.headers.get("Authorization")]))
            answer = answers.get(self.path, Answer(b"", 404, {"X-Error-Code": "EntryNotFound"}))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(answer.announced or len(answer.body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield Server(f"http://127.0.0.1:{http.server_port}", answers, asked, tokens)
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRATE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


def checkpoint(source: Source | None, *, pinned: bool = True) -> Checkpoint:
    known = replace(NOTHING, source=source)
    return replace(known, bytes=len(GOOD), sha256=SHA) if pinned else known


def files(folder: Path) -> list[str]:
    """List what a folder holds, locks aside."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.suffix != ".lock")


# A plain address, and Drive


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_from_an_address_is_kept_verified_and_fetched_once(
    server: Server, cache: Path, pinned: bool
) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = checkpoint(Url(f"{server.address}/m.pth"), pinned=pinned)
    told: list[tuple[int, int | None]] = []
    assert fetch.locate(row) is None
    path = fetch.pull(row, lambda done, total: told.append((done, total)))
    assert path == cache / "models" / "m" / "weights"
    assert path.read_bytes() == GOOD
    assert told[-1] == (len(GOOD), len(GOOD))
    assert fetch.pull(row) == fetch.locate(row) == path
    assert fetch.require(row) == (path, SHA)
    assert len(server.asked) == 1


def test_drive_is_asked_for_the_file_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    address = fetch.DRIVE.format(id="abc-1")
    assert address == "https://drive.usercontent.google.com/download?id=abc-1&export=download&confirm=t"
    monkeypatch.setattr(fetch, "DRIVE", server.address + "/download?id={id}")
    server.answers["/download?id=abc-1"] = Answer(GOOD)
    assert fetch.pull(checkpoint(Drive("abc-1"))).read_bytes() == GOOD


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(PAGE, headers={"Content-Type": "text/html; charset=utf-8"}), "sent an HTML page"),
        (Answer(PAGE), "is an HTML page|has 44 bytes"),
        (Answer(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (Answer(b""), "is empty"),
        (Answer(b"", 404), "the server answered 404"),
        (Answer(b"", 503), "the server answered 503"),
        (Answer(GOOD[:999], announced=len(GOOD)), "peer closed|incomplete"),
        (Answer(b"", 302, {"Location": "/m.pth"}), "redirect"),
    ],
)
def test_what_is_not_the_file_is_refused_and_never_kept(
    server: Server, cache: Path, answer: Answer, reason: str, pinned: bool
) -> None:
    server.answers["/m.pth"] = answer
    with pytest.raises(
        WeightsError, match=f"cannot fetch m: .*(?i:{reason}).*crate models add FILE --as m"
    ) as caught:
        fetch.pull(checkpoint(Url(f"{server.address}/m.pth"), pinned=pinned))
    assert "\n" not in str(caught.value)
    assert files(cache) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [(WRONG, "has sha256"), (GOOD[:-1], f"has {len(GOOD) - 1} bytes"), (GOOD * 2, "sent more than")],
)
def test_other_bytes_than_the_registry_names_are_refused(
    server: Server, cache: Path, body: bytes, reason: str
) -> None:
    server.answers["/m.pth"] = Answer(body)
    with pytest.raises(WeightsError, match=reason):
        fetch.pull(checkpoint(Url(f"{server.address}/m.pth")))
    assert files(cache) == []


def test_a_closed_port_is_one_line(server: Server) -> None:
    with pytest.raises(WeightsError, match=r"cannot fetch m: .*refused"):
        fetch.pull(checkpoint(Url("http://127.0.0.1:1/m.pth")))


def test_offline_asks_nobody(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        fetch.pull(checkpoint(Url(f"{server.address}/m.pth")))
    assert server.asked == []


def test_a_damaged_copy_is_refused_and_pulled_again(server: Server) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = checkpoint(Url(f"{server.address}/m.pth"))
    path = fetch.pull(row)
    path.write_bytes(WRONG)
    with pytest.raises(
        WeightsError, match=f"{path} has sha256 .*, not {SHA}: refused as m; run: crate models pull m"
    ):
        fetch.require(row)
    assert fetch.pull(row).read_bytes() == GOOD


def test_an_unpinned_file_must_stay_what_it_was_when_first_seen(server: Server, cache: Path) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = checkpoint(Url(f"{server.address}/m.pth"), pinned=False)
    path = fetch.pull(row)
    path.write_bytes(WRONG)
    with pytest.raises(WeightsError, match=rf"not {SHA} as when first seen .*delete m from .*hashes\.json"):
        fetch.require(row)
    (cache / "hashes.json").unlink()
    assert fetch.require(row)[1] == hashlib.sha256(WRONG).hexdigest()
    (cache / "hashes.json").write_text("[")
    with pytest.raises(WeightsError, match=r"hashes\.json: not what we wrote; delete it"):
        fetch.require(row)


def test_a_cache_that_cannot_be_written_is_one_line(server: Server, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="set CRATE_CACHE_DIR"):
        fetch.pull(checkpoint(Url(f"{server.address}/m.pth")))


# No network: what is here, what is brought


def test_missing_says_how_to_get_it() -> None:
    with pytest.raises(WeightsError, match="m is not on this machine; run: crate models pull m"):
        fetch.require(checkpoint(Hub("owner/name", REVISION, "torch/m.pth")))
    with pytest.raises(WeightsError, match=r"no download source \(gone\); run: crate models add FILE --as m"):
        fetch.pull(replace(NOTHING, note="gone"))


def test_built_in_and_local_files_are_found_and_never_fetched(cache: Path) -> None:
    built_in = checkpoint(BuiltIn("crate-nano/none.safetensors"))
    with pytest.raises(WeightsError, match="install cratecli again"):
        fetch.pull(built_in)
    with pytest.raises(UsageError, match="built in"):
        fetch.install(Path(__file__), built_in)
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "mine.pth").write_bytes(GOOD)
    assert fetch.pull(checkpoint(Local("models/mine.pth"))) == cache / "models" / "mine.pth"


@pytest.mark.parametrize("source", [None, Drive("abc"), Hub("owner/name", REVISION, "torch/m.pth")])
def test_install_copies_a_right_file_and_keeps_no_wrong_one(
    tmp_path: Path, cache: Path, source: Source | None
) -> None:
    row = checkpoint(source)
    brought = tmp_path / "brought.pth"
    brought.write_bytes(WRONG)
    with pytest.raises(WeightsError, match=f"{brought} has sha256 .*refused as m"):
        fetch.install(brought, row)
    assert files(cache) == []
    brought.write_bytes(GOOD)
    path = fetch.install(brought, row)
    assert fetch.require(row) == (path, SHA)
    assert path.is_relative_to(cache)
    with pytest.raises(WeightsError, match="not a file"):
        fetch.install(tmp_path / "none.pth", row)


# The Hub: its client reads its settings when imported, so each pull is a process of its own


def start_pull(tmp_path: Path, server: Server, row: str, **environment: str) -> "subprocess.Popen[str]":
    registry = tmp_path / "weights.toml"
    registry.write_text(f'[models.m]\narchitecture = "crate_tiny_patch16_224"\n{row}')
    settings = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(cratecli.errors.__file__).parents[1]),
        "CRATE_CACHE_DIR": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": server.address,
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_secret",
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PULL, registry],
        env=settings | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def pull(tmp_path: Path, server: Server, row: str, **environment: str) -> tuple[int, str, str]:
    process = start_pull(tmp_path, server, row, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


PINNED = f'bytes = {len(GOOD)}\nsha256 = "{SHA}"\n'
ON_HUB = f'hub = {{ repository = "owner/name", revision = "{REVISION}", file = "torch/m.pth" }}\n'


def test_the_hub_file_stays_in_the_hub_cache_and_is_fetched_once(tmp_path: Path, server: Server) -> None:
    server.serve_hub(GOOD)
    code, out, err = pull(tmp_path, server, PINNED + ON_HUB)
    size = len(GOOD)
    snapshot = tmp_path / "hf/hub/models--owner--name/snapshots" / REVISION / "torch/m.pth"
    assert (code, out, err) == (0, f"{snapshot} [({size}, {size})]\n", "")
    assert snapshot.read_bytes() == GOOD
    asked = len(server.asked)
    assert pull(tmp_path, server, PINNED + ON_HUB) == (0, f"{snapshot} []\n", "")
    assert pull(tmp_path, server, PINNED + ON_HUB, HF_HUB_OFFLINE="1")[0] == 0
    assert len(server.asked) == asked
    assert server.tokens == []


def test_a_damaged_hub_cache_is_fetched_again(tmp_path: Path, server: Server) -> None:
    server.serve_hub(GOOD)
    pull(tmp_path, server, PINNED + ON_HUB)
    snapshot = tmp_path / "hf/hub/models--owner--name/snapshots" / REVISION / "torch/m.pth"
    snapshot.resolve().write_bytes(WRONG)
    assert pull(tmp_path, server, PINNED + ON_HUB)[0] == 0
    assert snapshot.read_bytes() == GOOD


@pytest.mark.parametrize("row", [PINNED + ON_HUB, ON_HUB, ON_HUB.replace(REVISION, "")])
def test_wrong_bytes_of_the_right_size_from_the_hub_are_refused(
    tmp_path: Path, server: Server, row: str
) -> None:
    """Pinned or not: the Hub's etag is the sha256 of a large file."""
    server.serve_hub(WRONG)
    code, out, err = pull(tmp_path, server, row.replace('revision = "", ', ""))
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert f"what the Hub sent has sha256 {hashlib.sha256(WRONG).hexdigest()}, not {SHA}" in err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "the server answered 404"),
        (Answer(b"", 401), "the server answered 401"),
        (Answer(b"", 403, {"X-Error-Code": "GatedRepo"}), "the server answered 403"),
        (Answer(PAGE, headers={"X-Repo-Commit": REVISION, "ETag": '"1"'}), "HTML page"),
        (Answer(PAGE), "X-Repo-Commit"),
    ],
)
def test_a_hub_that_has_it_not_is_one_line(
    tmp_path: Path, server: Server, answer: Answer | None, reason: str
) -> None:
    if answer is not None:
        server.answers[f"/owner/name/resolve/{REVISION}/torch/m.pth"] = answer
    code, out, err = pull(tmp_path, server, ON_HUB)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("cannot fetch m: ")
    assert reason in err
    assert err.endswith("crate models add FILE --as m\n")


def test_offline_without_a_copy_is_refused_at_once(tmp_path: Path, server: Server) -> None:
    code, _, err = pull(tmp_path, server, ON_HUB, HF_HUB_OFFLINE="1")
    assert (code, err.count("\n"), server.asked) == (4, 1, [])


def test_four_processes_fetch_once(tmp_path: Path, server: Server) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = f'url = "{server.address}/m.pth"\n'
    processes = [start_pull(tmp_path, server, row) for _ in range(4)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    assert server.asked == [("GET", "/m.pth")]
