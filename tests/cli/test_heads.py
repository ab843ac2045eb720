"""`crate heads` as its user meets it: one sheet for all photos, or records, and one line for what goes wrong."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.cli import outputs
from cratecli.io.sheet import CELL, GAP, MARK, TEXT
from cratecli.tasks import heads as task
from tests.cli.conftest import TO_STDOUT, Here, Machine, failed, picture

QUICK = ("--size", "32")
LINE = TEXT + 5


def extent(rows: int, heads: int = 6) -> tuple[int, int]:
    """Give a sheet's width and height in px."""
    return (heads + 1) * (CELL.width + GAP) + GAP, GAP + LINE + rows * (CELL.height + GAP + 2 * LINE)


def test_a_sheet_to_a_pipe(shared: Machine) -> None:
    done = shared.crate("heads", shared.photo("photo.jpg", (64, 48)), "--layer", "-2,-1", *QUICK)
    assert done.code == 0
    sheet = picture(done.out)
    assert (sheet.format, sheet.mode, sheet.size) == ("PNG", "RGB", extent(2))
    assert done.err.startswith("crate: crate-nano, layers 6,7, sizes 32, onnx cpu float32")
    assert done.err.splitlines(keepends=True)[1:] == [TO_STDOUT]
    assert shared.files() == ["photo.jpg"]


def test_a_sheet_to_a_file_and_into_a_folder(machine: Machine, here: Here) -> None:
    photo = machine.photo("in/photo.jpg")
    done = here("heads", photo, "-o", "new/sheet.png", *QUICK)
    assert (done.code, done.out) == (0, b"new/sheet.png\n")
    assert here("heads", "in", "-o", "new/", "-q", *QUICK).out == b"new/in-heads.png\n"
    assert here("heads", photo, "-o", "new", "-q", *QUICK).out == b"new/photo.heads.png\n"
    assert [name for name in machine.files() if not name.startswith("in/")] == [
        "new/in-heads.png",
        "new/photo.heads.png",
        "new/sheet.png",
    ]


def test_a_row_is_a_photo_and_layer_and_a_column_is_a_head(machine: Machine, here: Here) -> None:
    """Together, two photos have the tiles that each has alone, one under the other."""
    machine.photo("in/a.png", (80, 60), seed=1)
    machine.photo("in/b.png", (80, 60), seed=2)
    done = here("heads", "in", "-q", "--layer", "5,-1", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert picture(done.out).size == extent(4)
    together = np.asarray(picture(done.out))
    for number, name in enumerate(("in/a.png", "in/b.png")):
        alone = np.asarray(picture(here("heads", name, "-q", "--layer", "5,-1", *QUICK).out))
        pitch = CELL.height + GAP + 2 * LINE
        for row in range(2):
            top = GAP + 2 * LINE + row * pitch
            other = top + number * 2 * pitch
            height = CELL.height + LINE
            np.testing.assert_allclose(
                together[other : other + height].astype(int), alone[top : top + height], atol=8
            )


def test_the_heads_that_segment_would_trust_are_framed(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png", (80, 60))
    sheet = np.asarray(picture(here("heads", photo, "-q", "--layer", "6", *QUICK).out))
    segmented = here("segment", photo, "--jsonl", "-q", "--layer", "6", "--heads", "agree", *QUICK)
    framed = []
    for head in range(6):
        left = GAP + (head + 1) * (CELL.width + GAP)
        framed += [head] * bool((sheet[GAP + 2 * LINE + 9, left - 1] == MARK).all())
    assert framed == json.loads(segmented.out)["heads"]
    assert framed


FIELDS = {"input", "layers", "sizes", "head_scores", "head_shares", "weights", "weights_sha256"}


def test_records_are_segments_scores_and_draw_no_sheet(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png", seed=1)
    machine.photo("in/b.png", (36, 48), seed=2)
    before = machine.files()
    done = here("heads", "in", "--jsonl", "-q", "--size", "32,48")
    assert (done.code, done.err) == (0, "")
    assert machine.files() == before
    records = [json.loads(line) for line in done.lines]
    segmented = here("segment", "in", "--jsonl", "-q", "--size", "32,48", "--refine", "none")
    for record, line in zip(records, segmented.lines, strict=True):
        other = json.loads(line)
        assert set(record) >= FIELDS
        assert all(record[name] == other[name] for name in FIELDS - {"head_shares"})
        assert np.shape(record["head_shares"]) == (4, 6)
        assert np.sum(record["head_shares"]) == pytest.approx(1, abs=24 * 5e-5)
    assert [record["input"] for record in records] == ["in/a.png", "in/b.png"]
    assert json.loads(here("heads", "in", "--json", "-q", "--size", "32,48").out) == records


def test_records_and_a_sheet(machine: Machine, here: Here) -> None:
    done = here("heads", machine.photo("photo.png"), "--json", "-o", "sheet.png", "--layer", "0", *QUICK)
    (record,) = json.loads(done.out)
    assert record["layers"] == [0]
    assert picture((machine.desk / "sheet.png").read_bytes()).size == extent(1)


def test_all_layers(machine: Machine, here: Here) -> None:
    done = here("heads", machine.photo("photo.png"), "--layer", "all", "--jsonl", "-q", *QUICK)
    assert json.loads(done.out)["layers"] == list(range(8))


def test_standard_input(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    content = machine.photo("photo.png").read_bytes()
    assert picture(here("heads", "-", "-q", *QUICK, stdin=content).out).size == extent(4)
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    assert here("heads", "-", "-q", *QUICK, stdin=content).out == b"stdin.heads.png\n"


def test_no_sheet_goes_to_a_terminal(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    photo = machine.photo("in/photo.png")
    failed(here("heads", photo, "-o", "-", *QUICK), 2, "no picture goes to a terminal")
    assert here("heads", photo, "-q", *QUICK).out == b"photo.heads.png\n"
    assert here("heads", "in", "-q", *QUICK).out == b"in-heads.png\n"
    assert here("heads", photo, "in", "-q", *QUICK).out == b"heads.png\n"


def test_a_bad_photo_among_good_ones(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png")
    machine.photo("in/c.png")
    (machine.desk / "in/b.png").write_bytes(b"no photo")
    done = here("heads", "in", "-o", "sheet.png", "-q", "--layer", "7", *QUICK)
    assert (done.code, done.out) == (1, b"sheet.png\n")
    assert done.err.splitlines() == [
        "crate: in/b.png: not an image of a known format",
        "crate: 1 of 3 photos failed",
    ]
    assert picture((machine.desk / "sheet.png").read_bytes()).size == extent(2)


def test_a_bad_photo_is_not_said_to_be_in_the_records(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png")
    (machine.desk / "in/b.png").write_bytes(b"no photo")
    done = here("heads", "in", "-o", "sheet.png", *QUICK)
    assert "--json has them all" not in done.err


def test_nothing_but_bad_photos_makes_no_sheet(machine: Machine, here: Here) -> None:
    (machine.desk / "b.png").write_bytes(b"no photo")
    failed(here("heads", "b.png", "-o", "sheet.png", "-q", *QUICK), 1, "b.png: not an image")
    assert machine.files() == ["b.png"]


def test_photos_without_room_on_a_sheet_stand_on_the_next(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sheet of a hundred photos would be higher than programs read: 65,535 px."""
    monkeypatch.setattr(task, "ROWS", 4)
    for number in range(5):
        machine.photo(f"in/{number}.png", seed=number)
    (machine.desk / "in/1.png").write_bytes(b"no photo")
    command = ("heads", "in", "-o", "sheet.png", "--layer", "6,7", "-q", *QUICK)
    done = here(*command)
    assert (done.code, done.lines) == (1, ["sheet.png", "sheet-2.png", "sheet-3.png"])
    sheets = [(machine.desk / name).read_bytes() for name in done.lines]
    assert [picture(each).size for each in sheets] == [extent(2), extent(4), extent(2)]
    alone = here("heads", "in/4.png", "-o", "-", "--layer", "6,7", "-q", *QUICK)
    np.testing.assert_array_equal(np.asarray(picture(sheets[2])), np.asarray(picture(alone.out)))
    explained = here("explain", "sheet-3.png", "-q").out.decode().split()
    assert explained[explained.index("--output") + 1] == "sheet.png"
    (machine.desk / "sheet-3.png").unlink()
    assert here(*explained[1:]).code == 1
    assert [(machine.desk / name).read_bytes() for name in done.lines] == sheets


def test_stdout_takes_one_sheet_and_says_so(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "ROWS", 4)
    for number in range(4):
        machine.photo(f"in/{number}.png")
    done = here("heads", "in", "-o", "-", "--layer", "6,7", *QUICK)
    assert picture(done.out).size == extent(4)
    note = "the sheet shows 2 of 4 photos; -o FILE writes several sheets, --json has them all"
    assert done.err.splitlines()[1:] == [f"crate: {note}"]
    assert len(here("heads", "in", "--jsonl", "-q", "--layer", "6,7", *QUICK).lines) == 4
    whole = here("heads", "in", "-o", "-", "--layer", "7", *QUICK)
    assert whole.err.count("\n") == 1


def test_a_sheet_that_is_an_input_is_refused(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "ROWS", 1)
    machine.photo("in/photo.png")
    before = machine.photo("in/sheet-2.png").read_bytes()
    done = here("heads", "in", "-o", "in/sheet.png", "--layer", "7", *QUICK)
    assert (done.code, "in/sheet-2.png is an input: choose another output" in done.err) == (2, True)
    assert (machine.desk / "in/sheet-2.png").read_bytes() == before


def test_a_sheet_is_the_same_again(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    assert here("heads", photo, "-q", *QUICK).out == here("heads", photo, "-q", *QUICK).out


@pytest.mark.parametrize("name", ["\udcff.png", "a\nb\x1b[31m.png", "猫 🐈.png", "w" * 240 + ".png"])
def test_odd_names_are_labels_too(machine: Machine, here: Here, name: str) -> None:
    content = machine.photo("photo.png").read_bytes()
    (machine.desk / name).write_bytes(content)
    done = here("heads", name, "-q", "--layer", "7", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert picture(done.out).size == extent(1)


def test_records_at_a_terminal_come_without_a_file(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    done = here("heads", machine.photo("photo.png"), "--jsonl", "-q", *QUICK)
    assert json.loads(done.out)["input"].endswith("photo.png")
    assert machine.files() == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["gone.jpg"], 1, "gone.jpg: no such file"),
        (["-"], 1, "standard input: empty"),
        (["photo.png", "-o", "notes.txt/sheet.png"], 1, "notes.txt/sheet.png: cannot be written: "),
        ([], 2, "missing argument 'PHOTO...'"),
        (["photo.png", "-o", "sheet.jpg"], 2, "sheet.jpg: PNG is written: let the name end with .png"),
        (["photo.png", "-o", "photo.png"], 2, "photo.png is an input: choose another output"),
        (["in", "-o", "in/photo.png"], 2, "in/photo.png is an input"),
        (["photo.png", "-o", ""], 2, "a path is empty"),
        (["photo.png", "--json", "--jsonl"], 2, "--json and --jsonl exclude each other"),
        (["photo.png", "--json", "-o", "-"], 2, "stdout takes the picture or the records, not both"),
        (["photo.png", "--layer", "8"], 2, "layer 8 of a model with 8 layers, 0 to 7"),
        (["photo.png", "--layer", "every"], 2, "--layer 'every' is not all or whole numbers"),
        (["photo.png", "--size", "32,x"], 2, "--size '32,x' is not whole numbers"),
        (["photo.png", "--size", "0"], 2, "--size is 0, not greater than or equal to 1"),
        (["photo.png", "--heads", "1"], 2, "no such option: --heads"),
        (["photo.png", "--features-cache", "notes.txt"], 2, "notes.txt"),
        (["-", "-"], 2, "standard input can be read only once"),
        (["empty"], 3, "no photo in empty"),
        (["photo.png", "-m", "notes.txt"], 4, "notes.txt"),
    ],
)
def test_what_goes_wrong_is_one_line(
    machine: Machine, here: Here, arguments: Sequence[str], code: int, reason: str
) -> None:
    machine.photo("in/photo.png")
    Image.new("RGB", (9, 9)).save(machine.desk / "photo.png")
    (machine.desk / "notes.txt").write_text("not a photo, not a checkpoint")
    Path(machine.desk / "empty").mkdir()
    before = {name: (machine.desk / name).read_bytes() for name in machine.files()}
    failed(here("heads", "-q", *arguments), code, reason)
    assert {name: (machine.desk / name).read_bytes() for name in machine.files()} == before
