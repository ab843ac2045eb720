"""What was taught: rows are read as they were written, and only whole chunks of them count."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cratecli.errors import InputError
from cratecli.geometry import Grid
from cratecli.training.certainty import Taught
from cratecli.training.taught import CHUNK, MaskRle, TaughtFile, TaughtPhoto, digest

MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:5] = True
ROWS = [
    TaughtPhoto.of(f"{number}\udcff.png", "f" * 64, Taught(MASK, 0.5, 0.9, 0.7), Grid(2, 3), pooled=True)
    for number in range(CHUNK)
]


def file(folder: Path) -> TaughtFile:
    made = TaughtFile(folder)
    made.start()
    return made


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = file(tmp_path)
    assert made.read(CHUNK) == []
    made.append(ROWS)
    assert made.read(2 * CHUNK) == ROWS
    taught = made.read(2 * CHUNK)[3].taught(MASK)
    assert np.array_equal(ROWS[3].mask(), MASK)
    assert (taught.confidence, taught.consensus, taught.kept) == (0.5, 0.9, 0.7)


def test_what_is_behind_the_last_whole_chunk_is_cut_off(tmp_path: Path) -> None:
    made = file(tmp_path)
    made.append(ROWS)
    whole = made.path.read_bytes()
    made.append(ROWS[:3])
    with made.path.open("ab") as stream:
        stream.write(b'{"photo": "torn')
    assert made.read(3 * CHUNK) == ROWS
    assert made.path.read_bytes() == whole


def test_the_last_chunk_is_as_short_as_the_photos_are(tmp_path: Path) -> None:
    made = file(tmp_path)
    made.append(ROWS[:5])
    assert made.read(5) == ROWS[:5]
    assert made.read(6) == []


def test_anything_else_is_refused(tmp_path: Path) -> None:
    wrong = (
        *(
            b"\xff",
            b"[]",
            b'{"photo": 1}',
            b'{"photo": "a", "colour": 2}',
            b'{"photo": "a", "confidence": "x"}',
        ),
        *(b'{"photo": "a", "grid": [1, 2, 3]}', b'{"photo": "a", "grid": 5}', b'{"photo": "a", "rle": 5}'),
    )
    for content in wrong:
        (tmp_path / "taught.jsonl").write_bytes(content + b"\n")
        with pytest.raises(InputError, match="is not what a teacher said"):
            TaughtFile(tmp_path).read(1)
    with pytest.raises(InputError, match="No such file"):
        TaughtFile(tmp_path / "none").read(1)


def test_the_digest_is_of_what_was_taught_not_of_where_photos_lie() -> None:
    assert digest(ROWS) == digest([replace(row, photo="elsewhere") for row in ROWS])
    assert digest(ROWS) != digest(ROWS[1:])


@pytest.mark.parametrize("rle", [None, {"size": [4, 6], "counts": "!!"}, {"size": [4], "counts": ""}])
def test_a_broken_mask_is_named(rle: MaskRle | None) -> None:
    with pytest.raises(InputError, match="the mask of a is broken"):
        TaughtPhoto("a", rle=rle).mask()
