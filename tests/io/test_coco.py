"""What is written as COCO is read by COCO's own tools, and is what was meant."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from cratecli.emergence.masks import bounding_box
from cratecli.io.formats.coco import dataset, read_dataset, read_results, results
from cratecli.io.formats.record import Annotated, annotate
from tests.support import annotations
from tests.support.annotations import CHECK

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def disc(height: int, width: int, row: int, col: int, radius: int) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


MASKS = [disc(30, 40, 8, 9, 5), disc(30, 40, 20, 30, 9), CHECK]
PHOTOS = [
    Annotated("a/first.jpg", 30, 40, [annotate(MASKS[0], 0.75), annotate(MASKS[1], 0.25)]),
    Annotated("nothing.png", 10, 20, []),
    Annotated("ä \udcff.png", 4, 5, [annotate(CHECK, 1.0)]),
]


def load(tmp_path: Path, content: bytes) -> COCO:
    path = tmp_path / "objects.json"
    path.write_bytes(content)
    return COCO(path)


def test_coco_reads_the_dataset(tmp_path: Path) -> None:
    coco = load(tmp_path, dataset(PHOTOS, {"description": "how it was made"}))
    assert coco.dataset["info"] == {"description": "how it was made"}
    assert [(image["id"], image["file_name"]) for image in coco.loadImgs(coco.getImgIds())] == [
        (1, "a/first.jpg"),
        (2, "nothing.png"),
        (3, "ä \udcff.png"),
    ]
    assert [(image["height"], image["width"]) for image in coco.dataset["images"]] == [
        (30, 40),
        (10, 20),
        (4, 5),
    ]
    assert coco.getCatIds() == [1]
    found = coco.loadAnns(coco.getAnnIds())
    assert [(each["id"], each["image_id"]) for each in found] == [(1, 1), (2, 1), (3, 3)]
    assert coco.getAnnIds(imgIds=[2]) == []
    for each, mask, score in zip(found, MASKS, (0.75, 0.25, 1.0), strict=True):
        np.testing.assert_array_equal(coco.annToMask(each), mask)
        assert each["area"] == mask.sum()
        assert (each["category_id"], each["iscrowd"], each["score"]) == (1, 0, score)
        left, top, width, height = each["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert mask[top, left : left + width].any()
        assert mask[top : top + height, left].any()


def loaded_results(tmp_path: Path) -> list[dict[str, Any]]:
    truth = load(tmp_path, dataset(PHOTOS, {}))
    path = tmp_path / "results.json"
    path.write_bytes(results(PHOTOS))
    found = truth.loadRes(str(path))
    return list(found.loadAnns(found.getAnnIds()))


def test_coco_reads_the_results_beside_the_dataset(tmp_path: Path) -> None:
    found = loaded_results(tmp_path)
    assert [(each["image_id"], each["category_id"], each["score"]) for each in found] == [
        (1, 1, 0.75),
        (1, 1, 0.25),
        (3, 1, 1.0),
    ]
    for each, mask in zip(found, MASKS, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(each["segmentation"]), mask)
        box = bounding_box(mask)
        assert box is not None
        assert tuple(int(side) for side in each["bbox"]) == box.xywh


def test_coco_measures_the_results_by_their_masks(tmp_path: Path) -> None:
    assert [each["area"] for each in loaded_results(tmp_path)] == [mask.sum() for mask in MASKS]


def test_nothing_at_all_is_valid(tmp_path: Path) -> None:
    coco = load(tmp_path, dataset([], {}))
    assert (coco.getImgIds(), coco.getAnnIds()) == ([], [])
    assert json.loads(results([PHOTOS[1]])) == []


def test_a_category_a_label() -> None:
    content = json.loads(dataset(annotations.PHOTOS, {}))
    names = ['"ö"', "a: 100 % #1", "object", "part 2", "part 10"]
    assert [(each["id"], each["name"]) for each in content["categories"]] == list(enumerate(names, 1))
    labels = [names[each["category_id"] - 1] for each in content["annotations"]]
    assert labels == [each.label for photo in annotations.PHOTOS for each in photo.objects]
    assert [each["category_id"] for each in json.loads(results(annotations.PHOTOS))] == [
        each["category_id"] for each in content["annotations"]
    ]
    assert json.loads(dataset([annotations.PHOTOS[1]], {}))["categories"][0]["name"] == "object"


@pytest.mark.parametrize(
    "each", [PHOTOS, annotations.PHOTOS, [annotations.MET], []], ids=["few", "many", "met", "none"]
)
def test_photos_are_the_same_again(each: list[Annotated]) -> None:
    assert read_dataset(dataset(each, {"description": "how"})) == each
    assert read_results(results(each), each) == each


BROKEN = ["", "[]", "{}", "null", "5", '{"images": [], "annotations": [{}], "categories": []}', "[" * 100_000]


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_no_dataset(content: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_dataset(content.encode())


@pytest.mark.parametrize("content", ["", "null", "5", "[5]", "[{}]", '[{"image_id": 7}]', "[" * 100_000])
def test_what_is_no_list_of_results(content: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_results(content.encode(), PHOTOS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segmentation", {"size": [4, 5], "counts": "551031"}),
        ("segmentation", {"size": [5, 4], "counts": "55103"}),
        ("segmentation", [[0, 0, 1, 1]]),
        ("segmentation", []),
        ("image_id", 9),
        ("category_id", 9),
        ("score", "high"),
    ],
)
def test_annotations_that_do_not_fit(field: str, value: object) -> None:
    content = json.loads(dataset(PHOTOS[2:], {}))
    content["annotations"][0][field] = value
    with pytest.raises(ValueError, match=r"."):
        read_dataset(json.dumps(content).encode())
