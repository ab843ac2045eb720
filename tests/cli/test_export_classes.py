"""`crate export --label-from class`: what the run's own model sees in each object is its class."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from cratecli.geometry import Grid, Size, fit_grid
from cratecli.io.formats.record import annotate
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.runs.manifest import ManifestRow
from cratecli.runs.tensors import model_inputs
from cratecli.weights.checkpoint import load_model
from cratecli.weights.store import store_model
from tests.cli.conftest import Here, Machine, failed
from tests.support.runs import row, write_manifest

CONFIG = CrateConfig(patch_size=4, width=24, heads=3, depth=1, image_size=16, classes=2)
RED, BLUE, GREY = (220, 20, 20), (20, 20, 220), (128, 128, 128)
NAMES = {RED: "red thing", BLUE: "blue"}
PLACES = {"a.png": [(4, 4, RED), (30, 24, BLUE)], "b.jpg": [(6, 30, BLUE)], "c.png": []}
ELSE = "use --label NAME or --label-from folder\n"


def colour_model(
    path: Path,
    labels: tuple[str, ...] = tuple(NAMES.values()),
    others: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> str:
    """Store a model that tells red from blue, and give its file's SHA-256."""
    torch.manual_seed(0)
    model = Crate(CONFIG).eval()
    photos = [np.full((16, 16, 3), colour, np.uint8) for colour in NAMES]
    with torch.no_grad():
        red, blue = model.forward_features(model_inputs(photos, Grid(4, 4), model))[:, 0]
        toward = red - blue
        bias = -toward @ (red + blue) / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"head.weight": torch.stack([toward, -toward]), "head.bias": torch.stack([bias, -bias])}
    return store_model(path, CONFIG, {**model.state_dict(), **head, **others}, labels=labels)


def put_photo(path: Path, places: list[tuple[int, int, tuple[int, int, int]]]) -> str:
    """Paint squares of 12 px on grey; a JPEG is stored on its side, for EXIF to turn upright."""
    pixels = np.full((48, 44, 3), GREY, np.uint8)
    for top, left, colour in places:
        pixels[top : top + 12, left : left + 12] = colour
    image, exif = Image.fromarray(pixels), Image.Exif()
    if path.suffix == ".jpg":
        exif[ExifTags.Base.Orientation] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lay_out(desk: Path, **made: Any) -> None:
    """Lay out a run on photos of squares: each square is an object."""
    sha256 = colour_model(desk / "models/m.safetensors")
    about = {
        "command": "objects",
        "weights": "../models/m.safetensors",
        "weights_are": "file",
        "weights_sha256": sha256,
    }
    rows: list[ManifestRow] = []
    for name, places in PLACES.items():
        masks = [np.zeros((48, 44), bool) for _ in places]
        for mask, (top, left, _) in zip(masks, places, strict=True):
            mask[top : top + 12, left : left + 12] = True
        objects = [annotate(mask, 0.5) for mask in masks]
        photo = row(f"../photos/{name}", name, objects, put_photo(desk / "photos" / name, places), (48, 44))
        rows.append(photo.model_copy(update={"made": about | made}))
    write_manifest(desk / "run", rows)


def labels(content: bytes) -> dict[str, list[str]]:
    """List the labels of each photo of a COCO data set, its objects from the top down."""
    found = json.loads(content)
    names = {each["id"]: each["name"] for each in found["categories"]}
    return {
        image["file_name"]: [
            names[each["category_id"]]
            for each in sorted(found["annotations"], key=lambda each: each["bbox"][1])
            if each["image_id"] == image["id"]
        ]
        for image in found["images"]
    }


RIGHT = {name: [NAMES[colour] for *_, colour in places] for name, places in PLACES.items()}


def test_every_object_is_called_what_the_model_sees(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    done = here("export", "run", "--as", "coco", "--label-from", "class", "-o", "all.json")
    assert (done.code, done.lines) == (0, ["all.json"])
    assert done.err.splitlines()[0] == "crate: classes are those of models/m.safetensors, torch cpu float32"
    content = (machine.desk / "all.json").read_bytes()
    assert labels(content) == RIGHT
    assert json.loads(content)["info"]["crate"]["recipe"] == {"label_from": "class"}
    again = here("explain", "all.json")
    assert (again.code, again.out) == (
        0,
        b"crate export run --label-from class --as coco --output all.json\n",
    )


def test_in_every_format_and_frame(machine: Machine, here: Here) -> None:
    """Objects are named on the upright photo, in whatever frame their coordinates are written."""
    lay_out(machine.desk)
    asked = ("--label-from", "class", "-q")
    done = here("export", "run", "--as", "coco", *asked, "--orientation", "raw", "-o", "-")
    assert labels(done.out) == RIGHT
    assert [each["width"] for each in json.loads(done.out)["images"]] == [44, 48, 44]
    done = here("export", "run", "--as", "cvat-images", *asked, "-o", "-")
    assert (done.out.count(b'label="blue"'), done.out.count(b'label="red thing"')) == (2, 1)
    assert here("export", "run", "--as", "yolo", *asked, "-o", "yolo").code == 0
    assert '0: "blue"\n  1: "red thing"' in (machine.desk / "yolo/data.yaml").read_text()
    assert here("export", "run", "--as", "labels", *asked, "-o", "out").code == 0
    with Image.open(machine.desk / "out/a.png") as picture:
        assert (picture.getpixel((10, 10)), picture.getpixel((30, 36))) == (2, 1)
    again = here("explain", "out/a.png")
    assert again.out == b"crate export run --label-from class --as labels --output out\n"


def test_the_names_are_the_model_s_own(machine: Machine, here: Here) -> None:
    """A run's model is found where the run's provenance says; more crops than go together, plainly done one by one."""
    colour_model(machine.desk / "models/m.safetensors")
    for seed in range(3):
        machine.photo(f"photos/{seed}.png", (30, 24), seed)
    asked = ("--size", "16", "--heads", "all", "--keep", "top:0.5", "-m", "models/m.safetensors", "-q")
    assert here("segment", "photos", *asked, "-o", "run/").code == 0
    done = here("export", "run", "--as", "coco", "--label-from", "class", "-q", "-o", "-")
    found = json.loads(done.out)
    assert len(found["annotations"]) == 3
    model = load_model(machine.desk / "models/m.safetensors", device="cpu")
    for image, each in zip(found["images"], found["annotations"], strict=True):
        left, top, width, height = each["bbox"]
        more = round(0.1 * max(width, height))
        rgb = np.asarray(Image.open(machine.desk / "photos" / image["file_name"]).convert("RGB"))
        crop = rgb[max(0, top - more) : top + height + more, max(0, left - more) : left + width + more]
        scores = model(model_inputs([crop], fit_grid(Size(*crop.shape[:2]), 16, 4), model))
        expected = model.labels[int(scores.argmax())]
        assert found["categories"][each["category_id"] - 1]["name"] == expected


def test_many_objects_of_one_photo(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    places = [
        (4 * (n // 3), 14 * (n % 3), (RED, BLUE)[n % 2]) for n in (0, 1, 2, 9, 10, 11, 18, 19, 20, 27, 28, 29)
    ]
    sha256 = put_photo(machine.desk / "photos/d.png", places)
    found = []
    for top, left, _ in places:
        mask = np.zeros((48, 44), bool)
        mask[top : top + 12, left : left + 12] = True
        found.append(annotate(mask, 0.5))
    lines = (machine.desk / "run/manifest.jsonl").read_text()
    made = json.loads(lines.splitlines()[0])["made"]
    photo = row("../photos/d.png", "d.png", found, sha256, (48, 44)).model_copy(update={"made": made})
    (machine.desk / "run/manifest.jsonl").write_text(f"{lines}{photo.to_json()}\n")
    done = here("export", "run", "--as", "cvat-images", "--label-from", "class", "-q", "-o", "-")
    last = done.out.decode().rpartition("<image")[2]
    assert [part.partition('"')[0] for part in last.split('label="')[1:]] == [NAMES[c] for *_, c in places]


def test_each_photo_is_asked_of_its_own_model(machine: Machine, here: Here) -> None:
    """A manifest may hold rows of runs with different models."""
    lay_out(machine.desk)
    manifest = machine.desk / "run/manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    sha256 = colour_model(machine.desk / "models/other.safetensors", ("rouge", "bleu"))
    rows[1]["made"] |= {"weights": "../models/other.safetensors", "weights_sha256": sha256}
    rows[1]["options"] = "another digest"
    manifest.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    done = here("export", "run", "--as", "coco", "--label-from", "class", "-o", "-")
    assert labels(done.out) == RIGHT | {"b.jpg": ["bleu"]}
    assert done.err.count("crate: classes are those of ") == 2


def test_a_photo_that_is_not_as_it_was_fails_alone(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    put_photo(machine.desk / "photos/a.png", [])
    (machine.desk / "photos/c.png").unlink()  # nothing of it needs to be read again
    done = here("export", "run", "--as", "coco", "--label-from", "class", "-o", "-")
    assert done.code == 1
    assert "crate: photos/a.png: not the photo of the run: its bytes have changed\n" in done.err
    assert labels(done.out) == {name: found for name, found in RIGHT.items() if name != "a.png"}


@pytest.mark.parametrize(
    ("made", "code", "reason"),
    [
        ({"weights_sha256": None}, 2, "manifest.jsonl: does not say which model was asked: " + ELSE),
        (
            {"weights_sha256": "0f"},
            4,
            "models/m.safetensors: not the same model; the run asked one with sha256 0f: " + ELSE,
        ),
        (
            {"weights": "../gone.pt"},
            4,
            "gone.pt: the model is not there any more; the run asked one with sha256 ",
        ),
        (
            {"weights": "crate-nono", "weights_are": None},
            2,
            "no model 'crate-nono', did you mean crate-nano?",
        ),
        (
            {"weights": "crate-nano", "weights_are": None},
            4,
            "crate-nano: not the same model; the run asked one ",
        ),
        ({"weights": "a\0b"}, 4, "the model is not there any more"),
        ({"weights": 3}, 2, "does not say which model was asked"),
    ],
)
def test_another_model_than_the_run_s(
    machine: Machine, here: Here, made: dict[str, Any], code: int, reason: str
) -> None:
    lay_out(machine.desk, **made)
    failed(here("export", "run", "--as", "coco", "--label-from", "class", "-o", "all.json"), code, reason)
    assert not (machine.desk / "all.json").exists()


def test_a_model_whose_classes_have_no_names(machine: Machine, here: Here) -> None:
    sha256 = colour_model(machine.desk / "plain.safetensors", ())
    lay_out(machine.desk, weights="../plain.safetensors", weights_sha256=sha256)
    reason = "plain.safetensors has no names for its classes: " + ELSE
    failed(here("export", "run", "--as", "coco", "--label-from", "class", "-o", "all.json"), 2, reason)


def test_scores_that_are_no_numbers(machine: Machine, here: Here) -> None:
    huge = {"head.bias": torch.full((2,), 3e38), "head.weight": torch.full((2, 24), 3e38)}
    sha256 = colour_model(machine.desk / "huge.safetensors", others=huge)
    lay_out(machine.desk, weights="../huge.safetensors", weights_sha256=sha256)
    done = here("export", "run", "--as", "coco", "--label-from", "class", "-o", "-", "-q")
    assert done.code == 1
    assert "crate: photos/a.png: the model's class scores are not finite\n" in done.err
    assert list(labels(done.out)) == ["c.png"]
