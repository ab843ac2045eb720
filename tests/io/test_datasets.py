"""Data sets with truth: which files belong together, and what is said of those that do not."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError, NothingMatchedError
from cratecli.io import coco_truth, datasets
from cratecli.io.datasets import Pair


def save(path: Path, size: tuple[int, int] = (4, 6), value: int = 255, mode: str = "L") -> Path:
    """Write a plain picture; `size` is height, width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).convert(mode).save(path)
    return path


def test_photos_and_masks_are_paired_by_stem(tmp_path: Path) -> None:
    for stem in ("b", "a"):
        save(tmp_path / f"images/{stem}.jpg")
        save(tmp_path / f"masks/{stem}.png")
    save(tmp_path / "images/.hidden.png")
    (tmp_path / "images/notes.txt").write_text("no photo")
    assert datasets.paired(tmp_path, datasets.SALIENCY) == [
        Pair(stem, tmp_path / f"images/{stem}.jpg", tmp_path / f"masks/{stem}.png") for stem in ("a", "b")
    ]


LAYOUTS = {
    "DUTS": ("DUTS-TE/DUTS-TE-Image/a.jpg", "DUTS-TE/DUTS-TE-Mask/a.png"),
    "DUTS, training": ("DUTS-TR-Image/a.jpg", "DUTS-TR-Mask/a.png"),
    "HKU-IS": ("imgs/a.png", "gt/a.png"),
    "DUT-OMRON": ("DUT-OMRON-image/a.jpg", "pixelwiseGT-new-PNG/a.png"),
    "a folder in a folder": ("DUT-OMRON-image/DUT-OMRON-image/a.jpg", "pixelwiseGT-new-PNG/a.png"),
    "ECSSD": ("images/a.jpg", "ground_truth_mask/a.png"),
    "MSRA10K": ("MSRA10K_Imgs_GT/Imgs/a.jpg", "MSRA10K_Imgs_GT/Imgs/a.png"),
}


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_data_sets_as_they_unpack(tmp_path: Path, files: tuple[str, str]) -> None:
    image, truth = (save(tmp_path / each) for each in files)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "readme.txt").write_text("not a folder")
    assert datasets.paired(tmp_path, datasets.SALIENCY) == [Pair("a", image, truth)]


def test_folders_that_are_named(tmp_path: Path) -> None:
    image, truth, other = (save(tmp_path / each) for each in ("my/a.jpg", "there/a.png", "images/a.png"))
    save(tmp_path / "masks/b.png")
    assert datasets.paired(tmp_path, datasets.SALIENCY, "my", "there") == [Pair("a", image, truth)]
    assert datasets.paired(tmp_path, datasets.SALIENCY, masks="there") == [Pair("a", other, truth)]
    assert datasets.paired(tmp_path, datasets.PARTS, str(tmp_path / "my"), "there")[0].image == image
    with pytest.raises(InputError, match="no folder gone/ in it"):
        datasets.paired(tmp_path, datasets.SALIENCY, "gone", "there")


def nothing(folder: Path) -> None:
    folder.rmdir()


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


def no_masks(folder: Path) -> None:
    save(folder / "images/a.png")


def lone_photo(folder: Path) -> None:
    save(folder / "images/a.png")
    save(folder / "images/b.png")
    save(folder / "images/c.png")
    save(folder / "masks/a.png")


def lone_mask(folder: Path) -> None:
    save(folder / "images/a.png")
    save(folder / "masks/a.png")
    save(folder / "masks/b.png")


def twins(folder: Path) -> None:
    save(folder / "images/a.png")
    save(folder / "images/a.jpg")
    save(folder / "masks/a.png")


def two_sets(folder: Path) -> None:
    for within in ("A/images", "A/masks", "B/imgs", "B/gt"):
        save(folder / within / "a.png")


@pytest.mark.parametrize(
    ("lay", "reason"),
    [
        (nothing, r"set: no such folder$"),
        (a_file, r"set: not a folder$"),
        (
            no_masks,
            r"set: has no images/ and masks/; DUTS.* in it: name its folders with --images and --masks$",
        ),
        (
            two_sets,
            r"set: holds several data sets \(.*A/images, .*B/imgs\): name one, or --images and --masks$",
        ),
        (lone_photo, r"b\.png: nothing in masks/ goes with it, and 1 others have none$"),
        (lone_mask, r"masks/b\.png: nothing in images/ goes with it$"),
        (twins, r"a\.png: shares its stem with a\.jpg$"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, lay: Callable[[Path], None], reason: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    lay(folder)
    with pytest.raises(NothingMatchedError if lay is nothing else InputError, match=reason):
        datasets.paired(folder, datasets.SALIENCY)


def test_empty_folders_match_nothing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(NothingMatchedError, match=r"no photo in .*images"):
        datasets.paired(tmp_path, datasets.SALIENCY)


def devkit(place: Path, names: str = "2007_01\n2007_02\n") -> None:
    listed = place / "ImageSets/Segmentation/val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text(names)
    for name in names.split():
        save(place / f"JPEGImages/{name}.jpg")
        save(place / f"SegmentationClass/{name}.png", value=3, mode="P")


@pytest.mark.parametrize("within", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_a_devkit_or_its_year(tmp_path: Path, within: str) -> None:
    place = tmp_path / within
    devkit(place)
    assert datasets.voc(tmp_path, "val") == [
        Pair(name, place / f"JPEGImages/{name}.jpg", place / f"SegmentationClass/{name}.png")
        for name in ("2007_01", "2007_02")
    ]


def test_a_devkit_that_is_not_whole(tmp_path: Path) -> None:
    devkit(tmp_path)
    with pytest.raises(InputError, match=r"no ImageSets/Segmentation/train.txt in it"):
        datasets.voc(tmp_path, "train")
    (tmp_path / "SegmentationClass/2007_02.png").unlink()
    with pytest.raises(InputError, match=r"SegmentationClass/2007_02\.png: listed, but not there$"):
        datasets.voc(tmp_path, "val")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(NothingMatchedError, match="no photo in"):
        datasets.voc(tmp_path, "val")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read: not UTF-8"):
        datasets.voc(tmp_path, "val")


def whole() -> dict[str, Any]:
    box = {"bbox": [0, 0, 2, 2], "area": 4, "iscrowd": 0, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "height": 4, "width": 6},
            {"id": 3, "file_name": "a.png", "height": 4, "width": 6},
        ],
        "annotations": [{**box, "id": 1, "image_id": 7, "category_id": 5}],
    }


@pytest.mark.parametrize(
    ("file", "photos"), [("instances.json", "images"), ("annotations/instances_val2017.json", "val2017")]
)
def test_coco_in_both_layouts(tmp_path: Path, file: str, photos: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(whole()))
    for name in ("a.png", "b.png"):
        save(tmp_path / photos / name)
    found = datasets.coco(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a.png", "b.png"]
    assert found.pairs[0] == Pair("a.png", tmp_path / photos / "a.png", tmp_path / file)
    assert found.sizes == {"a.png": (4, 6), "b.png": (4, 6)}
    assert found.annotations["a.png"] == []
    assert [each["area"] for each in found.annotations["b.png"]] == [4]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not COCO's annotations"),
        ("[]", "not COCO's annotations"),
        ('{"images": [], "annotations": [{"image_id": 1}]}', "not COCO's annotations"),
        (
            json.dumps(whole()).replace('"height": 4', '"height": "4"'),
            r"not COCO's annotations: b\.png: .*no size in px",
        ),
        (json.dumps(whole()).replace('"area": 4, ', ""), r"annotations: annotations\[0\], id 1: has no area"),
        (json.dumps(whole()).replace("a.png", "gone.png"), r"gone\.png: listed, but not there"),
    ],
)
def test_annotations_that_are_none(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "instances.json").write_text(content)
    for name in ("a.png", "b.png"):
        save(tmp_path / "images" / name)
    with pytest.raises(InputError, match=reason):
        datasets.coco(tmp_path)


HUGE, NAN = 1e308, float("nan")
RUNS = "5220;"  # of a mask of 4 × 6 px


def rle(counts: object, height: int = 4) -> dict[str, object]:
    return {"size": [height, 6], "counts": counts}


BROKEN: dict[str, tuple[str, object, str]] = {
    "a cut RLE": ("segmentation", rle(RUNS[:-1]), "the runs of an RLE fill"),
    "an RLE cut in a run": ("segmentation", rle("522o"), "an RLE's counts are not COCO's text"),
    "no RLE, below its letters": ("segmentation", rle("\x00" * 9), "an RLE's counts are not COCO's text"),
    "no RLE, above its letters": ("segmentation", rle("\xff" * 50), "an RLE's counts are not COCO's text"),
    "an endless run": ("segmentation", rle("~" * 1000), "an RLE's counts are not COCO's text"),
    "an RLE without counts": ("segmentation", {"size": [4, 6]}, "an RLE's counts are not COCO's text"),
    "an RLE of another size": (
        "segmentation",
        rle([25, 5], 5),
        "not of the photo's size, height 4 and width 6",
    ),
    "an RLE without size": ("segmentation", {"counts": RUNS}, "not of the photo's size"),
    "runs that are too short": ("segmentation", rle([5, 5]), "do not fill 4 × 6 px"),
    "runs that are too long": ("segmentation", rle([10**18, 5]), "do not fill 4 × 6 px"),
    "a run below 0": ("segmentation", rle([-10, 34]), "do not fill 4 × 6 px"),
    "runs that are no whole numbers": ("segmentation", rle([5.0, 19.0]), "do not fill 4 × 6 px"),
    "a far polygon": ("segmentation", [[0, 0, 2, 0, 1e9, 2]], "far outside the photo"),
    "a farther polygon": ("segmentation", [[HUGE] * 6], "far outside the photo"),
    "a polygon without end": ("segmentation", [[10**400] * 6], "far outside the photo"),
    "a polygon that is no number": ("segmentation", [[NAN] * 6], "far outside the photo"),
    "a polygon of texts": ("segmentation", [["a"] * 6], "not x and y of three points"),
    "a line": ("segmentation", [[1, 2, 3, 2]], "not x and y of three points"),
    "a point": ("segmentation", [[1, 2]], "not x and y of three points"),
    "x without y": ("segmentation", [[1, 1, 2, 2, 3, 1, 4]], "not x and y of three points"),
    "a flat list": ("segmentation", [1, 1, 2, 2, 3, 1], "not x and y of three points"),
    "a polygon that winds for ever": ("segmentation", [[0, 0, 6, 4] * 20], "longer than 200 px"),
    "no polygon": ("segmentation", [], "has no polygon"),
    "no segmentation": ("segmentation", None, "neither polygons nor an RLE"),
    "a text for a box": ("bbox", "abcd", "not left, top, width and height"),
    "a box of three": ("bbox", [1, 1, 2], "not left, top, width and height"),
    "a box with a text": ("bbox", [1, 1, 2, "2"], "not left, top, width and height"),
    "a negative box": ("bbox", [1, 1, -1, 2], "not left, top, width and height"),
    "a box that is no number": ("bbox", [NAN, 0, 2, 2], "bbox lies far outside"),
    "a far box": ("bbox", [HUGE, 0, 2, 2], "bbox lies far outside"),
    "a wide box": ("bbox", [5, 0, 12, 2], "bbox lies far outside"),
    "a box without end": ("bbox", [0.5, 0, 10**400, 2], "bbox lies far outside"),
    "a negative area": ("area", -1, "area is no number of px"),
    "an infinite area": ("area", float("inf"), "area is no number of px"),
    "an area that is no number": ("area", NAN, "area is no number of px"),
    "a crowd of two": ("iscrowd", 2, "iscrowd is not 0 or 1"),
    "a list for a crowd": ("iscrowd", [], "iscrowd is not 0 or 1"),
    "a photo that is not there": ("image_id", 8, "no image has its image_id"),
    "a list for a photo": ("image_id", [7], "no image has its image_id"),
}


@pytest.mark.parametrize(("part", "value", "reason"), BROKEN.values(), ids=BROKEN)
def test_one_bad_annotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, value: object, reason: str
) -> None:
    """It is named; pycocotools would crash on it, never end, or count it as something else."""
    monkeypatch.setattr(coco_truth, "_LONGEST", 200)
    broken = whole()
    broken["annotations"].append({**broken["annotations"][0], "id": 17, part: value})
    (tmp_path / "instances.json").write_text(json.dumps(broken))
    with pytest.raises(InputError, match=rf"instances\.json: .*: annotations\[1\], id 17: .*{reason}"):
        datasets.coco(tmp_path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("segmentation", rle(RUNS)),
        ("segmentation", rle([0, 24])),
        ("segmentation", [[-1, -1, 7, -1, 7, 5, -1, 5.5], [0, 0, 2, 0, 2, 2]]),
        ("bbox", [-0.5, 0, 6.6, 4.1]),
        ("area", 0),
        ("iscrowd", 1),
    ],
)
def test_annotations_that_are_sound(tmp_path: Path, part: str, value: object) -> None:
    sound = whole()
    sound["annotations"][0][part] = value
    (tmp_path / "instances.json").write_text(json.dumps(sound))
    for name in ("a.png", "b.png"):
        save(tmp_path / "images" / name)
    assert datasets.coco(tmp_path).annotations["b.png"][0][part] == value


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": 7}, "b.png and a.png have one id, 7"),
        ({"file_name": "b.png"}, "b.png is there twice, as 7 and 3"),
        ({"file_name": "./b.png"}, "./b.png is there twice, as 7 and 3"),
        ({"id": None}, "an image has no file_name that is a text, or no id"),
        ({"file_name": 5}, "an image has no file_name that is a text, or no id"),
    ],
)
def test_photos_that_are_mixed_up(tmp_path: Path, changed: dict[str, object], reason: str) -> None:
    mixed = whole()
    mixed["images"][1].update(changed)
    (tmp_path / "instances.json").write_text(json.dumps(mixed))
    with pytest.raises(InputError, match=re.escape(f"not COCO's annotations: {reason}")):
        datasets.coco(tmp_path)


def test_coco_without_photos_or_annotations(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither instances.json nor annotations/instances_val2017.json"):
        datasets.coco(tmp_path)
    (tmp_path / "instances.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(NothingMatchedError, match="no photo in"):
        datasets.coco(tmp_path)
    (tmp_path / "instances.json").write_text(json.dumps(whole()))
    with pytest.raises(InputError, match="no folder images/ in it"):
        datasets.coco(tmp_path)


def test_photos_have_the_size_of_their_truth(tmp_path: Path) -> None:
    pair = Pair("a", tmp_path / "a.jpg", tmp_path / "a.png")
    datasets.refuse_other_size((4, 6), (4, 6), pair)
    with pytest.raises(InputError, match=r"a\.jpg: 6 × 4 px, but 4 × 6 px in .*a\.png"):
        datasets.refuse_other_size((4, 6), (6, 4), pair)
