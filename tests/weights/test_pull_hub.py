"""Fetching from the Hub, by its own client: a local server stands in for it; what is killed is a process."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

import cratecli.errors
from cratecli.errors import WeightsError
from cratecli.weights.download import from_hub
from cratecli.weights.pull import pull
from cratecli.weights.rows import Hub
from tests.support.checkpoints import GOOD, SHA, WRONG, checkpoint
from tests.support.server import REVISION, Answer, Server
from tests.support.waiting import until

PAGE = b"<!DOCTYPE html><title>Please log in</title>"
PULL = """
import sys
from pathlib import Path
from cratecli.errors import CrateError
from cratecli.weights import registry
from cratecli.weights.pull import pull
told = []
try:
    row = registry.load_registry([Path(sys.argv[1])]).find("m")
    print(pull(row, lambda done, total: told.append((done, total))), told[-1:])
except CrateError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


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


PINNED = f'bytes = {len(GOOD)}\nsha256 = "{SHA}"\n'
ON_HUB = f'hub = {{ repository = "owner/name", revision = "{REVISION}", file = "torch/m.pth" }}\n'
HUB = Hub("owner/name", "torch/m.pth", REVISION)


@pytest.fixture
def hub(server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Let the server stand in for the Hub, its client's cache in `hf/hub`, and give the user a token."""
    server.stand_in_for_hub(tmp_path / "hf/hub", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return server


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Give the path of the file in the client's cache."""
    return tmp_path / "hf/hub/models--owner--name/snapshots" / REVISION / "torch/m.pth"


def test_the_hub_file_stays_in_the_hub_cache_and_is_fetched_once(
    hub: Server, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.serve_hub(GOOD, SHA)
    progress: list[tuple[int, int | None]] = []
    assert pull(checkpoint(HUB), lambda done, total: progress.append((done, total))) == snapshot
    assert progress[-1] == (len(GOOD), len(GOOD))
    assert snapshot.read_bytes() == GOOD
    asked = len(hub.asked)
    assert pull(checkpoint(HUB)) == snapshot
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert pull(checkpoint(HUB)) == snapshot
    assert len(hub.asked) == asked
    assert hub.tokens == []


def test_a_large_file_comes_from_where_the_hub_points_to(hub: Server) -> None:
    elsewhere = hub.address.replace("127.0.0.1", "localhost")
    linked = {
        "X-Linked-ETag": f'"{SHA}"',
        "X-Linked-Size": str(len(GOOD)),
        "Location": f"{elsewhere}/cdn",
    }
    hub.serve_hub(Answer(b"", 302, linked), "of-the-pointer")
    hub.answers["/cdn"] = Answer(GOOD)
    assert pull(checkpoint(HUB)).resolve().name == SHA
    assert ("GET", "/cdn") in hub.asked
    assert hub.tokens == []


def test_a_damaged_hub_cache_is_fetched_again(hub: Server, snapshot: Path) -> None:
    hub.serve_hub(GOOD, SHA)
    pull(checkpoint(HUB))
    snapshot.resolve().write_bytes(WRONG)
    hub.answers.clear()
    with pytest.raises(WeightsError, match=r"^cannot fetch m: the server answered 404; if you have the file"):
        pull(checkpoint(HUB))
    hub.serve_hub(GOOD, SHA)
    assert pull(checkpoint(HUB)) == snapshot
    assert snapshot.read_bytes() == GOOD


@pytest.mark.parametrize("revision", [REVISION, None])
@pytest.mark.parametrize("pinned", [True, False])
def test_wrong_bytes_of_the_right_size_from_the_hub_are_refused(
    hub: Server, revision: str | None, pinned: bool
) -> None:
    """Pinned or not: the Hub's etag is the sha256 of a large file."""
    hub.serve_hub(WRONG, SHA)
    wrong = f"what the Hub sent has sha256 {hashlib.sha256(WRONG).hexdigest()}, not {SHA}"
    with pytest.raises(WeightsError, match=wrong):
        pull(checkpoint(replace(HUB, revision=revision), pinned=pinned))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "the server answered 404"),
        (Answer(b"", 401), r"the server answered 401 \(does it want a login\?\)"),
        (
            Answer(b"", 403, {"X-Error-Code": "GatedRepo"}),
            "the server answered 403: accept its terms on its page",
        ),
        (
            Answer(PAGE, headers={"X-Repo-Commit": REVISION, "ETag": '"1"'}),
            "what the Hub sent is an HTML page",
        ),
        (Answer(PAGE), ".*X-Repo-Commit"),
    ],
)
def test_a_hub_that_has_it_not_is_one_line(hub: Server, answer: Answer | None, reason: str) -> None:
    if answer is not None:
        hub.answers[f"/owner/name/resolve/{REVISION}/torch/m.pth"] = answer
    with pytest.raises(
        WeightsError, match=f"^cannot fetch m: {reason}[^\n]*; .*crate models add FILE --as m$"
    ):
        pull(checkpoint(HUB, pinned=False))


def test_four_processes_fetch_once(tmp_path: Path, server: Server) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = f'url = "{server.address}/m.pth"\n'
    processes = [start_pull(tmp_path, server, row) for _ in range(4)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    assert server.asked == [("GET", "/m.pth")]


@pytest.mark.slow
def test_a_stalled_hub_is_left(tmp_path: Path, server: Server) -> None:
    """The client itself tries six times, a second apart; here the first byte of each never comes."""
    server.serve_hub(Answer(b"", announced=len(GOOD), stalls=True), SHA)
    process = start_pull(tmp_path, server, PINNED + ON_HUB, HF_HUB_DOWNLOAD_TIMEOUT="1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("cannot fetch m: the server stalled; if you have the file")


def test_a_pull_from_the_hub_that_was_killed_leaves_nothing_behind(tmp_path: Path, hub: Server) -> None:
    hub.serve_hub(Answer(GOOD[:999], announced=len(GOOD), stalls=True), SHA)
    process = start_pull(tmp_path, hub, PINNED + ON_HUB)
    blobs = tmp_path / "hf/hub/models--owner--name/blobs"
    until(lambda: bool(list(blobs.glob("*.incomplete"))))
    process.kill()
    process.communicate()
    (killed,) = blobs.glob("*.incomplete")
    alive = blobs / "other-etag.01234567.incomplete"  # of another process, which holds the lock of its etag
    alive.touch()
    hub.serve_hub(GOOD, SHA)
    lock = tmp_path / "hf/hub/.locks/models--owner--name/other-etag.lock"
    with FileLock(lock):
        pull(checkpoint(HUB))
    assert not killed.exists()
    assert alive.exists()
    pull(checkpoint(HUB))
    assert [path.name for path in blobs.iterdir()] == [SHA]


@pytest.mark.parametrize(
    ("endpoint", "token"),
    [
        ("https://huggingface.co", None),  # None is the client's word for the user's own token
        ("https://hf-mirror.example", False),
        ("http://huggingface.co", False),
        ("https://huggingface.co.example", False),
    ],
)
def test_the_token_goes_to_the_hub_alone(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, token: bool | None
) -> None:
    given: list[object] = []

    def fetched(*_: object, **options: object) -> str:
        given.append(options["token"])
        return "file"

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    from_hub("owner/name", REVISION, "m.pth", lambda _done, _total: None, again=False)
    assert given == [token]


def test_what_xet_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("Data processing error: CAS service error\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    row = checkpoint(Hub("owner/name", "m.pth", REVISION))
    with pytest.raises(
        WeightsError, match=r"^cannot fetch m: Data processing error: CAS service error; if you"
    ):
        pull(row)
