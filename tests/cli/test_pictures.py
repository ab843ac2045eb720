"""`--background`, `--crop`, `--ending` and the endings of names, as their user meets them."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Here, Machine, failed, never, picture

QUICK = ("--heads", "agree", "--refine", "none", "--size", "64", "--layer", "-1", "-q")


def record(here: Here, *arguments: str) -> Any:
    (told,) = json.loads(here("segment", "photo.png", *QUICK, "--json", *arguments).out)
    return told


def test_a_cropped_cutout_on_white_as_jpeg(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    told = record(here, "--background", "white", "--crop", "--margin", "0.1", "-o", "out.jpg")
    left, top, width, height = told["cropped"]
    box = told["box"]
    room = round(0.1 * max(box[2:]))
    assert (left, top) == (max(0, box[0] - room), max(0, box[1] - room))
    image = picture((machine.desk / "out.jpg").read_bytes())
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (width, height))
    here("segment", "photo.png", *QUICK, "-o", "mask.png")
    mask = np.asarray(Image.open(machine.desk / "mask.png"))[top : top + height, left : left + width] > 0
    shown = np.asarray(image).astype(int)
    assert shown[~mask].mean() > 245
    assert shown[mask].mean() < 200
    assert told["area"] == np.count_nonzero(np.asarray(Image.open(machine.desk / "mask.png")))


@pytest.mark.parametrize(
    ("arguments", "name", "form"),
    [
        (("-o", "new.webp"), "new.webp", "WEBP"),
        (("-o", "out/", "--ending", "webp"), "out/photo.webp", "WEBP"),
        (("-o", "new.jpeg", "--as", "overlay"), "new.jpeg", "JPEG"),
        (("--as", "overlay", "--ending", "jpg"), None, "JPEG"),
    ],
)
def test_names_and_bytes_agree(
    machine: Machine, here: Here, arguments: tuple[str, ...], name: str | None, form: str
) -> None:
    machine.photo("photo.png")
    done = here("segment", "photo.png", *QUICK, *arguments)
    content = (machine.desk / name).read_bytes() if name else done.out
    assert (done.code, picture(content).format) == (0, form)


def test_a_folder_in_webp_is_resumed(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.jpg", "b.png"):
        machine.photo(f"photos/{name}")
    run = ("segment", "photos", *QUICK, "-o", "out", "--ending", "webp", "--background", "#808080")
    assert here(*run).code == 0
    assert [name for name in machine.files() if name.startswith("out")] == [
        *("out/a.webp", "out/b.jpg.webp", "out/b.png.webp")
    ]
    before = (machine.desk / "out/a.webp").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("cratecli.tasks.segment.decide", never)
        assert here(*run, "--resume").code == 0
    other = (*run[:-1], "black")
    assert here(*other, "--resume").code == 0
    assert (machine.desk / "out/a.webp").read_bytes() != before


def test_a_background_that_has_changed_is_another(machine: Machine, here: Here) -> None:
    machine.photo("photos/a.png")
    machine.photo("ground.png", seed=1)
    run = ("segment", "photos", *QUICK, "-o", "out", "--background", "ground.png", "--resume")
    assert here(*run).code == 0
    before = (machine.desk / "out/a.png").read_bytes()
    machine.photo("ground.png", seed=2)
    told = here("explain", "out/a.png")
    assert "ground.png: not the background it was made with" in told.err
    assert here(*run).code == 0
    assert (machine.desk / "out/a.png").read_bytes() != before
    assert here("explain", "out/a.png").err == ""


def test_objects_go_where_names_end(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    assert here("objects", "photo.png", "-q", "--refine", "none", "--size", "64", "-o", "a.jpg").code == 0
    assert picture((machine.desk / "a.jpg").read_bytes()).format == "JPEG"
    assert b"crate objects photo.png" in here("explain", "a.jpg").out


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("-o", "x.json", "--crop"), 2, "--crop is of pictures: a COCO file has none"),
        (("--as", "coco", "--ending", "webp"), 2, "--ending is of pictures"),
        (("--background", "nope"), 2, "background 'nope': neither a colour"),
        (("--background", "photo.png", "-o", "photo.png"), 2, "photo.png is an input"),
        (("--background", "ground.png", "-o", "ground.png"), 2, "ground.png is read by this run"),
        (("--background", "text.png"), 1, "text.png: not an image"),
        (("-o", "x.jpg"), 2, "JPEG alters mask pictures"),
        (("-o", "x.png", "--ending", "jpg"), 2, "does not end with .jpg"),
        (("--margin", "0.1"), 2, "--margin is room around what is cropped"),
        (("--crop", "--margin", "2"), 2, "--margin is 2.0, not less than or equal to 1"),
    ],
)
def test_what_means_nothing_is_one_line(
    machine: Machine, here: Here, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    machine.photo("photo.png")
    machine.photo("ground.png", seed=1)
    (machine.desk / "text.png").write_text("no photo")
    before = machine.files()
    failed(here("segment", "photo.png", *QUICK, *arguments), code, reason)
    assert machine.files() == before


@pytest.mark.slow
def test_soft_edges_to_the_byte(machine: Machine, here: Here) -> None:
    pytest.importorskip("pymatting", reason="pip install 'cratecli[matting]'")
    for name in ("a.png", "b.png", "c.png"):
        machine.photo(f"photos/{name}", (96, 72), seed=ord(name[0]))
    assert here("segment", "photos", *QUICK, "--matting", "--crop", "-o", "out").code == 0
    before = (machine.desk / "out/a.png").read_bytes()
    alpha = np.asarray(picture(before))[..., 3]
    assert ((alpha > 10) & (alpha < 245)).any()
    assert alpha.any(axis=0).all()
    assert alpha.any(axis=1).all()
    told = here("explain", "out/a.png")
    assert b"--crop --matting" in told.out
    (machine.desk / "out/a.png").unlink()
    assert here(*told.out.decode().split()[1:], "-q").code == 0
    assert (machine.desk / "out/a.png").read_bytes() == before
