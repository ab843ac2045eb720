"""`crate segment` as its user meets it: files, streams, exit codes, and one line for whatever goes wrong."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cratecli.cli import console
from cratecli.weights import loading
from tests.cli.conftest import TO_STDOUT, Done, Here, Machine, failed, picture, see_nothing
from tests.support.waiting import PATIENCE
from tests.support.warm import warm_crate

QUICK = ("--size", "64", "--heads", "agree", "--refine", "none")
"""Options that make a run quick, where the mask itself is not looked at."""


# Real processes, in a folder that is not the checkout.


def test_one_photo_to_a_pipe(shared: Machine) -> None:
    done = shared.crate("segment", shared.photo("photo.jpg", (64, 48)))
    assert done.code == 0
    mask = picture(done.out)
    assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (64, 48))
    assert set(np.unique(np.asarray(mask))) == {0, 255}
    assert done.err.startswith("crate: crate-nano, layers ")
    assert done.err.splitlines(keepends=True)[1:] == [TO_STDOUT]
    assert "photo.mask.png" not in shared.files()


def test_standard_input_to_standard_output(shared: Machine) -> None:
    photo = shared.photo("turned.jpg", (64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(photo, exif=exif)
    done = shared.crate("segment", "-", "-o", "-", "-q", "--as", "cutout", stdin=photo.read_bytes())
    assert (done.code, done.err) == (0, "")
    assert (picture(done.out).mode, picture(done.out).size) == ("RGBA", (48, 64))


def test_a_folder_with_a_broken_photo_as_json(machine: Machine) -> None:
    machine.photo("in/a.jpg")
    machine.photo("in/c.png", (40, 60))
    (machine.desk / "in/b.png").write_bytes(b"<html>no photo</html>")
    (machine.desk / "in/notes.txt").write_text("no photo either")
    done = machine.crate("segment", "in", "--json", *QUICK)
    assert done.code == 1
    records = json.loads(done.out)
    assert [record["output"] for record in records] == ["in-masks/a.png", "in-masks/c.png"]
    ran, broken, summary = done.err.splitlines()
    assert ran.startswith("crate: crate-nano")
    assert broken == f"crate: {Path('in/b.png')}: an HTML page, not an image"
    assert summary == "crate: 1 of 3 photos failed"
    assert [name for name in machine.files() if not name.startswith("in/")] == [
        "in-masks/a.png",
        "in-masks/c.png",
    ]


def test_ten_photos_load_the_model_once(machine: Machine) -> None:
    for number in range(10):
        machine.photo(f"in/{number}.png", (48, 36), seed=number)
    done = machine.crate("segment", "in", "-o", "out", "--jsonl", "--batch-size", "4", *QUICK)
    assert done.code == 0
    assert [json.loads(line)["output"] for line in done.lines] == [f"out/{n}.png" for n in range(10)]
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_leaves_is_no_drama(machine: Machine) -> None:
    photo = machine.photo("photo.png")
    read, write = os.pipe()
    os.close(read)
    try:
        done = machine.crate("segment", photo, "-q", *QUICK, stdout=write)
    finally:
        os.close(write)
    assert (done.code, done.err) == (141, "")
    for command in (["models", "list"], ["--version"]):
        read, write = os.pipe()
        os.close(read)
        try:
            done = machine.crate(*command, stdout=write, installed=True)
        finally:
            os.close(write)
        assert (done.code, done.err) == (141, "")


def test_a_pipe_into_head(machine: Machine) -> None:
    machine.photo("photo.png")
    done = machine.shell(f"crate segment -q {' '.join(QUICK)} photo.png | head -c 10")
    assert (done.out, done.err) == (b"\x89PNG\r\n\x1a\n\x00\x00", "")


def on_a_terminal(machine: Machine, *arguments: str | Path) -> tuple[int, str]:
    """Run `crate` with its stdout on a terminal, and give what that shows."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [warm_crate(), *arguments],
            cwd=machine.desk,
            env=machine.environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.STDOUT,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so that the other side is closed
                break
            if not piece:
                break
            shown += piece
        return process.wait(PATIENCE), shown.decode()
    finally:
        os.close(ours)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_no_picture_goes_to_a_terminal(machine: Machine) -> None:
    photo = machine.photo("in/photo.png")
    code, shown = on_a_terminal(machine, "segment", photo, "-o", "-")
    assert (code, shown) == (2, "crate: no picture goes to a terminal: give -o FILE, or a pipe\r\n")
    code, shown = on_a_terminal(machine, "segment", photo, "-q", *QUICK)
    assert (code, shown) == (0, "photo.mask.png\r\n")
    assert machine.files() == ["in/photo.png", "photo.mask.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout(machine: Machine) -> None:
    photo = machine.photo("photo.png")
    reason = "crate: standard output: cannot be written: No space left on device\n"
    with Path("/dev/full").open("wb") as full:
        done = machine.crate("segment", photo, "-q", *QUICK, stdout=full)
        assert (done.code, done.err) == (1, reason)
        done = machine.crate("models", "list", stdout=full, installed=True)
        assert (done.code, done.err) == (1, reason)


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["segment", "--help"], ["models", "list"]])
def test_quick_commands_load_no_torch(machine: Machine, command: Sequence[str]) -> None:
    done = machine.crate(*command, PYTHONPROFILEIMPORTTIME="1")
    assert done.code == 0
    assert done.out
    loaded = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "cratecli.cli.app" in loaded
    assert not {name for name in loaded if name.split(".")[0] in ("torch", "timm", "cv2", "scipy")}


# The same command line in this process: quicker, and the model loaded all the same.


def test_one_photo_to_a_file(machine: Machine, here: Here) -> None:
    done = here("segment", machine.photo("photo.jpg"), "-o", "new/mask.png", *QUICK)
    assert (done.code, done.out) == (0, b"new/mask.png\n")
    assert machine.files() == ["new/mask.png", "photo.jpg"]
    assert picture((machine.desk / "new/mask.png").read_bytes()).size == (48, 36)


def test_one_photo_into_a_folder(machine: Machine, here: Here) -> None:
    done = here("segment", machine.photo("photo.jpg"), "-o", "new/", "-q", *QUICK)
    assert (done.code, done.out, done.err) == (0, b"new/photo.png\n", "")


def test_several_photos_and_a_folder(machine: Machine, here: Here) -> None:
    machine.photo("a.png")
    machine.photo("in/b.png")
    machine.photo("more/c.png")
    done = here("segment", "a.png", "in/b.png", "more", "-q", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.lines) == ["a.mask.png", "b.mask.png", "more-masks/c.png"]
    done = here("segment", "a.png", "in/b.png", "-o", "out", "-q", *QUICK)
    assert done.lines == ["out/a.png", "out/in/b.png"]
    assert {"a.mask.png", "b.mask.png", "more-masks/c.png", *done.lines} < set(machine.files())


@pytest.mark.parametrize(
    ("kind", "mode"), [("mask", "L"), ("soft", "L"), ("cutout", "RGBA"), ("overlay", "RGB")]
)
def test_kinds(machine: Machine, here: Here, kind: str, mode: str) -> None:
    done = here("segment", machine.photo("photo.png"), "--as", kind, "-q", *QUICK)
    assert (picture(done.out).mode, picture(done.out).size) == (mode, (48, 36))
    assert here("segment", "photo.png", "--as", kind, "-q", "--jsonl", *QUICK).code == 0
    assert f"photo.{kind}.png" in machine.files()


FIELDS = {
    "input",
    "output",
    "as",
    "height",
    "width",
    "empty",
    "confidence",
    "min_confidence",
    "area",
    "box",
    "layers",
    "heads",
    "head_scores",
    "sizes",
    "keep",
    "threshold",
    "refine",
    "weights",
    "weights_sha256",
}


def test_json_says_it_all(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png", (50, 40))
    done = here(
        "segment", photo, "--json", "-o", "out/mask.png", "--layer", "-2,-1", "--heads", "auto", *QUICK
    )
    (record,) = json.loads(done.out)
    assert done.code == 0
    assert set(record) >= FIELDS
    assert (record["input"], record["output"], record["as"]) == (str(photo), "out/mask.png", "mask")
    assert (record["height"], record["width"]) == (40, 50)
    assert record["layers"] == [6, 7]
    assert np.shape(record["head_scores"]) == (2, 6)
    assert record["sizes"] == [64]
    assert record["refine"] == "none"
    assert record["weights"] == "crate-nano"
    assert len(record["weights_sha256"]) == 64
    assert 0 <= record["confidence"] <= 1
    mask = np.asarray(picture((machine.desk / "out/mask.png").read_bytes())) > 0
    assert record["area"] == mask.sum()
    assert record["empty"] is (record["area"] == 0)
    left, top, width, height = record["box"]
    inside = mask[top : top + height, left : left + width]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


def test_jsonl_is_one_record_a_line(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png")
    Image.new("RGB", (20, 30), "red").save(machine.desk / "in/b.png")
    done = here("segment", "in", "--jsonl", "-q", *QUICK)
    first, second = (json.loads(line) for line in done.lines)
    assert (done.code, done.err) == (0, "")
    assert set(first) >= FIELDS
    assert (second["empty"], second["area"], second["box"], second["confidence"]) == (True, 0, None, 0.0)
    assert (second["width"], second["height"]) == (20, 30)
    assert machine.files() == ["in-masks/a.png", "in-masks/b.png", "in/a.png", "in/b.png"]


def test_json_without_an_output_still_writes_the_mask(machine: Machine, here: Here) -> None:
    done = here("segment", machine.photo("in/photo.png"), "--json", *QUICK)
    assert json.loads(done.out)[0]["output"] == "photo.mask.png"
    assert "photo.mask.png" in machine.files()


def test_json_keeps_what_was_done_when_an_output_cannot_be_written(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png")
    machine.photo("in/b.png")
    (machine.desk / "out/b.png").mkdir(parents=True)
    done = here("segment", "in", "-o", "out", "--json", "-q", *QUICK)
    assert done.code == 1
    assert [record["output"] for record in json.loads(done.out)] == ["out/a.png"]
    advice = "a folder is in its place: move it, or choose another output"
    assert done.err == f"crate: out/b.png: cannot be written: {advice}\ncrate: 1 of 2 photos failed\n"


@pytest.mark.parametrize("layer", [("--layer", "-2,-1"), ("--layer=-2,-1",), ("--layer", "6,7")])
def test_layers_count_from_either_end(machine: Machine, here: Here, layer: Sequence[str]) -> None:
    done = here("segment", machine.photo("photo.png"), *layer, "--jsonl", "-q", *QUICK)
    assert json.loads(done.out)["layers"] == [6, 7]


@pytest.mark.parametrize(("heads", "expected"), [("all", [0, 1, 2, 3, 4, 5]), ("0,3", [0, 3]), ("5", [5])])
def test_heads(machine: Machine, here: Here, heads: str, expected: list[int]) -> None:
    done = here("segment", machine.photo("photo.png"), *QUICK, "--heads", heads, "--jsonl", "-q")
    assert json.loads(done.out)["heads"] == expected


def test_keep_refine_and_clean_up_reach_the_mask(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png", (80, 60))

    def area(*more: str) -> int:
        least = ("--min-area", "0", "--min-confidence", "0")
        done = here("segment", photo, "--jsonl", "-q", "--size", "64", *least, *more)
        assert done.code == 0
        return int(json.loads(done.out)["area"])

    small, large = (area("--refine", "none", "--keep", keep) for keep in ("top:0.1", "top:0.8"))
    assert 0 < small < large < 80 * 60
    assert area("--refine", "none", "--keep", "top:0.1", "--min-area", "0.9") == 0
    assert 0 < area("--refine", "none", "--keep", "top:0.1", "--largest") <= small
    for refine in ("guided", "grabcut"):
        assert area("--refine", refine, "--keep", "top:0.3") > 0


def test_the_model_is_loaded_once(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        machine.photo(f"in/{number}.png")
    loads: list[object] = []

    def counted(name: str | None, **options: Any) -> Any:
        loads.append(name)
        return load(name, **options)

    load = loading.load
    monkeypatch.setattr(loading, "load", counted)
    assert here("segment", "in", "--batch-size", "1", *QUICK).code == 0
    assert len(loads) == 1


def test_what_was_seen_answers_other_questions(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        machine.photo(f"in/{number}.png", seed=number)
    kept = ("--features-cache", "new/kept", "--size", "32,48", "-q", "--jsonl")
    plain = here("segment", "in", "-o", "plain", "--size", "32,48", "-q")
    first = here("segment", "in", "-o", "out", *kept)
    assert (first.code, first.err) == (0, "")
    see_nothing(monkeypatch)
    assert here("segment", "in", "-o", "out", *kept) == first
    for number in range(2):
        mask, other = ((machine.desk / folder / f"{number}.png").read_bytes() for folder in ("out", "plain"))
        assert mask == other
    assert plain.lines == ["plain/0.png", "plain/1.png"]
    for question in (
        ("--heads", "0,3"),
        ("--keep", "top:0.2"),
        ("--layer", "-1"),
        ("--as", "soft"),
        ("--refine", "guided"),
    ):
        done = here("segment", "in", "-o", "other", *question, *kept)
        assert (done.code, len(done.lines)) == (0, 2)
    failed(here("segment", "in/0.png", *kept, "--layer", "0"), 1, "looked at again")  # what was not seen
    failed(here("segment", "in/0.png", *kept, "--size", "32,32"), 1, "looked at again")
    failed(here("segment", "in/0.png", "-q", "--size", "32,48"), 1, "looked at again")  # not asked to keep


def test_what_was_damaged_is_looked_at_again(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = machine.photo("photo.png")
    kept = ("--features-cache", "kept", "--layer", "7", "-q", "--jsonl", *QUICK)
    first = here("segment", photo, *kept)
    (entry,) = (machine.desk / "kept").rglob("*.safetensors")
    whole = entry.read_bytes()
    for damaged in (whole[:-9], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], b""):
        entry.write_bytes(damaged)
        with monkeypatch.context() as patch:
            see_nothing(patch)
            failed(here("segment", photo, *kept), 1, "looked at again")
        assert here("segment", photo, *kept) == first
        assert entry.read_bytes() == whole


def test_features_that_cannot_be_kept_are_said(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    (machine.desk / "file").write_text("here first")
    failed(here("segment", photo, "--features-cache", "file", "-q", *QUICK), 2, "--features-cache")
    failed(
        here("segment", photo, "--features-cache", "file/kept", "-q", *QUICK),
        1,
        "features cannot be kept: Not a directory",
    )
    assert machine.files() == ["file", "photo.png"]


def test_variables_choose_model_and_device(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    failed(
        here("segment", photo, CRATE_MODEL="crate-nani"), 2, "no model 'crate-nani', did you mean crate-nano?"
    )
    assert here("segment", photo, "-m", "crate-nano", "-q", *QUICK, CRATE_MODEL="crate-nani").code == 0
    failed(here("segment", photo, CRATE_DEVICE="tpu"), 2, "device 'tpu' is not one of")


def test_a_checkpoint_file_is_a_model(machine: Machine, here: Here) -> None:
    file = Path(here("models", "path", "crate-nano").lines[0])
    done = here("segment", machine.photo("photo.png"), "-m", file, "--jsonl", *QUICK)
    assert json.loads(done.out)["weights"] == str(file)
    assert done.err.startswith(f"crate: {file}, ")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["gone.jpg"], 1, "gone.jpg: no such file"),
        (["notes.txt"], 1, "notes.txt: not an image of a known format"),
        (["half.png"], 1, "half.png: cannot be read as an image: "),
        (["-"], 1, "standard input: empty"),
        (["a" * 300], 1, "File name too long"),
        (["photo.png", "-o", "notes.txt/mask.png"], 1, "notes.txt/mask.png: cannot be written: "),
        (
            ["in", "-o", "notes.txt"],
            2,
            "notes.txt is a file: several photos, or a folder's, go into a folder",
        ),
        ([], 2, "missing argument 'PHOTO...'"),
        (["photo.png", "--colour"], 2, "no such option: --colour"),
        (
            ["photo.png", "--as", "gif"],
            2,
            "'gif' is not one of 'mask', 'soft', 'soft16', 'cutout', 'overlay'",
        ),
        (["photo.png", "--refine", "edges"], 2, "'edges' is not one of 'none', 'guided', 'grabcut'"),
        (
            ["photo.png", "--layer", "last"],
            2,
            "--layer 'last' is not all or whole numbers with commas between",
        ),
        (["photo.png", "--layer", "8"], 2, "layer 8 of a model with 8 layers, 0 to 7"),
        (["photo.png", "--heads", "6"], 2, "head 6 of a model with 6 heads, 0 to 5"),
        (["photo.png", "--heads", "best"], 2, "--heads 'best' is not auto, agree, all or whole numbers"),
        (["photo.png", "--keep", "most"], 2, "'most' is not mass:F, top:F, otsu, mean or a number"),
        (["photo.png", "--size", "0"], 2, "size"),
        (["photo.png", "--min-area", "much"], 2, "--min-area"),
        (["photo.png", "--min-area", "2"], 2, "--min-area is 2.0, not less than 1"),
        (["photo.png", "--batch-size", "0"], 2, "--batch-size"),
        (["photo.png", "--dtype", "float8"], 2, "--dtype"),
        (["photo.png", "--device", "gpu"], 2, "device 'gpu' is not one of auto, cpu, cuda, cuda:N, mps"),
        (["photo.png", "--json", "--jsonl"], 2, "--json and --jsonl exclude each other"),
        (["photo.png", "--json", "-o", "-"], 2, "stdout takes the picture or the records, not both"),
        (["photo.png", "in/other.png", "-o", "-"], 2, "cannot share stdout"),
        (["in", "-o", "-"], 2, "cannot share stdout"),
        (["photo.png", "-o", ""], 2, "a path is empty"),
        (["photo.png", "-o", "photo.png"], 2, "photo.png is an input: choose another output"),
        (
            ["photo.png", "in/photo.png"],
            2,
            "photo.png and in/photo.png would both be written to",
        ),
        (["-", "-"], 2, "standard input can be read only once"),
        (["photo.png", "-m", "crate-nani"], 2, "no model 'crate-nani', did you mean crate-nano?"),
        (["empty"], 3, "no photo in empty"),
        (["photo.png", "-m", "crate-mae-b16"], 4, "crate-mae-b16 is not on this machine; "),
        (["photo.png", "-m", "notes.txt"], 4, "notes.txt"),
        (["photo.png", "--device", f"cuda:{torch.cuda.device_count()}"], 5, "is not available"),
    ],
)
def test_what_goes_wrong_is_one_line(
    machine: Machine, here: Here, arguments: Sequence[str], code: int, reason: str
) -> None:
    photo = machine.photo("photo.png")
    machine.photo("in/photo.png")
    (machine.desk / "half.png").write_bytes(photo.read_bytes()[:-100])
    (machine.desk / "notes.txt").write_text("not a photo, not a checkpoint")
    (machine.desk / "empty").mkdir()
    before = {name: (machine.desk / name).read_bytes() for name in machine.files()}
    failed(here("segment", "-q", *arguments), code, reason)
    assert {name: (machine.desk / name).read_bytes() for name in machine.files()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["segment", "-q", "gone.jpg"], 1, "gone.jpg: no such file"),
        (["segment", "photo.png", "-m", "crate-mae-b16"], 4, "crate-mae-b16 is not on this machine; "),
        (["segment", "photo.png", "--device", f"cuda:{torch.cuda.device_count()}"], 5, "is not available"),
        (["segment", "photo.png", "--colour"], 2, "no such option: --colour"),
        (["segmen"], 2, "no such command 'segmen'"),
        (["segment", "empty"], 3, "no photo in empty"),
    ],
)
def test_what_goes_wrong_is_one_line_of_a_real_process(
    shared: Machine, arguments: Sequence[str], code: int, reason: str
) -> None:
    shared.photo("photo.png")
    (shared.desk / "empty").mkdir(exist_ok=True)
    failed(shared.crate(*arguments), code, reason)


def test_names_cannot_steer_the_terminal(machine: Machine, here: Here) -> None:
    for name in ("a\nb.png", "\x1b[31mred.png", os.fsdecode(b"\xff.png")):
        (machine.desk / name).write_bytes(b"no photo")
    done = here("segment", ".", "-q")
    assert done.code == 1
    assert done.err.isprintable() or set(done.err) - {"\n"} <= {c for c in done.err if c.isprintable()}
    assert done.err.splitlines() == [
        r"crate: \x1b[31mred.png: not an image of a known format",
        r"crate: a\nb.png: not an image of a known format",
        r"crate: \udcff.png: not an image of a known format",
        "crate: 3 of 3 photos failed",
    ]


def test_odd_names_are_written_as_they_are(machine: Machine, here: Here) -> None:
    odd = [b"-rf.png", b"[red].png", b"a\nb.png", b"\xff.png", "ä 🐈.png".encode()]
    photo = machine.photo("photo.jpg")
    folder = machine.desk / "in"
    folder.mkdir()
    for name in odd:
        (folder / os.fsdecode(name)).write_bytes(photo.read_bytes())
    done = here("segment", "in", "-o", "out", "-q", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert sorted(os.fsencode(path.name) for path in (machine.desk / "out").glob("*.png")) == sorted(odd)
    assert done.out == b"".join(b"out/%s\n" % name for name in sorted(odd, key=os.fsdecode))


def test_printable_escapes_what_is_not() -> None:
    assert console.printable("a\x1b[2Jb\r\n\t\u202e") == r"a\x1b[2Jb\r\n\t\u202e"
    assert console.printable("photo 🐈 ×.png") == "photo 🐈 ×.png"


def test_an_interruption_has_its_code(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load", interrupted)
    assert here("segment", machine.photo("photo.png")) == Done(130, b"", "crate: interrupted\n")


def test_records_of_standard_input_write_no_picture(shared: Machine) -> None:
    before = shared.files()
    done = shared.crate("segment", "-", "--jsonl", *QUICK, stdin=shared.photo("piped.jpg").read_bytes())
    assert done.code == 0
    assert json.loads(done.out)["output"] is None
    assert set(shared.files()) - set(before) <= {"piped.jpg"}


def test_a_mask_of_too_little_confidence_is_written_empty(machine: Machine, here: Here) -> None:
    asked = ("segment", machine.photo("photo.png"), "-o", "mask.png", *QUICK, "--min-confidence")
    done = here(*asked, "1", "--json")
    (record,) = json.loads(done.out)
    assert (record["empty"], record["area"], record["min_confidence"]) == (True, 0, 1.0)
    assert 0 < record["confidence"] < 1
    assert f"photo.png: left empty, confidence {record['confidence']:.2f}\n" in done.err
    assert not np.asarray(picture((machine.desk / "mask.png").read_bytes())).any()
    (kept,) = json.loads(here(*asked, "0", "--json").out)
    assert (kept["empty"], kept["confidence"]) == (False, record["confidence"])


@pytest.mark.usefixtures("shipped_sizes")
def test_a_photo_with_nothing_in_it_is_named(machine: Machine, here: Here) -> None:
    grain = np.random.default_rng(0).normal(128, 5, (96, 96)).clip(0, 255).astype(np.uint8)
    Image.fromarray(grain).save(machine.desk / "grain.png")
    assert (
        "grain.png: left empty, confidence 0.0"
        in here("segment", machine.desk / "grain.png", "-o", "g.png").err
    )
    assert here("segment", machine.desk / "grain.png", "-q", "-o", "g.png").err == ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("a.png", "--at", "48,8"), "48,8 is outside the photo"),
        (("a.png", "--at", "8"), "--at '8' is not a pixel"),
        (("a.png", "--at", "-4,8"), "--at '-4,8' is outside every photo"),
        (("a.png", "--not-at", "4,8"), "say with at what is"),
        (("a.png", "--at", "4,8", "--not-at", "4,8"), "4,8 is meant and not meant"),
        (("a.png", "--at", "1_0,8"), "--at '1_0,8' is not a pixel"),
        (("a.png", "b.png", "--at", "4,8"), "a click is on one photo, and here are 2"),
    ],
)
def test_clicks_that_make_no_sense_are_refused(
    machine: Machine, here: Here, words: Sequence[str], reason: str
) -> None:
    machine.photo("a.png")
    machine.photo("b.png")
    failed(here("segment", *words, "-q", "-o", "out/", *QUICK), 2, reason)
    assert not [name for name in machine.files() if name.endswith(".png") and name.startswith("out")]


def test_a_click_on_the_photo_as_it_is_shown(machine: Machine, here: Here) -> None:
    photo = machine.photo("turned.jpg", (64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(photo, exif=exif)
    words = ("segment", photo, "-q", "-o", "mask.png", *QUICK)
    (record,) = json.loads(here(*words, "--at", "47,63", "--not-at", "1,2", "--json").out)
    assert (record["at"], record["not_at"]) == ([[47, 63]], [[1, 2]])
    assert "at" not in json.loads(here(*words, "--json").out)[0]
    failed(here(*words, "--at", "63,47"), 2, "upright it is 48 × 64 px")
