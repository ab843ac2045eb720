"""`crate layers` as its user meets it: curves over pictures in one sheet, or records."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import cratecli
from cratecli.cli import outputs
from cratecli.emergence.coding import coding_rate, zero_fraction
from cratecli.errors import InputError
from cratecli.io.plot import HEIGHT
from cratecli.io.sheet import CELL, GAP, TEXT
from cratecli.model.crate import Crate
from tests.cli.conftest import TO_STDOUT, Here, Machine, failed, picture

QUICK = ("--size", "32")
LINE = TEXT + 5


def extent(photos: int, layers: int = 8) -> tuple[int, int]:
    """Give a sheet's width and height in px."""
    width = (layers + 1) * (CELL.width + GAP) + GAP
    return width, HEIGHT + GAP + LINE + 4 * photos * (CELL.height + GAP + LINE)


def test_a_sheet_to_a_pipe(shared: Machine) -> None:
    done = shared.crate("layers", shared.photo("photo.jpg", (64, 48)), *QUICK)
    assert done.code == 0
    sheet = picture(done.out)
    assert (sheet.format, sheet.mode, sheet.size) == ("PNG", "RGB", extent(1))
    assert done.err == "crate: crate-nano, layers 0,1,2,3,4,5,6,7, sizes 32, torch cpu float32\n" + TO_STDOUT
    assert shared.files() == ["photo.jpg"]


def test_a_sheet_to_a_file(machine: Machine, here: Here) -> None:
    photo = machine.photo("in/photo.jpg")
    done = here("layers", photo, "-o", "new/sheet.png", *QUICK)
    assert (done.code, done.out) == (0, b"new/sheet.png\n")
    assert here("layers", "in", "-o", "new/", "-q", *QUICK).out == b"new/in-layers.png\n"


def test_records_are_the_equations_on_the_unrolled_states(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png", (80, 60))
    done = here("layers", photo, "--jsonl", "-q", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert machine.files() == ["photo.png"]
    record = json.loads(done.out)
    model = cratecli.load_model("crate-nano", device="cpu")
    with torch.inference_mode():
        states = list(model.unroll(cratecli.prepare(photo, model, size=32)))
    rates = [float(coding_rate(state.subspaces)[0]) for state in states[:-1]]
    zeros = [float(zero_fraction(state.tokens)[0]) for state in states[1:]]
    assert record["input"] == str(photo)
    assert record["layers"] == list(range(8))
    assert record["coding_rate"] == pytest.approx(rates, abs=1e-3)
    assert record["zero_fraction"] == pytest.approx(zeros, abs=1e-3)
    masks = cratecli.layers(photo, model, size=32).mask
    assert record["maskcut_area"] == pytest.approx(masks.mean(axis=(1, 2)).tolist(), abs=1e-4)
    assert record["weights"] == "crate-nano"
    assert len(record["weights_sha256"]) == 64


def test_layers_and_tau_are_obeyed(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png", (80, 60))
    everything = json.loads(here("layers", photo, "--jsonl", "-q", *QUICK).out)
    some = json.loads(here("layers", photo, "--layer", "-1,2", "--jsonl", "-q", *QUICK).out)
    assert some["layers"] == [7, 2]
    for name in ("coding_rate", "zero_fraction", "maskcut_area"):
        assert some[name] == pytest.approx([everything[name][7], everything[name][2]], abs=1e-4)
    assert picture(here("layers", photo, "--layer", "-1,2,0,4", "-q", *QUICK).out).size == extent(1, 4)
    other = json.loads(here("layers", photo, "--tau", "0.6", "--jsonl", "-q", *QUICK).out)
    assert other["maskcut_area"] != everything["maskcut_area"]
    assert other["coding_rate"] == everything["coding_rate"]


def test_four_of_five_photos_are_pictured(machine: Machine, here: Here) -> None:
    for number in range(5):
        machine.photo(f"in/{number}.png", seed=number)
    done = here("layers", "in", "--json", "-o", "sheet.png", "-q", "--layer", "0,1,2,3", *QUICK)
    assert [record["input"] for record in json.loads(done.out)] == [f"in/{number}.png" for number in range(5)]
    assert picture((machine.desk / "sheet.png").read_bytes()).size == extent(4, 4)


def test_a_second_run_needs_no_inference(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = machine.photo("photo.png")
    kept = ("--features-cache", "kept", "--jsonl", "-q", *QUICK)
    first = json.loads(here("layers", photo, *kept).out)

    def never(*_arguments: object) -> None:
        raise InputError("looked at again")

    monkeypatch.setattr(Crate, "unroll", never)
    again = json.loads(here("layers", photo, *kept).out)
    assert again.keys() == first.keys()
    for name in ("coding_rate", "zero_fraction", "maskcut_area"):
        assert again[name] == pytest.approx(first[name], abs=2e-4)
    assert here("layers", photo, "-o", "sheet.png", *kept).code == 0
    assert json.loads(here("heads", photo, "--layer", "3", *kept).out)["layers"] == [3]
    failed(here("layers", photo, "-q", *QUICK), 1, "looked at again")
    failed(here("layers", photo, "--features-cache", "other", "-q", *QUICK), 1, "looked at again")


def test_a_bad_photo_among_good_ones(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png")
    (machine.desk / "in/b.png").write_bytes(b"no photo")
    done = here("layers", "in", "-o", "sheet.png", "-q", *QUICK)
    assert (done.code, done.out) == (1, b"sheet.png\n")
    assert done.err.splitlines() == [
        "crate: in/b.png: not an image of a known format",
        "crate: 1 of 2 photos failed",
    ]
    assert picture((machine.desk / "sheet.png").read_bytes()).size == extent(1)
    failed(here("layers", "in/b.png", "-o", "other.png", "-q", *QUICK), 1, "in/b.png: not an image")
    assert "other.png" not in machine.files()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (48, 36)])
def test_a_black_photo_has_a_sheet(machine: Machine, here: Here, size: tuple[int, int]) -> None:
    content = b"P6 %d %d 255 " % size + bytes(3 * size[0] * size[1])
    done = here("layers", "-", "-q", *QUICK, stdin=content)
    assert (done.code, done.err) == (0, "")
    assert np.asarray(picture(done.out)).shape == (*extent(1)[::-1], 3)


def test_no_sheet_goes_to_a_terminal(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    photo = machine.photo("in/photo.png")
    failed(here("layers", photo, "-o", "-", *QUICK), 2, "no picture goes to a terminal")
    assert here("layers", photo, "-q", *QUICK).out == b"photo.layers.png\n"


def test_a_checkpoint_of_any_name(machine: Machine, here: Here) -> None:
    checkpoint = Path(here("models", "path", "crate-nano").lines[0])
    named = machine.desk / f"模型{checkpoint.suffix}"
    named.write_bytes(checkpoint.read_bytes())
    done = here("layers", machine.photo("photo.png"), "-m", named, "-q", "--layer", "7", *QUICK)
    assert (done.code, done.err) == (0, "")


def test_records_at_a_terminal_come_without_a_file(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    done = here("layers", machine.photo("photo.png"), "--jsonl", "-q", *QUICK)
    assert json.loads(done.out)["input"].endswith("photo.png")
    assert machine.files() == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["gone.jpg"], 1, "gone.jpg: no such file"),
        (["photo.png", "-o", "sheet.jpg"], 2, "sheet.jpg: PNG is written: let the name end with .png"),
        (["photo.png", "-o", "photo.png"], 2, "photo.png is an input: choose another output"),
        (["photo.png", "--json", "--jsonl"], 2, "--json and --jsonl exclude each other"),
        (["photo.png", "--jsonl", "-o", "-"], 2, "stdout takes the picture or the records, not both"),
        (["photo.png", "--layer", "some"], 2, "--layer 'some' is not all or whole numbers"),
        (["photo.png", "--layer", "-9"], 2, "layer -9 of a model with 8 layers, 0 to 7"),
        (["photo.png", "--size", "32,48"], 2, "--size"),
        (["photo.png", "--size", "2000"], 2, "--size is 2000, not less than or equal to 1536"),
        (["photo.png", "--tau", "1.5"], 2, "--tau"),
        (["empty"], 3, "no photo in empty"),
    ],
)
def test_what_goes_wrong_is_one_line(
    machine: Machine, here: Here, arguments: Sequence[str], code: int, reason: str
) -> None:
    machine.photo("photo.png")
    (machine.desk / "empty").mkdir()
    failed(here("layers", "-q", *arguments), code, reason)
    assert machine.files() == ["photo.png"]
