"""Data sets with truth: which files belong together, and what is said of those that do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError, NothingMatchedError
from cratecli.io import datasets
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
            "not COCO's annotations .*no size in px",
        ),
        (json.dumps(whole()).replace('"area": 4, ', ""), "not COCO's annotations .*KeyError: 'area'"),
        (json.dumps(whole()).replace("a.png", "gone.png"), r"gone\.png: listed, but not there"),
    ],
)
def test_annotations_that_are_none(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "instances.json").write_text(content)
    for name in ("a.png", "b.png"):
        save(tmp_path / "images" / name)
    with pytest.raises(InputError, match=reason):
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
    datasets.refuse_other_size(np.zeros((4, 6, 3), np.uint8), (4, 6), pair)
    with pytest.raises(InputError, match=r"a\.jpg: 6 × 4 px, but 4 × 6 px in .*a\.png"):
        datasets.refuse_other_size(np.zeros((4, 6, 3), np.uint8), (6, 4), pair)
