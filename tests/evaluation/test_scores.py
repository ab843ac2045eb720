"""Scores that are kept: believed when a run is taken up, whatever ended it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cratecli.errors import OutputError
from cratecli.evaluation.scores import Scores


def fill(path: Path, **found: float) -> bytes:
    with Scores(path) as scores:
        for key, value in found.items():
            scores.add(key, f"{key}.png", {"iou": value})
    return path.read_bytes()


def test_what_was_kept_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "new/scores.jsonl"
    content = fill(path, a=0.1, b=1 / 3)
    assert [json.loads(line)["photo"] for line in content.splitlines()] == ["a.png", "b.png"]
    with Scores(path, resume=True) as scores:
        assert len(scores) == 2
        assert scores.find("b") == {"iou": 1 / 3}
        assert scores.find("c") is None
        scores.add("c", "c.png", {"iou": 0.5})
    assert path.read_bytes().startswith(content)
    with Scores(path, resume=True) as scores:
        assert len(scores) == 3


def test_without_resume_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    fill(path, a=0.1)
    with Scores(path) as scores:
        assert not scores
    assert path.read_bytes() == b""


@pytest.mark.parametrize("torn", [b'{"key": "c", "pho', b"\0\0\0\n", b'{"key": "c"}\n', b"[1]\n", b'"x"'])
def test_what_a_killed_process_left_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "scores.jsonl"
    content = fill(path, a=0.1, b=0.2)
    path.write_bytes(content + torn)
    with Scores(path, resume=True) as scores:
        assert len(scores) == 2
        assert path.read_bytes() == content
        scores.add("c", "c.png", {"iou": 0.5})
    with Scores(path, resume=True) as scores:
        assert len(scores) == 3


def test_a_whole_row_without_its_end_is_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    content = fill(path, a=0.1, b=0.2)
    path.write_bytes(content[:-1])
    with Scores(path, resume=True) as scores:
        assert len(scores) == 1


def test_memory_alone_needs_no_file() -> None:
    with Scores() as scores:
        scores.add("a", "a.png", {})
        assert scores.find("a") == {}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    code = (
        "import sys; from pathlib import Path; from cratecli.evaluation.scores import Scores\n"
        "with Scores(Path(sys.argv[1])): pass"
    )
    with Scores(path):
        other = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
        )
        assert other.returncode != 0
        assert "another crate is at work on it" in other.stderr
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="scores cannot be kept"), Scores(tmp_path / "file/scores.jsonl"):
        pass
