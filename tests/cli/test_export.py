"""`crate export` as its user meets it: every format, the reported IoU, and one line for whatever goes wrong."""

import errno
import hashlib
import io
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools.coco import COCO

from cratecli.cli.commands import export as command
from cratecli.handover.finished_run import read_run
from cratecli.handover.records import ExportRecord
from cratecli.io import images
from cratecli.io.formats import FORMATS_WITH, png
from cratecli.io.formats.record import annotate, decode_rle
from cratecli.io.formats.table import FORMATS, OneFile
from tests.cli.conftest import TO_STDOUT, Here, Machine, failed
from tests.support.annotations import blobs, specks, split
from tests.support.runs import lay_out, row, write_manifest, write_photo
from tests.support.warm import warm_crate

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PHOTOS = ["photos/a.jpg", "photos/b.jpg", "photos/b.png", "photos/sub/a.png"]
LOSSLESS = "crate: 4 photos exported and read again: nothing is lost, IoU 1\n"


# Real processes, in a folder that is not the checkout.


HEAVY = {"torch", "timm", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [(["--help"], HEAVY | {"numpy", "PIL", "cv2", "scipy"}), (["run", "--as", "npz", "-o", "out"], HEAVY)],
)
def test_no_more_is_loaded_than_needed(machine: Machine, arguments: list[str], absent: set[str]) -> None:
    lay_out(machine.desk)
    done = machine.crate("export", *arguments, PYTHONPROFILEIMPORTTIME="1")
    assert done.code == 0
    assert done.out
    loaded = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "cratecli.cli.app" in loaded
    assert not {name for name in loaded if name.split(".")[0] in absent}


def test_a_reader_that_leaves(machine: Machine) -> None:
    """The file is longer than a pipe holds, and its reader takes a few bytes."""
    found = [annotate(specks(400, 500, 0.5, seed), 0.5) for seed in range(3)]
    write_manifest(machine.desk / "run", [row("a.jpg", "a.png", found, size=(400, 500))])
    with machine.start("export", "run", "--as", "coco", "-q") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == '{"info": {'
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout(machine: Machine) -> None:
    lay_out(machine.desk)
    with Path("/dev/full").open("wb") as full:
        done = machine.crate("export", "run", "--as", "coco", "-q", stdout=full)
    assert (done.code, done.err) == (
        1,
        "crate: standard output: cannot be written: No space left on device\n",
    )


def test_closed_streams(machine: Machine) -> None:
    lay_out(machine.desk)
    for closed in ("<&- >&-", "<&- >&- 2>&-", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"exec {warm_crate()} export run --as labels -o out {closed}"],
            cwd=machine.desk,
            env=machine.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr
    assert len([name for name in machine.files() if name.startswith("out/")]) == 5


# The same command line in this process: quicker.


def test_a_pipe_gets_the_file(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    done = here("export", "run", "--as", "coco")
    assert (done.code, done.err) == (0, TO_STDOUT + LOSSLESS)
    assert [each["file_name"] for each in json.loads(done.out)["images"]] == [
        "a.jpg",
        "b.jpg",
        "b.png",
        "sub/a.png",
    ]
    assert not [name for name in machine.files() if not name.startswith(("photos/", "run/"))]
    same = here("export", "run/manifest.jsonl", "--as", "coco", "-o", "-", "-q")
    assert (same.out, same.err) == (done.out, "")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills(machine: Machine, here: Here) -> None:
    """Nothing half-written stays, and what was there before does."""
    lay_out(machine.desk)
    (machine.desk / "all.json").write_text("as before")
    before = machine.files()
    places = {"all.json": "all.json", "out/": "out/b.png.png", "-": "a temporary file"}
    for kind, output in (("coco", "all.json"), ("mask", "out/"), ("coco", "-")):
        with file_size_limit(500):
            done = here("export", "run", "--as", kind, "-o", output)
        assert done.code == 1
        assert done.out == (b"out/a.png\nout/b.jpg.png\n" if kind == "mask" else b"")
        left = "; 2 of 4 photos exported\n" if kind == "mask" else "; set TMPDIR" if output == "-" else "\n"
        assert f"crate: {places[output]}: cannot be written: File too large{left}" in done.err
    assert (machine.desk / "all.json").read_text() == "as before"
    assert machine.files() == sorted([*before, "out/a.png", "out/b.jpg.png"])


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(machine: Machine, here: Here, kind: str) -> None:
    run, form = lay_out(machine.desk), FORMATS[kind]
    target = f"new/all.{form.ending}" if isinstance(form, OneFile) else "new"
    done = here("export", "run", "--as", kind, "-o", target)
    assert done.code == 0
    assert sorted(done.lines) == [name for name in machine.files() if name.startswith("new/")]
    assert done.lines[0] == (target if isinstance(form, OneFile) else done.lines[0])
    if kind == "overlay":
        assert done.err == "crate: 4 photos exported; pictures to look at have no IoU\n"
    elif kind == "yolo":
        head, *rows, last = done.err.splitlines()
        assert head.split() == ["IoU", "photo"]
        assert [line.split()[1] for line in rows] == ["photos/b.png", "photos/a.jpg", "photos/sub/a.png"][
            : len(rows)
        ]
        assert last.startswith("crate: 4 photos exported and read again: IoU mean 0.")
        assert last.endswith("(photos/b.png)")
    elif kind == "label-studio":
        root, told = done.err.splitlines(keepends=True)
        assert (f" document root is {machine.desk}; " in root, told) == (True, LOSSLESS)
    elif kind.startswith("cvat"):
        alike, told = done.err.splitlines(keepends=True)
        assert (" would mix up b.jpg, b.png: " in alike, told) == (True, LOSSLESS)
    else:
        assert done.err == LOSSLESS
    assert len(list(read_run(run))) == 4


def test_records(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    done = here("export", "run", "--as", "mask", "-o", "out", "--jsonl", "-q")
    records = [json.loads(line) for line in done.lines]
    assert (done.code, done.err) == (0, "")
    assert records[2] == {"input": "photos/b.png", "output": "out/b.png.png", "objects": 2, "iou": 1.0}
    assert list(records[2]) == list(ExportRecord.model_fields)
    assert [each["input"] for each in records] == PHOTOS
    done = here("export", "run", "--as", "yolo", "-o", "out", "--json")
    records = json.loads(done.out)
    assert [each["output"] for each in records] == [
        f"out/labels/{name}.txt" for name in ("a", "b.jpg", "b.png", "sub/a")
    ]
    assert 0 < records[2]["iou"] < 1
    assert [each["iou"] for each in json.loads(here("export", "run", "--as", "overlay", "--json").out)] == [
        None
    ] * 4
    (one, *_) = json.loads(here("export", "run", "--as", "coco", "--json").out)
    assert one["output"] == "run-coco.json"
    assert (machine.desk / "run-coco.json").is_file()


def test_names_where_none_is_given(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(machine.desk)
    (machine.desk / "there").mkdir()
    assert here("export", "run", "--as", "npz", "-q").lines[0] == "run-npz/a.npz"
    assert here("export", "run", "--as", "cvat-images", "-o", "there", "-q").lines == [
        "there/run-cvat-images.xml"
    ]
    assert here("export", "run", "--as", "coco", "-o", "new/", "-q").lines == ["new/run-coco.json"]
    monkeypatch.setattr(command, "stdout_kind", lambda: "terminal")
    assert here("export", "run", "--as", "coco", "-q").lines == ["run-coco.json"]
    failed(here("export", "run", "--as", "cvat-masks", "-o", "-"), 2, "no zip goes to a terminal")
    assert here("export", "run", "--as", "coco-results", "-o", "-", "-q").out.startswith(b"[{")


def test_the_worst_of_many_are_shown(machine: Machine, here: Here) -> None:
    ring = blobs(40, 60) & ~np.eye(40, 60, dtype=bool)
    rows = [row(f"[red]{n}\x1b.jpg", f"{n}.png", [annotate(ring, 0.5)]) for n in range(15)]
    write_manifest(machine.desk / "run", rows)
    done = here("export", "run", "--as", "yolo", "-o", "out", "--photos", "none")
    assert done.code == 0
    gone, _, *shown, last = done.err.splitlines()
    assert gone.endswith(" and 12 more")
    assert len(shown) == 10
    assert shown[0].split()[1] == r"run/[red]0\x1b.jpg"
    assert last.startswith("crate: 15 photos exported and read again: IoU mean 0.")
    assert "\x1b" not in done.err
    assert here("export", "run", "--as", "yolo", "-o", "out", "--photos", "none", "-q").err == ""


def ultralytics_labels(photo: Path) -> Path:
    """Say where ultralytics looks for a photo's labels: for its last `images`, folders resolved, comes `labels`."""
    place = photo.parent.resolve() / photo.name
    before, within = str(place).rsplit("/images/", 1)
    return Path(before) / "labels" / Path(within).with_suffix(".txt")


@pytest.mark.parametrize("how", ["link", "copy"])
def test_yolo_finds_the_labels_of_photos(machine: Machine, here: Here, how: str) -> None:
    """Also again, over an earlier export; of two photos that share a stem, and in a folder called `images`."""
    found = [annotate(blobs(40, 60), 0.5)]
    names = ["a.jpg", "b.jpg", "b.png", "images/c.PNG"]
    rows = [row(f"../photos/{n}", n + ".png", found, write_photo(machine.desk / "photos" / n)) for n in names]
    write_manifest(machine.desk / "run", rows)
    for earlier in ("link", "copy", how):
        done = here("export", "run", "--as", "yolo", "-o", "yolo", "--photos", earlier, "-q")
        assert (done.code, done.err) == (0, "")
    placed = ["a.jpg", "b.jpg.jpg", "b.png.png", "images-/c.PNG"]
    assert sorted(done.lines) == sorted(name for name in machine.files() if name.startswith("yolo/"))
    for name, place in zip(names, placed, strict=True):
        photo = machine.desk / "yolo/images" / place
        assert photo.is_symlink() == (how == "link")
        assert photo.read_bytes() == (machine.desk / "photos" / name).read_bytes()
        assert ultralytics_labels(photo).read_text().startswith("0 0.")
    assert not (machine.desk / "photos/a.jpg").is_symlink()


@pytest.mark.parametrize("how", ["link", "copy"])
def test_what_an_earlier_export_left_of_photos_that_are_gone(machine: Machine, here: Here, how: str) -> None:
    """Pruned, it goes, also under the name that another photo forced on it; what is not ours stays, and is named."""
    found = [annotate(blobs(40, 60), 0.5)]
    names = ["a.jpg", "b.jpg", "b.png", "c.jpg", "d.jpg", "e.jpg"]
    rows = [
        row(f"../photos/{n}", n + ".png", found, write_photo(machine.desk / "photos" / n, seed=len(n)))
        for n in names
    ]
    write_manifest(machine.desk / "run", rows)
    export = ("export", "run", "--as", "yolo", "-o", "y", "--photos", how)
    assert here(*export, "-q").code == 0
    yolo = machine.desk / "y"
    for name in ("b.png", "c.jpg", "d.jpg", "e.jpg"):
        (machine.desk / "photos" / name).unlink()
    (yolo / "labels/d.txt").write_text("0 0.1 0.1 0.2 0.2 0.3 0.1\n")
    (yolo / "images/e.jpg").unlink()
    (yolo / "images/e.jpg").symlink_to("elsewhere.jpg")
    (yolo / "images/mine.jpg").write_bytes(b"mine")
    (yolo / "labels/notes.md").write_text("mine")
    before = {path for path in yolo.rglob("*") if not path.is_dir()}
    done = here(*export)
    assert done.code == 1
    said = "crate: of no photo that was exported, and still there: y/images/b.png.png, y/images/c.jpg, y/images/d.jpg"
    assert [line for line in done.err.splitlines() if line.startswith(said)]
    assert {path for path in yolo.rglob("*") if not path.is_dir()} == before
    done = here(*export, "--prune")
    assert done.code == 0
    said = "crate: of an earlier export, and removed: y/images/b.jpg.jpg, y/images/b.png.png, y/images/c.jpg and 5 more"
    kept = (
        "crate: of no photo that was exported, and still there: y/images/e.jpg, y/images/mine.jpg, "
        "y/labels/d.txt; delete them, unless they are yours"
    )
    assert [line for line in done.err.splitlines() if "earlier" in line or "still" in line] == [said, kept]
    assert sorted(path.relative_to(yolo).as_posix() for path in yolo.rglob("*") if not path.is_dir()) == [
        "data.yaml",
        *(f"images/{name}" for name in ("a.jpg", "b.jpg", "e.jpg", "mine.jpg")),
        *(f"labels/{name}" for name in ("a.txt", "b.txt", "d.txt", "notes.md")),
    ]
    assert sorted(path.name for path in (machine.desk / "photos").iterdir()) == ["a.jpg", "b.jpg"]
    assert "earlier" not in here(*export, "--prune").err


def test_photos_that_somebody_put_beside_labels_stay(machine: Machine, here: Here) -> None:
    """A link to the folder of photos is not looked into; photos that have labels are told of no more."""
    found = [annotate(blobs(40, 60), 0.5)]
    names = ["a.jpg", "b.jpg"]
    rows = [row(f"../photos/{n}", n + ".png", found, write_photo(machine.desk / "photos" / n)) for n in names]
    write_manifest(machine.desk / "run", rows)
    export = ("export", "run", "--as", "yolo", "-o", "y", "--photos", "none")
    assert here(*export, "-q").code == 0
    (machine.desk / "y/images").symlink_to("../photos")
    assert "still there" not in here(*export).err
    (machine.desk / "photos/b.jpg").unlink()
    done = here(*export, "--prune")
    assert "crate: of an earlier export, and removed: y/labels/b.txt" in done.err.splitlines()
    assert (machine.desk / "photos/a.jpg").exists()


@pytest.mark.parametrize("kind", ["mask", "labels", "npz", "cutout"])
def test_what_is_left_of_photos_that_are_gone_in_other_formats(
    machine: Machine, here: Here, kind: str
) -> None:
    """A cut-out cannot be made again to compare: it stays, and is named."""
    lay_out(machine.desk)
    export = ("export", "run", "--as", kind, "-o", "out")
    assert here(*export, "-q").code == 0
    (machine.desk / "out/mine.txt").touch()
    (machine.desk / "photos/a.jpg").unlink()
    done = here(*export, "--prune")
    left = f"out/a.{'npz' if kind == 'npz' else 'png'}"
    said = {
        "cutout": f"of no photo that was exported, and still there: {left}; delete them, unless they are yours"
    }.get(kind, f"of an earlier export, and removed: {left}")
    assert (done.code, f"crate: {said}" in done.err.splitlines()) == (0, True)
    assert (left in machine.files()) == (kind == "cutout")
    assert "out/mine.txt" in machine.files()


def test_photos_that_cannot_stand_beside_labels(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    (machine.desk / "photos/a.jpg").write_bytes(b"changed")
    (machine.desk / "photos/b.jpg").unlink()
    done = here("export", "run", "--as", "yolo", "-o", "yolo")
    assert (done.code, len(done.lines)) == (1, 5)
    assert done.err.splitlines()[:3] == [
        "crate: no longer there, exported all the same: photos/b.jpg; --prune leaves them out",
        "crate: photos/a.jpg: not the photo of the run: its bytes have changed",
        "crate: photos/b.jpg: no such file",
    ]
    assert here("export", "run", "--as", "yolo", "-o", "none", "--photos", "none").code == 0
    write_manifest(machine.desk / "run", [row("../photos/a.gif", "a.png", [])])
    failed_ = here("export", "run", "--as", "yolo", "-o", "gif")
    assert (failed_.code, "photos/a.gif: the tool reads .avif" in failed_.err) == (1, True)
    (machine.desk / "old/labels").mkdir(parents=True)
    (machine.desk / "old/images").symlink_to("../photos")
    lay_out(machine.desk)
    failed(
        here("export", "run", "--as", "yolo", "-o", "old"), 2, "old/images/a.jpg belongs to the run itself"
    )
    failed(here("export", "run", "--as", "coco", "--photos", "link"), 2, "--photos is for yolo")


@pytest.mark.parametrize(
    "odd", [b"t\tb.jpg", b"two\nlines.jpg", b"back\\slash.jpg", b"\xff.jpg", b"... /b.jpg"]
)
def test_an_odd_name_does_not_take_the_root_of_the_others(machine: Machine, here: Here, odd: bytes) -> None:
    """What formats cannot hold is escaped in a photo's name; its folder is still the one of all."""
    names = ["sub/a.jpg", os.fsdecode(odd)]
    rows = [row(f"../photos/{n}", None, [], write_photo(machine.desk / "photos" / n)) for n in names]
    write_manifest(machine.desk / "run", rows)
    tasks = exported(here, "label-studio")
    assert "/data/local-files/?d=photos/sub/a.jpg" in [each["data"]["image"] for each in tasks]
    assert all(each["data"]["image"].startswith("/data/local-files/?d=photos/") for each in tasks)
    assert exported(here, "coco")["info"]["root"] == "photos"


@pytest.mark.parametrize("how", ["link", "copy"])
def test_what_somebody_put_where_photos_go_stays(machine: Machine, here: Here, how: str) -> None:
    """Each such photo fails alone, in one line; the others are exported."""
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    rows = [row(f"../photos/{n}", n + ".png", [], write_photo(machine.desk / "photos" / n)) for n in names]
    write_manifest(machine.desk / "run", rows)
    images_ = machine.desk / "y/images"
    (images_ / "a.jpg").mkdir(parents=True)
    (images_ / "b.jpg").write_bytes(b"mine")
    (images_ / "c.jpg").symlink_to("b.jpg")
    os.mkfifo(images_ / "d.jpg")
    done = here("export", "run", "--as", "yolo", "-o", "y", "--photos", how, "-q")
    assert done.code == 1
    assert done.err.splitlines() == [
        *(
            f"crate: y/images/{n}: stays as it is, for it is not photos/{n}: move it, or choose another folder"
            for n in names[:4]
        ),
        "crate: 4 of 5 photos failed",
    ]
    assert (images_ / "b.jpg").read_bytes() == (images_ / "c.jpg").read_bytes() == b"mine"
    assert (images_ / "c.jpg").is_symlink()
    assert (images_ / "d.jpg").is_fifo()
    assert (images_ / "e.jpg").read_bytes() == (machine.desk / "photos/e.jpg").read_bytes()
    assert [path.name for path in (machine.desk / "y/labels").iterdir()] == ["e.txt"]


def test_links_that_cannot_be_made(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fails alone; where the file system has none, that is said once."""
    names = ["a.jpg", "sub/b.jpg"]
    rows = [row(f"../photos/{n}", n + ".png", [], write_photo(machine.desk / "photos" / n)) for n in names]
    write_manifest(machine.desk / "run", rows)
    (machine.desk / "y/images").mkdir(parents=True)
    (machine.desk / "y/images/sub").write_bytes(b"a file")
    export = ("export", "run", "--as", "yolo", "-o")
    done = here(*export, "y", "-q")
    assert (done.code, len(done.lines)) == (1, 3)
    assert done.err.splitlines() == [
        "crate: y/images/sub/b.jpg: cannot be written: File exists",
        "crate: 1 of 2 photos failed",
    ]

    def refuse(path: Path, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", target, None, str(path))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    said = (
        "z/images/a.jpg: no link can be made: Operation not permitted; --photos copy copies the photo; 0 of 2"
    )
    failed(here(*export, "z", "-q"), 1, said)
    assert here(*export, "z", "-q", "--photos", "copy").code == 0


def exported(here: Here, *arguments: str) -> Any:
    done = here("export", "run", "--as", *arguments, "-o", "-")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_labels_and_names_that_are_chosen(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    coco = exported(here, "coco", "--label", "cat")
    assert [each["name"] for each in coco["categories"]] == ["cat"]
    assert (coco["info"]["root"], coco["info"]["crate"]["recipe"]) == ("photos", {"label": "cat"})
    coco = exported(here, "coco", "--label-from", "folder", "--root", ".")
    assert [each["file_name"] for each in coco["images"]] == PHOTOS
    labels = {each["id"]: each["name"] for each in coco["categories"]}
    images = {each["id"]: each["file_name"] for each in coco["images"]}
    found = {images[each["image_id"]]: labels[each["category_id"]] for each in coco["annotations"]}
    assert found == {"photos/a.jpg": "photos", "photos/b.png": "photos", "photos/sub/a.png": "sub"}
    failed(
        here("export", "run", "--as", "coco", "--root", "photos/sub"), 2, "photos/a.jpg is not below --root"
    )
    failed(here("export", "run", "--as", "coco", "--label", "a", "--label-from", "folder"), 2, "exclude each")


def test_ids_of_another_file(machine: Machine, here: Here) -> None:
    """So results can be scored against annotations that are there already."""
    lay_out(machine.desk)
    names = [name.removeprefix("photos/") for name in reversed(PHOTOS)]
    theirs = {
        "images": [
            {"id": 100 + number, "file_name": f"val/{name}", "height": 40, "width": 60}
            for number, name in enumerate([*names, "more.jpg"])
        ],
        "categories": [{"id": 3, "name": "car"}, {"id": 17, "name": "cat"}],
        "annotations": [],
    }
    (machine.desk / "instances.json").write_text(json.dumps(theirs))
    ids = ("--ids-from", "instances.json", "--label", "cat")
    results = exported(here, "coco-results", *ids)
    assert {each["image_id"] for each in results} == {100, 101, 103}
    assert {each["category_id"] for each in results} == {17}
    (machine.desk / "results.json").write_text(json.dumps(results))
    truth = COCO(machine.desk / "instances.json")
    assert len(truth.loadRes(str(machine.desk / "results.json")).anns) == len(results)
    assert {each["id"] for each in exported(here, "coco", *ids)["images"]} == {100, 101, 102, 103}
    as_ = ("export", "run", "--as", "coco-results", "-o", "out.json")
    failed(here(*as_, *ids[:2]), 1, "instances.json: has no category 'object': --label gives one of car, cat")
    theirs["images"][0]["height"] = 60
    (machine.desk / "instances.json").write_text(json.dumps(theirs))
    failed(here(*as_, *ids), 1, "sub/a.png is 60 × 60 px there, and upright 60 × 40")
    theirs["images"] = theirs["images"][1:]
    (machine.desk / "instances.json").write_text(json.dumps(theirs))
    failed(here(*as_, *ids), 1, "instances.json: has no image with the file name sub/a.png")
    failed(here(*as_, "--ids-from", "run/manifest.jsonl"), 1, "run/manifest.jsonl: ")
    failed(here("export", "run", "--as", "yolo", *ids[:2]), 2, "--ids-from is of no use to yolo")


def test_polygons_of_coco(machine: Machine, here: Here) -> None:
    """They follow the edges of pixels: only holes are lost, and that is told."""
    ring = np.ones((40, 60), bool)
    ring[10:20, 10:20] = False
    two = np.zeros((40, 60), bool)
    two[2:9, 3:20] = two[30:32, 50:59] = True
    write_manifest(machine.desk / "run", [row("a.jpg", "a.png", [annotate(two, 0.5), annotate(ring, 0.5)])])
    done = here("export", "run", "--as", "coco", "--polygons", "-o", "all.json", "--jsonl", "-q")
    assert (done.code, json.loads(done.out)["iou"]) == (0, pytest.approx((1 + 2300 / 2400) / 2))
    tools = COCO(machine.desk / "all.json")
    first, second = (tools.annToMask(each) for each in tools.dataset["annotations"])
    np.testing.assert_array_equal(first, two)
    assert second.all()
    assert all(isinstance(each["segmentation"], list) for each in tools.dataset["annotations"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_frame_of_the_file(machine: Machine, here: Here, orientation: int) -> None:
    """What `segment` makes of a turned photo lies, raw, where the file's own pixels are."""
    stored = np.zeros((40, 60), bool)
    stored[4:12, 20:57] = True
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = Image.fromarray(stored.astype(np.uint8) * 255)
    (machine.desk / "photos").mkdir()
    picture.save(machine.desk / "photos/a.png", exif=exif)
    content = (machine.desk / "photos/a.png").read_bytes()
    upright = images.read_bytes(content, "a.png")[..., 0] > 0
    sha256 = hashlib.sha256(content).hexdigest()
    found = row("../photos/a.png", "a.png", [annotate(upright, 0.5)], sha256, upright.shape)
    write_manifest(machine.desk / "run", [found])
    coco = exported(here, "coco", "--orientation", "raw")
    (image,), (each,) = coco["images"], coco["annotations"]
    assert (image["height"], image["width"], each["bbox"]) == (40, 60, [20, 4, 37, 8])
    np.testing.assert_array_equal(decode_rle(each["segmentation"]), stored)
    assert coco["info"]["crate"]["orientation"] == "as stored, EXIF not applied"
    assert (exported(here, "coco")["images"][0]["height"] == 40) == (orientation < 5)


def test_the_frame_of_files_that_are_gone(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    (machine.desk / "photos/a.jpg").unlink()
    done = here("export", "run", "--as", "coco", "--orientation", "raw", "-o", "all.json")
    assert (done.code, done.err.splitlines()[1]) == (1, "crate: photos/a.jpg: no such file")
    assert len(json.loads((machine.desk / "all.json").read_text())["images"]) == 3
    failed(
        here("export", "run", "--as", "cutout", "--orientation", "raw"),
        2,
        "--orientation is of no use to cut",
    )


def test_where_label_studio_finds_photos(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    tasks = exported(here, "label-studio")
    names = ["b.jpg", "a.jpg", "sub/a.png", "b.png"]  # the least sure first
    assert [each["data"]["image"] for each in tasks] == [f"/data/local-files/?d=photos/{n}" for n in names]
    assert [each["predictions"][0]["score"] for each in tasks] == [0.0, 0.1, 0.1, pytest.approx(0.1625)]
    (first, *_) = exported(here, "label-studio", "--prefix", "/my photos/set/")
    assert first["data"]["image"] == "/data/local-files/?d=my%20photos/set/b.jpg"
    (first, *_) = exported(here, "label-studio", "--prefix", "")
    assert first["data"]["image"] == "/data/local-files/?d=b.jpg"


def test_how_sure_it_is_that_nothing_is_there_is_on_record(machine: Machine, here: Here) -> None:
    mask = np.arange(40 * 60).reshape(40, 60) < 99
    empties = [row(f"../{name}", name, []) for name in ("a.png", "b.png", "c.png")]
    for each, confidence in zip(empties, (0.4, 0.1, "unsure"), strict=True):
        each.made["confidence"] = confidence
    found = row("../d.png", "d.png", [annotate(mask, 0.2)])
    write_manifest(machine.desk / "run", [*empties, found])
    tasks = exported(here, "label-studio")
    assert [each["predictions"][0]["score"] for each in tasks] == [0.0, 0.1, 0.2, 0.4]


def test_an_export_that_was_changed_is_explained(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    done = here(
        "export", "run", "--as", "coco", "--label", "cat", "--root", ".", "--polygons", "-o", "new/a.json"
    )
    assert done.code == 0
    told = here("explain", "new/a.json", "-q").lines[0]
    assert told == "crate export run --label cat --root . --polygons --as coco --output new/a.json"
    before = (machine.desk / "new/a.json").read_bytes()
    assert here(*told.split()[1:]).code == 0
    assert (machine.desk / "new/a.json").read_bytes() == before


def edited_run(machine: Machine, kind: str = "mask") -> Path:
    """Lay out a run of segment with an output for each photo; gives its folder."""
    mask = blobs(40, 60)
    (machine.desk / "run").mkdir(exist_ok=True)
    rows = []
    for seed, name in enumerate("abc"):
        found = [annotate(mask, 0.25, "cat")] if name != "c" else []
        content = png.encode_mask(mask if found else np.zeros_like(mask))
        (machine.desk / f"run/{name}.png").write_bytes(content)
        sha256 = write_photo(machine.desk / f"photos/{name}.jpg", seed=seed)
        made = row(f"../photos/{name}.jpg", f"{name}.png", found, sha256)
        about = {"output_sha256": hashlib.sha256(content).hexdigest(), "made": made.made | {"as": kind}}
        rows.append(made.model_copy(update=about))
    write_manifest(machine.desk / "run", rows)
    return machine.desk / "run"


def test_masks_that_were_corrected_by_hand(machine: Machine, here: Here) -> None:
    """They are named; with --edited they are what is exported, with the label and score of their row."""
    run = edited_run(machine)
    export = ("export", "run", "--as", "coco", "-o", "all.json")
    assert "changed" not in here(*export).err
    assert here(*export, "--edited").err.startswith(
        "crate: --edited: no mask was changed since it was made\n"
    )
    levels = np.zeros((40, 60), np.uint8)
    levels[:20], levels[20:, :10] = 128, 127
    Image.fromarray(levels).save(run / "a.png")
    Image.fromarray(levels).save(run / "c.png")
    done = here(*export)
    said = "crate: changed since they were made: run/a.png, run/c.png, and exported as they were made; "
    assert done.err.splitlines()[0] == f"{said}--edited takes them as they are now"
    dataset = json.loads((machine.desk / "all.json").read_text())
    assert [each["score"] for each in dataset["annotations"]] == [0.25, 0.25]
    done = here(*export, "--edited", "--root", ".")
    said = "crate: changed since they were made, and taken as they are now: run/a.png, run/c.png"
    assert (done.code, done.err.splitlines()[0]) == (0, said)
    dataset = json.loads((machine.desk / "all.json").read_text())
    assert [each["file_name"] for each in dataset["images"]] == [f"photos/{name}.jpg" for name in "abc"]
    found = {each["image_id"]: each for each in dataset["annotations"]}
    corrected, kept, new = (found[each["id"]] for each in dataset["images"])
    np.testing.assert_array_equal(decode_rle(corrected["segmentation"]), levels > 127)
    np.testing.assert_array_equal(decode_rle(kept["segmentation"]), blobs(40, 60))
    np.testing.assert_array_equal(decode_rle(new["segmentation"]), levels > 127)
    names = {each["id"]: each["name"] for each in dataset["categories"]}
    assert [(each["score"], names[each["category_id"]]) for each in (corrected, new)] == [
        (0.25, "cat"),
        (1.0, "object"),
    ]
    assert dataset["info"]["crate"]["recipe"] == {"root": ".", "edited": True}
    assert " --edited " in here("explain", "all.json").lines[0]
    assert here("export", "run", "--as", "mask", "--edited", "-o", "out", "-q").code == 0
    np.testing.assert_array_equal(png.decode_mask((machine.desk / "out/a.png").read_bytes()), levels > 127)
    assert here("explain", "out/a.png").lines == ["crate export run --edited --as mask --output out"]


def test_how_an_edited_mask_is_read(machine: Machine, here: Here) -> None:
    """Also in colours, with transparency, with a palette, of 16 bits; cleared, it is no object."""
    run, wanted = edited_run(machine), np.zeros((40, 60), bool)
    wanted[:20] = True
    grey = np.where(wanted, np.uint8(255), np.uint8(0))
    alpha = np.dstack([np.full((40, 60, 3), 255, np.uint8), grey])
    indexed = Image.fromarray(np.where(wanted, np.uint8(3), np.uint8(5)), "P")
    indexed.putpalette([0] * 9 + [255, 0, 0] + [0] * 9)
    pictures = [
        Image.fromarray(np.dstack([grey] * 3)),
        Image.fromarray(alpha),
        indexed,
        Image.fromarray(grey.astype(np.uint16) * 257),
        Image.fromarray(wanted),
        Image.fromarray(np.zeros_like(grey)),
    ]
    for picture in pictures:
        picture.save(run / "a.png")
        assert here("export", "run", "--as", "mask", "--edited", "-o", "out", "-q").code == 0
        expected = wanted if picture is not pictures[-1] else np.zeros_like(wanted)
        np.testing.assert_array_equal(png.decode_mask((machine.desk / "out/a.png").read_bytes()), expected)


def test_edited_masks_that_cannot_be_taken(machine: Machine, here: Here) -> None:
    """Of another size, cut short, or labels: each fails alone, with one line."""
    run = edited_run(machine)
    for content, reason in (
        (png.encode_mask(np.ones((20, 30), bool)), "is 30 × 20 px, and its photo 60 × 40: a mask keeps"),
        (png.encode_mask(blobs(40, 60, 3))[:-40], "cannot be read as an image"),
        (b"", "run/a.png: "),
        (png.encode_image(Image.fromarray(np.ones((40, 60), np.uint8))), "no pixel is in the upper half"),
    ):
        (run / "a.png").write_bytes(content)
        done = here("export", "run", "--as", "coco", "--edited", "-o", "all.json", "--jsonl")
        assert (done.code, len(done.lines)) == (1, 3)
        assert [line for line in done.err.splitlines() if reason in line]
        assert "crate: run/a.png: " in done.err
        assert len(json.loads((machine.desk / "all.json").read_text())["images"]) == 2
    rows = (run / "manifest.jsonl").read_text().splitlines(keepends=True)
    (run / "manifest.jsonl").write_text(rows[0])
    done = here("export", "run", "--as", "coco", "--edited", "-o", "all.json")
    assert (done.code, done.err.splitlines()[-1][:19]) == (1, "crate: run/a.png: n")


def test_edited_pictures_that_are_no_masks(machine: Machine, here: Here) -> None:
    run = edited_run(machine, "cutout")
    (run / "a.png").write_bytes(png.encode_mask(np.ones((40, 60), bool)))
    for more in ((), ("--edited",)):
        done = here("export", "run", "--as", "coco", "-o", "all.json", *more)
        said = (
            "crate: changed since they were made, and of no use, as they are no masks of segment: run/a.png"
        )
        assert (done.code, done.err.count(said)) == (0, 1)


def test_pictures_say_how_they_were_exported(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    asked = ("--label", "cat", "--orientation", "raw", "--as", "labels")
    assert here("export", "run", *asked, "-o", "to/out", "-q").code == 0
    told = f"crate export run {' '.join(asked)} --output to/out"
    assert here("explain", "to/out/sub/a.png").lines == [told]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "option", [("--label", "x"), ("--label-from", "folder"), ("--root", "."), ("--prefix", "")]
)
def test_an_option_changes_a_format_or_is_refused(
    machine: Machine, here: Here, kind: str, option: tuple[str, str]
) -> None:
    """What no file would show, provenance aside, is no option of its format."""
    found = split(specks(40, 60, 0.5), ("part 2", "part 10"))
    rows = [
        row(f"../in/{n}/a.png", f"{n}/a.png", found, write_photo(machine.desk / f"in/{n}/a.png"))
        for n in "xy"
    ]
    write_manifest(machine.desk / "run", rows)

    def made(out: str, *more: str) -> dict[str, object]:
        form = FORMATS[kind]
        to = machine.desk / out / (f"all.{form.ending}" if isinstance(form, OneFile) else "")
        done = here("export", "run", "--as", kind, "-o", to, "-q", *more)
        if done.code:
            failed(done, 2, f"{option[0]} is of no use to {kind}")
            return {}
        files = (path for path in (machine.desk / out).rglob("*") if path.is_file())
        return {path.relative_to(machine.desk / out).as_posix(): shown(path) for path in files}

    changed = made("changed", *option)
    only_by_ids_from = (kind, option[0]) == ("coco-results", "--root")
    assert not changed or only_by_ids_from or changed != made("plain")
    assert bool(changed) == (kind in FORMATS_WITH[option[0].strip("-").replace("-", "_")])


def shown(path: Path) -> object:
    """Give what a file holds, without its provenance."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.tobytes()
    if path.suffix == ".json" and isinstance(whole := json.loads(path.read_bytes()), dict):
        return {**whole, "info": {}}
    return path.read_bytes()


def test_coco_tools_read_both(machine: Machine, here: Here) -> None:
    run = lay_out(machine.desk)
    for kind in ("coco", "coco-results"):
        assert here("export", "run", "--as", kind, "-o", f"{kind}.json").code == 0
    truth = COCO(machine.desk / "coco.json")
    found = truth.loadRes(str(machine.desk / "coco-results.json"))
    assert truth.dataset["info"]["made"] == [{"command": "segment", "weights": "crate-nano"}]
    photos = list(read_run(run))
    for image, photo in zip(truth.loadImgs(truth.getImgIds()), photos, strict=True):
        assert image["file_name"] == photo.name
        for source in (truth, found):
            each = source.loadAnns(source.getAnnIds(imgIds=[image["id"]]))
            assert len(each) == len(photo.objects)
            for one, other in zip(each, photo.objects, strict=True):
                np.testing.assert_array_equal(source.annToMask(one), other.mask)
                assert truth.loadCats([one["category_id"]])[0]["name"] == other.label


def test_photos_that_are_not_as_they_were(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    (machine.desk / "photos/a.jpg").write_bytes(b"changed")
    (machine.desk / "photos/b.jpg").unlink()
    os.mkfifo(machine.desk / "photos/b.jpg")
    done = here("export", "run", "--as", "cutout", "-o", "out")
    assert (done.code, done.lines) == (1, ["out/b.png.png", "out/sub/a.png"])
    assert done.err.splitlines() == [
        "crate: photos/a.jpg: not the photo of the run: its bytes have changed",
        "crate: photos/b.jpg: not a regular file",
        "crate: 2 photos exported and read again: nothing is lost, IoU 1",
        "crate: 2 of 4 photos failed",
    ]
    with Image.open(machine.desk / "out/b.png.png") as cutout:
        assert cutout.mode == "RGBA"


def test_manifests_that_are_none(machine: Machine, here: Here) -> None:
    run = lay_out(machine.desk)
    manifest = run / "manifest.jsonl"
    failed(here("export", "nowhere", "--as", "coco"), 1, "crate: nowhere: No such file")
    failed(here("export", "photos", "--as", "coco"), 1, "crate: photos/manifest.jsonl: No such file")
    failed(
        here("export", "photos/a.jpg", "--as", "coco"), 1, "crate: photos/a.jpg:1: not a row of a manifest"
    )
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines[:2], '{"foreign": true}\n', *lines[2:]]))
    failed(
        here("export", "run", "--as", "mask", "-o", "out"), 1, "run/manifest.jsonl:3: not a row of a manifest"
    )
    manifest.write_bytes(b"\xff\xfe\x00\x1b\n")
    failed(here("export", "run", "--as", "mask", "-o", "out"), 1, "run/manifest.jsonl:1: not a row")
    manifest.write_text("")
    failed(here("export", "run", "--as", "mask", "-o", "out"), 3, "run/manifest.jsonl: no photo was done")
    manifest.write_text("[" * 100_000 + "\n")
    failed(here("export", "run", "--as", "mask", "-o", "out"), 1, "run/manifest.jsonl:1: not a row")
    assert not (machine.desk / "out").exists()


def test_a_row_cut_short_by_a_kill_is_left_out(machine: Machine, here: Here) -> None:
    manifest = lay_out(machine.desk) / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-9])
    done = here("export", "run", "--as", "coco", "-q")
    assert (done.code, len(json.loads(done.out)["images"])) == (0, 3)


def test_a_lossless_format_that_loses_is_an_error(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(machine.desk)
    monkeypatch.setattr(
        png,
        "encode_mask",
        lambda mask: png.encode_image(Image.fromarray(np.where(mask, 0, 255).astype(np.uint8))),
    )
    done = here("export", "run", "--as", "mask", "-o", "out")
    assert done.code == 1
    assert done.err.splitlines()[0].startswith(
        "crate: photos/a.jpg: the written file decodes to other masks than the run's: IoU 0"
    )
    assert done.err.splitlines()[-1] == "crate: 4 of 4 photos failed"


USAGE = {
    "no format": (["run"], "missing option '--as'"),
    "an unknown format": (["run", "--as", "voc"], "'voc' is not one of"),
    "a soft map": (["run", "--as", "soft"], "'soft' is not one of"),
    "both records": (["run", "--as", "coco", "--json", "--jsonl"], "exclude each other"),
    "a picture for many": (
        ["run", "--as", "labels", "-o", "v.png"],
        "v.png is one file, and labels writes one for each",
    ),
    "a folder to stdout": (["run", "--as", "mask", "-o", "-"], "cannot share stdout: give -o FOLDER"),
    "records and stdout": (["run", "--as", "coco", "-o", "-", "--jsonl"], "not both: give -o FILE"),
    "another ending": (["run", "--as", "coco", "-o", "a.zip"], "coco is JSON: let the name end with .json"),
    "a file for a folder": (["run", "--as", "npz", "-o", "photos/a.jpg"], "photos/a.jpg is a file"),
    "no path": (["run", "--as", "coco", "-o", ""], "a path is empty"),
    "the run itself": (["run", "--as", "mask", "-o", "run"], "run/a.png belongs to the run itself"),
    "the photos": (
        ["run", "--as", "mask", "-o", "photos"],
        "belongs to the run itself: choose another output",
    ),
    "a pipe that has a name": (
        ["run", "--as", "coco", "-o", "pipe.json"],
        "not a file, so it cannot be read again",
    ),
}


@pytest.mark.parametrize(("arguments", "reason"), USAGE.values(), ids=USAGE)
def test_usage(machine: Machine, here: Here, arguments: list[str], reason: str) -> None:
    lay_out(machine.desk)
    os.mkfifo(machine.desk / "pipe.json")
    before = {name: (machine.desk / name).read_bytes() for name in machine.files()}
    failed(here("export", *arguments), 2, reason)
    assert {name: (machine.desk / name).read_bytes() for name in machine.files()} == before


def test_a_zip_is_the_same_bytes_each_time(machine: Machine, here: Here) -> None:
    lay_out(machine.desk)
    first = here("export", "run", "--as", "cvat-masks", "-q").out
    assert first == here("export", "run", "--as", "cvat-masks", "-q").out
    assert first.startswith(b"PK")
    one, other = (here("export", "run", "--as", "npz", "-o", name, "-q").lines[0] for name in "ab")
    assert (machine.desk / one).read_bytes() == (machine.desk / other).read_bytes()
    with np.load(io.BytesIO((machine.desk / one).read_bytes()), allow_pickle=False) as arrays:
        assert arrays["masks"].shape == (1, 40, 60)
