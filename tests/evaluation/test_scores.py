"""Scores in a file: known when a run is resumed, whatever ended the one before."""

import json
import re
from pathlib import Path

import pytest

from cratecli.errors import OutputError
from cratecli.evaluation.scores import PhotoScores, ScoreStore
from tests.support.processes import another

OTHER = """
from pathlib import Path
from cratecli.evaluation.scores import PhotoScores, ScoreStore

class Iou(PhotoScores):
    iou: float

store = ScoreStore(Iou, Path(sys.argv[1]), resume=True)

def attempt():
    try:
        return store.__enter__().path
    except Exception as error:
        return error
"""


class Iou(PhotoScores):
    """What these photos are scored by."""

    iou: float


def opened(path: Path | None, *, resume: bool = True) -> ScoreStore[Iou]:
    return ScoreStore(Iou, path, resume=resume)


def fill(path: Path, **scores: float) -> bytes:
    with opened(path, resume=False) as store:
        for key, value in scores.items():
            store.add(key, f"{key}.png", Iou(iou=value))
    return path.read_bytes()


def test_scores_are_known_again(tmp_path: Path) -> None:
    path = tmp_path / "new/scores.jsonl"
    content = fill(path, a=0.1, b=1 / 3)
    lines = [json.loads(line) for line in content.splitlines()]
    assert lines == [
        {"key": "a", "photo": "a.png", "scores": {"iou": 0.1}},
        {"key": "b", "photo": "b.png", "scores": {"iou": 1 / 3}},
    ]
    with opened(path) as store:
        assert len(store) == 2
        assert store.find("b") == Iou(iou=1 / 3)
        assert store.find("c") is None
        store.add("c", "c\udcff.png", Iou(iou=0.5))  # a name that is no Unicode
    assert path.read_bytes().startswith(content)
    with opened(path) as store:
        assert len(store) == 3


def test_without_resume_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    fill(path, a=0.1)
    with opened(path, resume=False) as store:
        assert not len(store)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "torn",
    [
        b'{"key": "c", "pho',
        b"\0\0\0\n",
        b'{"key": "c"}\n',
        b'{"key": "c", "photo": "c.png", "scores": {"mae": 0.5}}\n',
        b'{"key": "c", "photo": "c.png", "scores": {"iou": "high"}}\n',
        b"[" * 100_000 + b"\n",
        b"[1]\n",
        b'"x"',
    ],
)
def test_what_a_killed_process_left_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "scores.jsonl"
    content = fill(path, a=0.1, b=0.2)
    path.write_bytes(content + torn)
    with opened(path) as store:
        assert len(store) == 2
        assert path.read_bytes() == content
        store.add("c", "c.png", Iou(iou=0.5))
    with opened(path) as store:
        assert len(store) == 3


def test_a_whole_line_without_its_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    content = fill(path, a=0.1, b=0.2)
    path.write_bytes(content[:-1])
    with opened(path) as store:
        assert len(store) == 1


def test_memory_alone_needs_no_file() -> None:
    with opened(None) as store:
        store.add("a", "a.png", Iou(iou=0.5))
        assert store.find("a") == Iou(iou=0.5)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Who comes second touches nothing; when the first has left, or was killed, the file is free."""
    path = tmp_path / "scores.jsonl"
    content = fill(path, a=0.1)
    message = f"{path}: another crate is at work on it: wait for it, or name --scores"
    with another(OTHER, path) as other:
        assert other("attempt()") == str(path)
        with pytest.raises(OutputError, match=re.escape(message)), opened(path, resume=False):
            pass
        assert path.read_bytes() == content
        other("store.__exit__(None, None, None)")
        with opened(path) as store:
            assert len(store) == 1
            assert other("attempt()") == message
        assert other("attempt()") == str(path)
        other.kill()
        with opened(path) as store:
            assert len(store) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="scores cannot be written"), opened(tmp_path / "file/scores.jsonl"):
        pass
