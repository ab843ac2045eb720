"""Fetching from plain addresses and Drive: a local server plays them, well and badly; nobody else is asked."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cratecli.errors import WeightsError
from cratecli.weights import download, drive, fetch
from cratecli.weights.pull import pull
from cratecli.weights.registry import Checkpoint
from cratecli.weights.rows import Drive, Hub, Url
from tests.support.checkpoints import GOOD, NOTHING, SHA, WRONG, checkpoint, files
from tests.support.server import REVISION, Answer, Server

PAGE = b"<!DOCTYPE html><title>Please log in</title>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
UNFINISHED = "models/m/weights.unfinished"

pytestmark = pytest.mark.usefixtures("cache")


def at(server: Server, *paths: str, pinned: bool = True) -> Checkpoint:
    """Give a row whose file is behind addresses of the server."""
    return checkpoint(Url(tuple(server.address + path for path in paths or ["/m.pth"])), pinned=pinned)


def leave(cache: Path, body: bytes) -> Path:
    """Leave an unfinished file, as a pull that was killed does."""
    path = cache / UNFINISHED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_from_an_address_is_kept_verified_and_fetched_once(
    server: Server, cache: Path, pinned: bool
) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = at(server, pinned=pinned)
    told: list[tuple[int, int | None]] = []
    assert fetch.locate(row) is None
    path = pull(row, lambda done, total: told.append((done, total)))
    assert path == cache / "models" / "m" / "weights"
    assert path.read_bytes() == GOOD
    assert told[-1] == (len(GOOD), len(GOOD))
    assert pull(row) == fetch.locate(row) == path
    assert fetch.require(row) == (path, SHA)
    assert len(server.asked) == 1


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(PAGE, headers=HTML), "an HTML page came"),
        (Answer(PAGE, 404, HTML), "the server answered 404;"),
        (Answer(PAGE), "is an HTML page|has 43 bytes"),
        (Answer(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (Answer(b""), "is empty"),
        (Answer(b"", 401), r"the server answered 401 \(does it want a login\?\)"),
        (Answer(b"", 404), "the server answered 404;"),
        (Answer(b"", 503), "the server answered 503;"),
        (Answer(b"", announced=len(GOOD)), "peer closed|incomplete"),
        (Answer(b"", 302, {"Location": "/m.pth"}), "redirect"),
        (Answer(b"", 302, {"Location": "file:///etc/hostname"}), "unsupported protocol"),
        (Answer(b"", 302, {"Location": "http://[::1"}), "invalid"),
    ],
)
def test_what_is_not_the_file_is_refused_and_never_kept(
    server: Server, cache: Path, answer: Answer, reason: str, pinned: bool
) -> None:
    server.answers["/m.pth"] = answer
    known = r"cannot fetch m: 127\.0\.0\.1: .*"
    with pytest.raises(WeightsError, match=f"{known}(?i:{reason}).*crate models add FILE --as m") as caught:
        pull(at(server, pinned=pinned))
    assert "\n" not in str(caught.value)
    assert files(cache) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (WRONG, "what it sent has sha256"),
        (GOOD[:-1], f"has {len(GOOD) - 1} bytes"),
        (GOOD * 2, f"more than {len(GOOD)} bytes came"),
    ],
)
def test_other_bytes_than_the_registry_names_are_refused(
    server: Server, cache: Path, body: bytes, reason: str
) -> None:
    server.answers["/m.pth"] = Answer(body)
    with pytest.raises(WeightsError, match=reason):
        pull(at(server))
    assert files(cache) == []


def test_a_closed_port_is_one_line() -> None:
    with pytest.raises(WeightsError, match=r"cannot fetch m: 127\.0\.0\.1: .*refused"):
        pull(checkpoint(Url(("http://127.0.0.1:1/m.pth",))))


def test_a_server_that_stalls_is_left(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 1.0)
    server.answers["/m.pth"] = Answer(GOOD[:999], announced=len(GOOD), stalls=True)
    with pytest.raises(WeightsError, match="the server stalled"):
        pull(at(server))
    assert (cache / UNFINISHED).read_bytes() == GOOD[:999]
    monkeypatch.setattr(download, "_TIMEOUT", 0.1)
    with pytest.raises(WeightsError, match="the server stalled"):
        pull(at(server, pinned=False))
    assert files(cache) == []


def test_a_damaged_copy_is_refused_and_pulled_again(server: Server) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = at(server)
    path = pull(row)
    path.write_bytes(WRONG)
    with pytest.raises(
        WeightsError, match=f"{path} has sha256 .*, not {SHA}: refused as m; run: crate models pull m"
    ):
        fetch.require(row)
    assert pull(row).read_bytes() == GOOD


def test_a_cache_that_cannot_be_written_is_one_line(server: Server, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="set CRATE_CACHE_DIR"):
        pull(at(server))


def test_a_full_disk_is_one_line_and_is_no_fault_of_the_mirrors(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = leave(cache, b"")
    path.unlink()
    path.symlink_to("/dev/full")
    for name in ("/m.pth", "/mirror"):
        server.answers[name] = Answer(GOOD)
    with pytest.raises(WeightsError, match="cannot be written: No space left on device; free some space"):
        pull(at(server, "/m.pth", "/mirror"))
    assert server.asked == [("GET", "/m.pth")]
    assert files(cache) == []


# Broken off, and continued


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_off_download_is_continued_or_begun_again(server: Server, cache: Path, ranges: bool) -> None:
    server.answers["/m.pth"] = Answer(GOOD[:999], announced=len(GOOD))
    with pytest.raises(WeightsError, match=r"(?i)peer closed|incomplete"):
        pull(at(server))
    assert (cache / UNFINISHED).read_bytes() == GOOD[:999]
    server.answers["/m.pth"] = Answer(GOOD, ranges=ranges)
    told: list[tuple[int, int | None]] = []
    path = pull(at(server), lambda done, total: told.append((done, total)))
    assert path.read_bytes() == GOOD
    assert told[-1] == (len(GOOD), len(GOOD))
    assert server.ranges == ["bytes=999-"]
    assert files(cache) == ["models/m/weights"]


@pytest.mark.parametrize(
    ("left", "asked", "ranges"),
    [
        (GOOD, 0, []),  # killed before the file was put in its place
        (GOOD + b"more", 1, []),
        (WRONG[-99:], 2, ["bytes=99-"]),  # of another file: the whole is no good, and is fetched again
        (b"", 1, []),
    ],
)
def test_whatever_was_left_the_file_is_whole(
    server: Server, cache: Path, left: bytes, asked: int, ranges: list[str]
) -> None:
    leave(cache, left)
    server.answers["/m.pth"] = Answer(GOOD, ranges=True)
    assert pull(at(server)).read_bytes() == GOOD
    assert (len(server.asked), server.ranges) == (asked, ranges)
    assert files(cache) == ["models/m/weights"]


def test_more_than_a_file_of_unknown_size_is_begun_again(server: Server, cache: Path) -> None:
    leave(cache, GOOD + b"more")
    server.answers["/m.pth"] = Answer(GOOD, ranges=True)
    assert pull(replace(at(server), bytes=None)).read_bytes() == GOOD
    assert len(server.asked) == 2


def test_a_part_that_was_not_asked_for_is_not_taken(server: Server, cache: Path) -> None:
    leave(cache, GOOD[:999])
    server.answers["/m.pth"] = Answer(GOOD, 206, {"Content-Range": f"bytes 0-{len(GOOD) - 1}/{len(GOOD)}"})
    assert pull(at(server)).read_bytes() == GOOD


def test_a_server_that_is_down_costs_nothing_of_what_is_here(server: Server, cache: Path) -> None:
    leave(cache, GOOD[:999])
    for answer in (Answer(b"", 503), Answer(PAGE, headers=HTML), Answer(b"", 404)):
        server.answers["/m.pth"] = answer
        with pytest.raises(WeightsError):
            pull(at(server))
        assert (cache / UNFINISHED).read_bytes() == GOOD[:999]


def test_an_unpinned_file_is_never_pieced_together(server: Server, cache: Path) -> None:
    leave(cache, WRONG[:999])
    server.answers["/m.pth"] = Answer(GOOD, ranges=True)
    assert pull(at(server, pinned=False)).read_bytes() == GOOD
    assert server.ranges == []


def test_what_killed_processes_left_is_swept(server: Server, cache: Path) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    (cache / "models/m").mkdir(parents=True)
    (cache / "models/m/.crate-0123.part").write_bytes(GOOD)
    (cache / "models/other").mkdir(parents=True)
    (cache / "models/other/.crate-0123.part").write_bytes(GOOD)
    pull(at(server))
    assert files(cache) == ["models/m/weights", "models/other/.crate-0123.part"]
    leave(cache, GOOD)
    pull(at(server))
    assert files(cache) == ["models/m/weights", "models/other/.crate-0123.part"]


# Mirrors


def test_mirrors_are_asked_in_turn_and_continue_each_other(server: Server, cache: Path) -> None:
    server.answers["/cut"] = Answer(GOOD[:999], announced=len(GOOD), ranges=True)
    server.answers["/wrong"] = Answer(WRONG, ranges=True)
    server.answers["/good"] = Answer(GOOD, ranges=True)
    path = pull(at(server, "/none", "/cut", "/good", "/never"))
    assert path.read_bytes() == GOOD
    assert [path for _, path in server.asked] == ["/none", "/cut", "/good"]
    assert server.ranges == ["bytes=999-"]
    path.unlink()
    assert pull(at(server, "/wrong", "/good")).read_bytes() == GOOD


def test_when_all_mirrors_fail_each_reason_is_said(server: Server) -> None:
    server.answers["/page"] = Answer(PAGE, headers=HTML)
    server.answers["/wrong"] = Answer(WRONG)
    row = at(server, "/none", "/page", "/wrong")
    assert isinstance(row.source, Url)
    row = replace(row, source=Url((*row.source.addresses, "http://localhost:1/m.pth")))
    with pytest.raises(WeightsError) as caught:
        pull(row)
    here = "127.0.0.1"
    told = str(caught.value).split("; ")
    assert told[0] == f"cannot fetch m: {here}: the server answered 404"
    assert told[1] == f"{here}: an HTML page came (quota or login?), not weights"
    assert told[2] == f"{here}: what it sent has sha256 {hashlib.sha256(WRONG).hexdigest()}, not {SHA}"
    assert told[3].startswith("localhost: ")
    assert told[4] == "if you have the file, run: crate models add FILE --as m"


# Google Drive

CONFIRM = b"""<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p>Google Drive can't scan this file for viruses. <a href="/open?id=abc-1">m.pth</a> (274M) is too large.</p>
<form id="other"><input type="hidden" name="trap" value="1"></form>
<form id="download-form" action="https://elsewhere.example/download" method="get">
<input type="submit" id="uc-download-link" value="Download anyway"/>
<input type="hidden" name="id" value="abc-1"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t&amp;u"><input type="hidden" name="uuid" value="77-88"></form>"""
QUOTA = b"""<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p>Sorry, you can't view or download this file at this time.</p>
<p>Too many users have viewed or downloaded this file recently. Please try accessing it later.</p>"""
LOGIN = (
    b'<html><title>Google Drive: Sign-in</title><a href="https://accounts.example/ServiceLogin">Sign in</a>'
)
FIRST = "/download?id=abc-1&export=download&confirm=t"
CONFIRMED = "/download?id=abc-1&export=download&confirm=t%26u&uuid=77-88"


@pytest.fixture
def google(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    assert drive.ADDRESS == "https://drive.usercontent.google.com/download"
    monkeypatch.setattr(drive, "ADDRESS", server.address + "/download")
    return server


@pytest.mark.parametrize("pinned", [True, False])
def test_drive_is_asked_for_the_file_and_told_what_its_form_says(google: Server, pinned: bool) -> None:
    row = checkpoint(Drive("abc-1"), pinned=pinned)
    google.answers[FIRST] = Answer(GOOD)
    path = pull(row)
    assert path.read_bytes() == GOOD
    path.unlink()
    google.asked.clear()
    google.answers[FIRST] = Answer(CONFIRM, headers=HTML)
    google.answers[CONFIRMED] = Answer(GOOD)
    assert pull(row).read_bytes() == GOOD
    assert [path for _, path in google.asked] == [FIRST, CONFIRMED]


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (QUOTA, "its download quota for this file is used up: try again in a day"),
        (LOGIN, "it wants a login: the file is not shared with everyone"),
        (b"<title>Error 404 (Not Found)!!1</title>", "it has no such file"),
        (b"<title>Something new</title>", "an HTML page came|the server answered 403"),
    ],
)
def test_a_page_of_drive_is_known_for_what_it_is_and_never_kept(
    google: Server, cache: Path, page: bytes, reason: str, status: int, confirmed: bool
) -> None:
    if confirmed:
        google.answers[FIRST] = Answer(CONFIRM, headers=HTML)
    google.answers[CONFIRMED if confirmed else FIRST] = Answer(page, status, HTML)
    with pytest.raises(WeightsError, match=f"cannot fetch m: Google Drive: ({reason})") as caught:
        pull(checkpoint(Drive("abc-1")))
    assert "\n" not in str(caught.value)
    assert files(cache) == []


def test_drive_that_never_stops_asking_is_left(google: Server) -> None:
    google.answers[FIRST] = google.answers[CONFIRMED] = Answer(CONFIRM, headers=HTML)
    with pytest.raises(WeightsError, match=r"it asks to confirm a file .* again and again"):
        pull(checkpoint(Drive("abc-1")))
    assert len(google.asked) == 2


# Offline


@pytest.mark.parametrize("asked", [True, False])
def test_offline_answers_from_what_is_here_and_asks_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    server.answers["/m.pth"] = Answer(GOOD)
    row = at(server)
    path = pull(row)
    server.asked.clear()
    if not asked:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    why = "--offline" if asked else "HF_HUB_OFFLINE"
    assert pull(row, offline=asked) == path
    path.write_bytes(WRONG)
    remedy = f"{why} forbids to fetch it: pull it without, or if you have the file, run: crate models add"
    with pytest.raises(WeightsError, match=f"{path} has sha256 .*, not {SHA}, and {remedy}"):
        pull(row, offline=asked)
    path.unlink()
    for source in (row.source, Drive("abc-1"), Hub("owner/name", "torch/m.pth", REVISION)):
        with pytest.raises(WeightsError, match=f"^m is not on this machine, and {remedy}"):
            pull(replace(row, source=source), offline=asked)
    with pytest.raises(WeightsError, match="m is not on this machine; it has no download source"):
        pull(NOTHING, offline=asked)
    assert server.asked == []
