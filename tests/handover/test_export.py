"""A run is exported: what comes back is compared, what is lost does not appear, nothing of the run is overwritten."""

import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import OutputError, UsageError
from cratecli.handover.export import Exported, beside_path, export
from cratecli.handover.finished_run import FinishedRun, read_run
from cratecli.io.formats import coco, cvat_masks, label_studio, png, yolo
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.formats.table import FORMATS, FileEach, OneFile
from cratecli.runs.jobs import Failure
from tests.support.annotations import MET, blobs, split
from tests.support.runs import lay_out, row, write_manifest, write_photo


def exported(run: FinishedRun, kind: str, target: Path | None) -> list[Exported]:
    outcomes = list(export(run, FORMATS[kind], target, lambda _: None))
    assert all(isinstance(each, Exported) for each in outcomes)
    return [each for each in outcomes if isinstance(each, Exported)]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# What is written, and compared.


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_comes_back(tmp_path: Path, kind: str) -> None:
    run, form = read_run(lay_out(tmp_path)), FORMATS[kind]
    target = tmp_path / (f"out.{form.ending}" if isinstance(form, OneFile) else "out")
    done = exported(run, kind, target)
    counts, photos = [1, 0, 2, 1], run.photos
    if kind == "label-studio":
        counts, photos = [0, 1, 1, 2], run.doubtful_first().photos
    assert [each.objects for each in done] == counts
    assert [each.photo for each in done] == list(photos)
    for each in done:
        assert each.target is not None
        assert each.target.is_file()
        if kind == "overlay":
            assert each.iou is None
        elif kind == "yolo":
            assert each.iou is not None
            assert 0.2 < each.iou <= 1
        else:
            assert each.iou == 1
    if (beside := beside_path(form, target)) is not None:
        assert beside.is_file()
    assert not list(tmp_path.rglob(".crate-*"))


def test_the_tree_of_the_run(tmp_path: Path) -> None:
    run = read_run(lay_out(tmp_path))
    for kind in ("mask", "labels", "npz", "yolo"):
        exported(run, kind, tmp_path / kind)
    tree = ["a", "b.jpg", "b.png", "sub/a"]
    assert files(tmp_path / "mask") == [f"{each}.png" for each in tree]
    assert files(tmp_path / "labels") == sorted([*(f"{each}.png" for each in tree), "labels.txt"])
    assert files(tmp_path / "npz") == [f"{each}.npz" for each in tree]
    assert files(tmp_path / "yolo") == ["data.yaml", *(f"labels/{each}.txt" for each in tree)]
    assert (tmp_path / "labels/labels.txt").read_text() == "background\nobject\npart 2\npart 10\n"


def test_what_is_written_is_what_the_encoders_make(tmp_path: Path) -> None:
    run = read_run(lay_out(tmp_path))
    photos = list(run)
    exported(run, "coco", tmp_path / "all.json")
    assert (tmp_path / "all.json").read_bytes() == coco.dataset(photos, run.info)
    exported(run, "cvat-masks", tmp_path / "all.zip")
    stream = io.BytesIO()
    cvat_masks.write(photos, stream)
    assert (tmp_path / "all.zip").read_bytes() == stream.getvalue()
    exported(run, "label-studio", tmp_path / "tasks.json")
    tasks = list(label_studio.read(io.BytesIO((tmp_path / "tasks.json").read_bytes())))
    assert sorted(tasks, key=lambda photo: photo.name) == sorted(photos, key=lambda photo: photo.name)
    scores = [np.mean([each.score for each in photo.objects] or [0]) for photo in tasks]
    assert scores == sorted(scores) and tasks != photos
    assert b'<Label value="part 10"' in (tmp_path / "tasks.labelling.xml").read_bytes()


@pytest.mark.parametrize(("kind", "mask"), [("cutout", 1), ("overlay", 0)])
def test_photos_are_shown_as_they_were(tmp_path: Path, kind: str, mask: int) -> None:
    run = read_run(lay_out(tmp_path))
    exported(run, kind, tmp_path / "out")
    photo = next(iter(run))
    rgb = np.asarray(Image.open(tmp_path / "photos/a.jpg").convert("RGB"))
    content = (tmp_path / "out/a.png").read_bytes()
    expected = png.encode_cutout(rgb, photo.mask) if mask else png.encode_rgb(png.overlay(rgb, photo.mask))
    assert content == expected


def test_standard_output_gets_the_bytes_when_all_was_compared(tmp_path: Path) -> None:
    run = read_run(lay_out(tmp_path))
    put: list[bytes] = []
    done = list(export(run, FORMATS["coco"], None, put.append))
    assert [isinstance(each, Exported) and each.target is None for each in done] == [True] * 4
    assert b"".join(put) == coco.dataset(list(run), run.info)


def test_shared_pixels_are_lost_to_some_formats_and_that_is_told(tmp_path: Path) -> None:
    run = read_run(write_manifest(tmp_path, [row("met.png", "met.png", MET.objects, size=(20, 30))]))
    (masks,) = exported(run, "cvat-masks", tmp_path / "all.zip")
    (labels,) = exported(run, "labels", tmp_path / "labels")
    (images,) = exported(run, "cvat-images", tmp_path / "all.xml")
    assert masks.iou is not None
    assert labels.iou is not None
    assert masks.iou < labels.iou < 1
    assert images.iou == 1


def test_a_record_has_the_path_whatever_its_bytes(tmp_path: Path) -> None:
    rows = [row(os.fsdecode(b"\xff.jpg"), "a.png", [])]
    (done,) = exported(read_run(write_manifest(tmp_path, rows)), "mask", tmp_path / "out")
    assert json.loads(json.dumps(done.record.model_dump())) == {
        "input": os.fsdecode(bytes(tmp_path) + b"/\xff.jpg"),
        "output": str(tmp_path / "out/a.png"),
        "objects": 0,
        "iou": 1.0,
    }


# What goes wrong.


def test_a_photo_that_is_not_as_it_was_fails_alone(tmp_path: Path) -> None:
    run = read_run(lay_out(tmp_path))
    (tmp_path / "photos/a.jpg").write_bytes((tmp_path / "photos/a.jpg").read_bytes() + b"\0")
    (tmp_path / "photos/b.png").unlink()
    (tmp_path / "photos/b.jpg").unlink()
    (tmp_path / "photos/b.jpg").mkdir()
    outcomes = list(export(run, FORMATS["cutout"], tmp_path / "out", lambda _: None))
    reasons = [str(each.error) for each in outcomes if isinstance(each, Failure)]
    place = tmp_path / "photos"
    assert reasons == [
        f"{place}/a.jpg: not the photo of the run: its bytes have changed",
        f"{place}/b.jpg: a folder, not a file",
        f"{place}/b.png: no such file",
    ]
    assert files(tmp_path / "out") == ["sub/a.png"]


def test_a_photo_of_another_size_and_one_that_is_none(tmp_path: Path) -> None:
    sha256 = write_photo(tmp_path / "a.png", (41, 60))
    (tmp_path / "b.png").write_bytes(b"no photo")
    rows = [
        row("a.png", "x.png", [], sha256),
        row("b.png", "y.png", [], hashlib.sha256(b"no photo").hexdigest()),
    ]
    run = read_run(write_manifest(tmp_path, rows))
    outcomes = list(export(run, FORMATS["overlay"], tmp_path / "out", lambda _: None))
    assert [str(each.error) for each in outcomes if isinstance(each, Failure)] == [
        f"{tmp_path}/a.png: not of the size that the run says",
        f"{tmp_path}/b.png: not an image of a known format",
    ]


def lossy(found: Annotated) -> Annotated:
    """Lose a pixel of the first object."""
    if not found.objects:
        return found
    first, *others = found.objects
    mask = first.mask.copy()
    mask[tuple(np.argwhere(mask)[0])] = False
    return replace(found, objects=[annotate(mask, first.score, first.label), *others])


def test_one_file_that_is_not_what_was_meant_is_not_written(tmp_path: Path) -> None:
    form = FORMATS["coco"]
    assert isinstance(form, OneFile)
    broken = replace(form, read=lambda stream, _: map(lossy, coco.read_dataset(stream.read())))
    target = tmp_path / "all.json"
    target.write_text("as before")
    outcomes = []
    with pytest.raises(OutputError, match=r"all\.json: not written"):
        for outcome in export(read_run(lay_out(tmp_path)), broken, target, lambda _: None):
            outcomes.append(outcome)
    reasons = [str(each.error) for each in outcomes if isinstance(each, Failure)]
    assert len(reasons) == 3
    assert reasons[0].startswith(
        f"{tmp_path}/photos/a.jpg: the written file decodes to other masks than the run's: IoU 0.99"
    )
    assert target.read_text() == "as before"


@pytest.mark.parametrize("left", [0, 2])
def test_one_file_that_does_not_read_back_is_not_written(tmp_path: Path, left: int) -> None:
    form = FORMATS["coco"]
    assert isinstance(form, OneFile)
    broken = replace(form, read=lambda stream, _: coco.read_dataset(stream.read())[:left])
    with pytest.raises(OutputError, match=r"all\.json: does not read back"):
        list(export(read_run(lay_out(tmp_path)), broken, tmp_path / "all.json", lambda _: None))
    assert not (tmp_path / "all.json").exists()
    put: list[bytes] = []
    with pytest.raises(OutputError, match="standard output: does not read back"):
        list(export(read_run(tmp_path / "run"), broken, None, put.append))
    assert not put


def test_a_file_that_is_not_what_was_meant_fails_alone(tmp_path: Path) -> None:
    form = FORMATS["mask"]
    assert isinstance(form, FileEach)
    turned = replace(form, encode=lambda photo, names, read: png.encode_mask(photo.mask.T))
    unread = replace(form, encode=lambda photo, names, read: b"no picture")
    run = read_run(lay_out(tmp_path))
    for broken, reason in (
        (turned, "decodes to other masks than the run's: IoU 0.0000"),
        (unread, "does not read back"),
    ):
        outcomes = list(export(run, broken, tmp_path / "out", lambda _: None))
        assert [reason in str(each.error) for each in outcomes if isinstance(each, Failure)] == [True] * 4
        assert not files(tmp_path / "out")


def test_an_approximation_may_lose(tmp_path: Path) -> None:
    run = read_run(lay_out(tmp_path))
    photos, done = list(run), exported(run, "yolo", tmp_path / "out")
    back = yolo.decode((tmp_path / "out/labels/a.txt").read_bytes(), photos[0], ["object"]).objects[0].mask
    source = photos[0].objects[0].mask
    assert done[0].iou == pytest.approx((back & source).sum() / (back | source).sum())


@pytest.mark.parametrize("kind", ["mask", "npz", "yolo"])
def test_nothing_of_the_run_is_overwritten(tmp_path: Path, kind: str) -> None:
    folder = lay_out(tmp_path)
    rows = [row("../photos/a.jpg", "a.npz", []), row("labels/b.txt", "b.png", []), row("c.jpg", "c.png", [])]
    write_manifest(folder, rows)
    before = files(tmp_path)
    with pytest.raises(UsageError, match="belongs to the run itself: choose another output"):
        list(export(read_run(folder), FORMATS[kind], folder, lambda _: None))
    with pytest.raises(UsageError, match="belongs to the run itself"):
        list(export(read_run(folder), FORMATS["coco"], folder / "manifest.jsonl", lambda _: None))
    assert files(tmp_path) == before


def test_photos_that_share_a_stem_in_whatever_case(tmp_path: Path) -> None:
    (found,) = split(blobs(40, 60), ("object",))
    names = {"a.jpg": "a.jpg.png", "a.png": "a.png.png", "A.jpg": "A.jpg.png", "sub/a.jpg": "sub/a.png"}
    rows = [row(f"in/{name}", output, [found]) for name, output in names.items()]
    run = read_run(write_manifest(tmp_path / "run", rows))
    exported(run, "mask", tmp_path / "mask")
    assert files(tmp_path / "mask") == sorted(names.values())
    exported(run, "yolo", tmp_path / "yolo")
    expected = [f"labels/{name}.txt" for name in ("A.jpg", "a.jpg", "a.png", "sub/a")]
    assert files(tmp_path / "yolo") == ["data.yaml", *expected]


def test_two_outputs_that_are_one(tmp_path: Path) -> None:
    rows = [row("x/a.jpg", "a.png", []), row("x/b.jpg", "../a.png", [])]
    run = read_run(write_manifest(tmp_path, rows))
    with pytest.raises(UsageError, match=r"two photos would both be written to .*a\.png"):
        list(export(run, FORMATS["mask"], tmp_path / "out", lambda _: None))
    assert not (tmp_path / "out").exists()


def test_outputs_stay_in_the_folder(tmp_path: Path) -> None:
    (found,) = split(blobs(40, 60), ("object",))
    rows = [
        row("a.jpg", "../../../evil.png", [found]),
        row("b.jpg", str(tmp_path / "absolute.png"), [found]),
        row("c.jpg", "..\\..\\windows.png", [found]),
        row("d.jpg", "a\nb/c.png", [found]),
    ]
    run = read_run(write_manifest(tmp_path / "deep/run", rows))
    for kind in ("mask", "npz", "yolo"):
        exported(run, kind, tmp_path / "deep/out")
    outside = [name for name in files(tmp_path) if not name.startswith(("deep/out/", "deep/run/"))]
    assert outside == []
    assert len(files(tmp_path / "deep/out")) == 3 * 4 + 1


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    run = read_run(lay_out(tmp_path))
    (tmp_path / "file").write_text("as before")
    with pytest.raises(OutputError, match="cannot be written: "):
        list(export(run, FORMATS["coco"], tmp_path / "file/all.json", lambda _: None))
    outcomes = list(export(run, FORMATS["mask"], tmp_path / "file", lambda _: None))
    reasons = [str(each.error) for each in outcomes if isinstance(each, Failure)]
    assert len(reasons) == len(outcomes) == 4
    assert all(f"{tmp_path / 'file'}/" in reason and "cannot be written: " in reason for reason in reasons)
    assert (tmp_path / "file").read_text() == "as before"
