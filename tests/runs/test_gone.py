"""Which photos of earlier runs are no longer there: only what is certain counts."""

import errno
import os
from pathlib import Path

import pytest

from cratecli.runs.gone import is_gone, lies_below


def test_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").touch()
    (tmp_path / "in/link.jpg").symlink_to("nowhere")
    (out := tmp_path / "out").mkdir()
    names = (
        "../in/a.jpg",
        "../in/link.jpg",
        "../in/b.jpg",
        "../in/a.jpg/c.jpg",
        "../off/d.jpg",
        "-",
        "x" * 300,
    )
    assert [name for name in names if is_gone(out, name)] == [
        "../in/b.jpg",
        "../in/a.jpg/c.jpg",
        "../off/d.jpg",
    ]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_disk_that_is_away_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def away(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", away)
        assert not is_gone(tmp_path, "a.jpg")
    assert is_gone(tmp_path, "a.jpg")


def test_what_lies_below() -> None:
    for source, tops, below in (
        ("../in/a.jpg", ["../in"], True),
        ("../in/sub/a.jpg", ["../out", "../in"], True),
        ("../inner/a.jpg", ["../in"], False),
        ("../../in/a.jpg", [".."], False),
        ("../..a/b.jpg", [".."], True),
        ("a.jpg", ["."], True),
        ("../a.jpg", ["."], False),
        ("../in", ["../in"], True),
        ("../in/a.jpg", [], False),
    ):
        assert (source, lies_below(source, tops)) == (source, below)
