"""Finding, verifying and taking in files, with no network: what is here, what is brought."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cratecli.errors import UsageError, WeightsError
from cratecli.weights import fetch
from cratecli.weights.pull import pull
from cratecli.weights.rows import BuiltIn, Drive, Hub, Local, Source, Url
from tests.support.checkpoints import GOOD, NOTHING, SHA, WRONG, checkpoint, files
from tests.support.server import REVISION

pytestmark = pytest.mark.usefixtures("cache")


def test_missing_says_how_to_get_it() -> None:
    with pytest.raises(WeightsError, match="m is not on this machine; run: crate models pull m"):
        fetch.require(checkpoint(Hub("owner/name", "torch/m.pth", REVISION)))
    with pytest.raises(WeightsError, match=r"no download source \(gone\); run: crate models add FILE --as m"):
        pull(replace(NOTHING, note="gone"))


def test_built_in_and_local_files_are_found_and_never_fetched(cache: Path) -> None:
    built_in = checkpoint(BuiltIn("crate-nano/none.safetensors"))
    with pytest.raises(WeightsError, match="install cratecli again"):
        pull(built_in)
    with pytest.raises(UsageError, match="built in"):
        fetch.install(Path(__file__), built_in)
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "mine.pth").write_bytes(GOOD)
    assert pull(checkpoint(Local("models/mine.pth"))) == cache / "models" / "mine.pth"


@pytest.mark.parametrize("source", [None, Drive("abc"), Hub("owner/name", "torch/m.pth", REVISION)])
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


def test_install_writes_nowhere_but_in_the_cache(tmp_path: Path, cache: Path) -> None:
    brought, mine = tmp_path / "brought.pth", tmp_path / "mine.txt"
    brought.write_bytes(GOOD)
    mine.write_text("precious")
    for path in (str(mine), "../mine.txt", "models/../../mine.txt"):
        with pytest.raises(UsageError, match=r"m is registered as .*mine\.txt: put the file there yourself"):
            fetch.install(brought, checkpoint(Local(path)))
    assert mine.read_text() == "precious"


def test_a_file_that_is_brought_needs_no_unfinished_one(tmp_path: Path, cache: Path) -> None:
    row = checkpoint(Url(("http://127.0.0.1:1/m",)))
    brought = tmp_path / "brought.pth"
    brought.write_bytes(GOOD)
    fetch.unfinished(row).parent.mkdir(parents=True)
    fetch.unfinished(row).write_bytes(GOOD[:99])
    fetch.install(brought, row)
    assert files(cache) == ["models/m/weights"]


def test_a_full_disk_keeps_what_was_there(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    row = checkpoint(None)
    brought = tmp_path / "brought.pth"
    brought.write_bytes(GOOD)
    path = fetch.install(brought, row)
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(
        WeightsError, match=f"{brought}: cannot be copied to {path}: No space left on device; free"
    ):
        fetch.install(brought, row)
    assert fetch.require(row) == (path, SHA)
    assert files(cache) == ["models/m/weights"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "is an HTML page, not weights"),
        (b"\n <html>", "is an HTML page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"", "is empty"),
    ],
)
def test_what_only_pretends_to_be_weights_is_named(tmp_path: Path, body: bytes, fault: str) -> None:
    file = tmp_path / "m.pth"
    file.write_bytes(body)
    with pytest.raises(WeightsError, match=f"{file} {fault}.*: refused as m"):
        fetch.install(file, checkpoint(None, pinned=False))


def test_an_unpinned_file_must_stay_what_it_was_when_first_seen(tmp_path: Path, cache: Path) -> None:
    row = checkpoint(Url(("http://127.0.0.1:1/m.pth",)), pinned=False)
    brought = tmp_path / "brought.pth"
    brought.write_bytes(GOOD)
    path = fetch.install(brought, row)
    assert json.loads((cache / "hashes.json").read_text()) == {"m": SHA}
    path.write_bytes(WRONG)
    with pytest.raises(WeightsError, match=rf"not {SHA} as when first seen .*delete m from .*hashes\.json"):
        fetch.require(row)
    (cache / "hashes.json").unlink()
    assert fetch.require(row)[1] == hashlib.sha256(WRONG).hexdigest()
    (cache / "hashes.json").write_text("[")
    with pytest.raises(WeightsError, match=r"hashes\.json: not our record of hashes; delete it"):
        fetch.require(row)


def test_a_home_that_nobody_has_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRATE_CACHE_DIR", "~nobody-has-this-name/cache")
    assert fetch.cache_folder() == Path("~nobody-has-this-name/cache")
