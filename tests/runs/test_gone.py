"""Which photos of earlier runs are no longer there: only what is certain counts."""

import errno
import os
from pathlib import Path

import pytest

from cratecli.runs.gone import find_missing, is_missing, lies_below


def test_what_is_gone_and_what_may_be_away(tmp_path: Path) -> None:
    """Gone is what another known photo of its folder has outlived; an empty folder tells nothing."""
    for name in ("in/a.jpg", "new/other.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "in/link.jpg").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    (out := tmp_path / "out").mkdir()
    away = ["../off/d.jpg", "../empty/e.jpg", "../new/f.jpg", "../in/a.jpg/c.jpg"]
    there = ["../in/a.jpg", "../in/link.jpg", "-", "-/stdin-0002", "x" * 300]
    gone = ["../in/b.jpg", "../in/c.jpg"]
    names = {name: name for name in (*away, *there, *gone)}
    found = find_missing(names, out)
    assert (list(found.gone), list(found.away)) == (gone, away)
    found = find_missing(names, out, {"../in/c.jpg"}, [tmp_path / "in", tmp_path / "empty"])
    assert (list(found.gone), list(found.away)) == (["../in/b.jpg"], ["../empty/e.jpg", "../in/a.jpg/c.jpg"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_disk_that_is_away_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def away(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", away)
        assert not is_missing(str(tmp_path / "a.jpg"))
    assert is_missing(str(tmp_path / "a.jpg"))


def test_what_lies_below() -> None:
    for place, tops, below in (
        ("/in/a.jpg", ["/in"], True),
        ("/in/sub/a.jpg", ["/out", "/in"], True),
        ("/inner/a.jpg", ["/in"], False),
        ("/..a/b.jpg", ["/"], True),
        ("/in/a.jpg", ["/"], True),
        ("/in", ["/in"], True),
        ("/in/a.jpg", [], False),
    ):
        assert (place, lies_below(place, tops)) == (place, below)
