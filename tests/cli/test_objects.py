"""`crate objects` as its user meets it: pictures, COCO files, records, and none where nothing is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import cratecli
from cratecli.cli import outputs
from tests.cli.conftest import Here, Machine, failed, picture, see_nothing

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

QUICK = ("--size", "64", "--min-score", "0", "--min-best", "0")
"""Quick, and at least one object in whatever photo."""


def lay_out(machine: Machine) -> None:
    """Put three photos into a folder, the middle one broken."""
    machine.photo("in/a.png", (64, 48), seed=1)
    (machine.desk / "in/b.png").write_bytes(b"no photo")
    machine.photo("in/c.jpg", (36, 48), seed=2)


BROKEN = ["crate: in/b.png: not an image of a known format", "crate: 1 of 3 photos failed"]


def test_one_photo_to_a_pipe(shared: Machine) -> None:
    done = shared.crate("objects", shared.photo("photo.jpg", (64, 48)), "--size", "64")
    assert done.code == 0
    overlay = picture(done.out)
    assert (overlay.format, overlay.mode, overlay.size) == ("PNG", "RGB", (64, 48))
    assert done.err.startswith("crate: crate-nano, layers ")
    assert (
        ", sizes 64, by candidates, n 10, min-score 0.1, min-best 0.4, refine guided"
        in done.err.splitlines()[0]
    )
    assert shared.files() == ["photo.jpg"]


def test_pictures_go_where_segment_puts_its_masks(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = machine.photo("in/photo.jpg")
    assert here("objects", photo, "-o", "new/a.png", "-q", *QUICK).out == b"new/a.png\n"
    assert here("objects", photo, "-o", "new/", "-q", *QUICK).out == b"new/photo.png\n"
    assert here("objects", "in", "-q", *QUICK).out == b"in-objects/photo.png\n"
    failed(here("objects", "in", "-o", "-", *QUICK), 2, "cannot share stdout")
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    assert here("objects", photo, "-q", *QUICK).out == b"photo.object.png\n"
    failed(here("objects", photo, "-o", "-", *QUICK), 2, "no picture goes to a terminal")


FIELDS = {"input", "output", "height", "width", "objects", "layers", "sizes", "tau", "min_score", "refine"}
FIELDS |= {"by", "min_best"}


def test_records_say_what_the_labels_show(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png", (64, 48))
    options = ("--by", "maskcut", "--n", "4", "--tau", "0.3", "--layer", "-1", "--refine", "guided")
    done = here("objects", photo, "--as", "labels", "-o", "l.png", "--json", "-q", *options, *QUICK)
    (record,) = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert set(record) >= FIELDS
    assert (record["input"], record["output"]) == (str(photo), "l.png")
    assert (record["by"], record["layers"], record["sizes"], record["tau"]) == ("maskcut", [7], [64], 0.3)
    assert (record["min_score"], record["refine"], record["weights"]) == (0.0, "guided", "crate-nano")
    assert len(record["weights_sha256"]) == 64
    labels = picture((machine.desk / "l.png").read_bytes())
    assert (labels.mode, labels.size) == ("P", (64, 48))
    numbers = np.asarray(labels)
    assert set(np.unique(numbers)) - {0} == set(range(1, 1 + len(record["objects"])))
    assert record["objects"]
    for number, found in enumerate(record["objects"], 1):
        mask = coco_mask.decode(found["rle"]).astype(bool)
        np.testing.assert_array_equal(mask, numbers == number)
        assert found["area"] == mask.sum()
        left, top, width, height = found["box"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert 0 <= found["score"] <= 1
    expected = cratecli.objects(
        photo,
        "crate-nano",
        by="maskcut",
        layers=[-1],
        sizes=[64],
        count=4,
        tau=0.3,
        min_score=0,
        refine="guided",
    )
    assert [found["box"] for found in record["objects"]] == [list(each.box.xywh) for each in expected]


def test_records_come_with_a_picture_but_for_standard_input(machine: Machine, here: Here) -> None:
    content = machine.photo("photo.png").read_bytes()
    assert json.loads(here("objects", "photo.png", "--jsonl", *QUICK).out)["output"] == "photo.object.png"
    done = here("objects", "-", "--jsonl", "-q", *QUICK, stdin=content)
    record = json.loads(done.out)
    assert (record["input"], record["output"]) == ("standard input", None)
    assert machine.files() == ["photo.object.png", "photo.png"]


def test_nothing_found_is_said(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    done = here("objects", photo, "--min-score", "1", "--size", "64", "-o", "a.png")
    assert (done.code, done.out) == (0, b"a.png\n")
    assert done.err.splitlines()[1:] == [f"crate: {photo}: no object found"]
    quiet = here("objects", photo, "--min-score", "1", "--size", "64", "-o", "a.png", "-q", "--jsonl")
    assert (quiet.code, quiet.err, json.loads(quiet.out)["objects"]) == (0, "", [])


@pytest.mark.parametrize("refine", ["none", "guided", "grabcut"])
def test_a_plain_photo_has_no_object(machine: Machine, here: Here, refine: str) -> None:
    Image.new("RGB", (70, 50), "grey").save(machine.desk / "plain.png")
    done = here("objects", "plain.png", "--jsonl", "-q", "--refine", refine)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["objects"] == []


def test_how_many_at_most(machine: Machine, here: Here) -> None:
    rows, cols = np.mgrid[:96, :144]
    discs = (rows - 48) ** 2 + (cols % 78 - 32) ** 2 <= 20**2
    Image.fromarray(np.where(discs[..., None], (220, 60, 40), 30).astype(np.uint8)).save(
        machine.desk / "discs.png"
    )

    def found(*more: str) -> Any:
        return json.loads(here("objects", "discs.png", "--jsonl", "-q", *more, *QUICK).out)["objects"]

    three = found("--n", "3")
    assert 2 <= len(three) <= 3
    assert found("--n", "1") == three[:1]
    assert found("--n", "2") == three[:2]


# COCO.


def test_a_coco_file(machine: Machine, here: Here) -> None:
    lay_out(machine)
    done = here("objects", "in", "-o", "new/all.json", "-q", *QUICK)
    assert (done.code, done.out, done.err.splitlines()) == (1, b"new/all.json\n", BROKEN)
    assert [name for name in machine.files() if not name.startswith("in/")] == ["new/all.json"]
    coco = COCO(machine.desk / "new/all.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [(image["id"], image["file_name"]) for image in images] == [(1, "a.png"), (2, "c.jpg")]
    assert [(image["width"], image["height"]) for image in images] == [(64, 48), (36, 48)]
    assert coco.dataset["info"]["description"].startswith("crate-nano, layers ")
    told = [json.loads(line) for line in here("objects", "in", "--jsonl", "-q", *QUICK).lines]
    records = sorted((one for one in told if "error" not in one), key=lambda one: str(one["input"]))
    assert [one["input"] for one in told if "error" in one] == ["in/b.png"]
    for image, record in zip(images, records, strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert annotations
        for one, other in zip(annotations, record["objects"], strict=True):
            assert one["segmentation"] == other["rle"]
            assert (one["bbox"], one["area"], one["score"]) == (other["box"], other["area"], other["score"])


def test_coco_through_a_pipe_and_its_results(machine: Machine, here: Here) -> None:
    lay_out(machine)
    dataset = here("objects", "in", "--as", "coco", "-q", *QUICK)
    results = here("objects", "in", "--as", "coco-results", "-o", "-", "-q", *QUICK)
    for done in (dataset, results):
        assert (done.code, done.err.splitlines()) == (1, BROKEN)
        assert done.out.endswith(b"]\n") or done.out.endswith(b"}\n")
        assert done.out.count(b"\n") == 1
    (machine.desk / "truth.json").write_bytes(dataset.out)
    (machine.desk / "results.json").write_bytes(results.out)
    truth = COCO(machine.desk / "truth.json")
    found = truth.loadRes(str(machine.desk / "results.json"))
    assert len(found.getAnnIds()) == len(truth.getAnnIds()) >= 2
    for one, other in zip(json.loads(results.out), truth.dataset["annotations"], strict=True):
        assert one["image_id"] == other["image_id"]
        assert one["segmentation"] == other["segmentation"]
        assert one["score"] == other["score"]


def test_a_coco_file_is_named_after_its_photos(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.photo("in/photo.png")
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    assert here("objects", "in", "--as", "coco", "-q", *QUICK).out == b"in-objects.json\n"
    done = here("objects", "in/photo.png", "--as", "coco-results", "-q", *QUICK)
    assert done.out == b"photo.objects.json\n"
    shown = here("objects", "in", "--as", "coco", "-q", "-o", "-", *QUICK)  # text, not a picture
    assert json.loads(shown.out) == json.loads((machine.desk / "in-objects.json").read_text())


def test_records_and_a_coco_file(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    done = here("objects", photo, "--as", "coco", "--jsonl", "-q", *QUICK)
    assert json.loads(done.out)["output"] is None
    assert machine.files() == ["photo.png"]
    done = here("objects", photo, "-o", "all.json", "--json", "-q", *QUICK)
    (record,) = json.loads(done.out)
    (annotation, *_) = json.loads((machine.desk / "all.json").read_text())["annotations"]
    assert annotation["segmentation"] == record["objects"][0]["rle"]


def test_a_coco_file_of_nothing_is_valid(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    done = here("objects", "photo.png", "-o", "a.json", "-q", "--min-score", "1", "--size", "64")
    assert done.code == 0
    coco = COCO(machine.desk / "a.json")
    assert (len(coco.getImgIds()), coco.getAnnIds()) == (1, [])
    done = here("objects", "photo.png", "--as", "coco-results", "-q", "--min-score", "1", "--size", "64")
    assert done.out == b"[]\n"


def test_bad_photos_among_good_ones(machine: Machine, here: Here) -> None:
    lay_out(machine)
    done = here("objects", "in", "-o", "out", "--as", "labels", "-q", "--batch-size", "1", *QUICK)
    assert (done.code, done.out, done.err.splitlines()) == (1, b"out/a.png\nout/c.png\n", BROKEN)
    assert picture((machine.desk / "out/c.png").read_bytes()).size == (36, 48)


def test_a_second_run_needs_no_inference(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = machine.photo("photo.png")
    kept = ("--features-cache", "kept", "--jsonl", "-q", *QUICK)
    first = here("objects", photo, *kept)

    see_nothing(monkeypatch)
    assert here("objects", photo, *kept) == first
    assert (
        here(
            "objects", photo, "--by", "maskcut", "--n", "9", "--tau", "0.5", "--refine", "grabcut", *kept
        ).code
        == 0
    )
    failed(here("objects", photo, "--jsonl", "-q", *QUICK), 1, "looked at again")


@pytest.mark.parametrize("kind", ["overlay", "labels"])
def test_a_picture_is_not_named_json(machine: Machine, here: Here, kind: str) -> None:
    photo = machine.photo("photo.png")
    failed(here("objects", photo, "--as", kind, "-o", "a.json", "-q", *QUICK), 2, "a.json")


def test_records_at_a_terminal_come_without_a_file(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "stdout_kind", lambda: "terminal")
    done = here("objects", machine.photo("photo.png"), "--jsonl", "-q", "--as", "coco", *QUICK)
    assert json.loads(done.out)["input"].endswith("photo.png")
    assert machine.files() == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["gone.jpg"], 1, "gone.jpg: no such file"),
        (["photo.png", "-o", "notes.txt/a.json"], 1, "notes.txt/a.json: cannot be written: "),
        ([], 2, "missing argument 'PHOTO...'"),
        (["photo.png", "-o", "a.png", "--as", "coco"], 2, "a.png: JSON is written: let the name end with"),
        (["photo.png", "-o", "a.png", "--as", "coco-results"], 2, "a.png: JSON is written"),
        (["photo.png", "-o", "a.webp", "--as", "labels"], 2, "WebP cannot hold labels pictures"),
        (["photo.png", "in/other.png", "-o", "a.png"], 2, "a.png is one picture, and there are several"),
        (["photo.png", "-o", "photo.png"], 2, "photo.png is an input: choose another output"),
        (["photo.png", "--json", "--jsonl"], 2, "--json and --jsonl exclude each other"),
        (["photo.png", "--json", "-o", "-"], 2, "stdout takes the picture or the records, not both"),
        (["photo.png", "--json", "-o", "-", "--as", "coco"], 2, "not both"),
        (
            ["photo.png", "--as", "mask"],
            2,
            "'mask' is not one of 'overlay', 'labels', 'coco', 'coco-results'",
        ),
        (["photo.png", "--n", "0"], 2, "--n"),
        (["photo.png", "--tau", "2"], 2, "--tau"),
        (["photo.png", "--min-score", "-1"], 2, "--min-score"),
        (["photo.png", "--min-score", "nan"], 2, "--min-score"),
        (["photo.png", "--refine", "edges"], 2, "'edges' is not one of"),
        (["photo.png", "--layer", "9"], 2, "layer 9 of a model with 8 layers, 0 to 7"),
        (["photo.png", "--size", "0"], 2, "--size is 0, not greater than or equal to 1"),
        (["photo.png", "--tau", "0.3"], 2, "only by maskcut is there a tau"),
        (["photo.png", "--by", "maskcut", "--size", "64,96"], 2, "MaskCut looks at one"),
        (["-", "-"], 2, "standard input can be read only once"),
        (["empty"], 3, "no photo in empty"),
        (["empty", "--as", "coco"], 3, "no photo in empty"),
    ],
)
def test_what_goes_wrong_is_one_line(
    machine: Machine, here: Here, arguments: Sequence[str], code: int, reason: str
) -> None:
    machine.photo("photo.png")
    machine.photo("in/other.png")
    (machine.desk / "notes.txt").write_text("not a photo")
    Path(machine.desk / "empty").mkdir()
    before = {name: (machine.desk / name).read_bytes() for name in machine.files()}
    failed(here("objects", "-q", *arguments), code, reason)
    assert {name: (machine.desk / name).read_bytes() for name in machine.files()} == before
