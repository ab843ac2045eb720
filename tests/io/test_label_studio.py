"""Label Studio's tasks are read again as they were, and the labelling config has every label."""

import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from cratecli.io.formats.label_studio import labelling, read, write
from cratecli.io.formats.record import Annotated, classes
from tests.support.annotations import MET, PHOTOS


def written(photos: list[Annotated]) -> bytes:
    stream = io.BytesIO()
    write(photos, "crate 1", stream)
    return stream.getvalue()


@pytest.mark.parametrize("photos", [PHOTOS, [MET], []], ids=["many", "met", "none"])
def test_photos_are_the_same_again(photos: list[Annotated]) -> None:
    assert list(read(io.BytesIO(written(photos)))) == photos


def test_a_task_by_hand() -> None:
    (task,) = json.loads(written([PHOTOS[-1]]))
    (prediction,) = task["predictions"]
    (region,) = prediction["result"]
    assert task["data"] == {"image": "/data/local-files/?d=check.png"}
    assert prediction["model_version"] == "crate 1"
    assert region["value"]["rle"][:8] == [0, 0, 0, 80, 57, 27, 252, 224]
    assert (region["value"]["format"], region["value"]["brushlabels"]) == ("rle", ["object"])
    assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", "label", "image")
    assert (region["original_width"], region["original_height"], region["image_rotation"]) == (5, 4, 0)
    assert len({each["id"] for each in json.loads(written([MET]))[0]["predictions"][0]["result"]}) == 3


def test_names_are_quoted_as_an_address_asks_for() -> None:
    images = [task["data"]["image"] for task in json.loads(written(PHOTOS))]
    assert images[3] == "/data/local-files/?d=sub/%C3%A4%20%26%20%3Cb%3E.png"


def test_the_labelling_config_fits_the_tasks() -> None:
    view = ElementTree.fromstring(labelling(classes(PHOTOS)))
    assert view.tag == "View"
    image, brushes = view
    assert (image.tag, image.get("name"), image.get("value")) == ("Image", "image", "$image")
    assert (brushes.tag, brushes.get("name"), brushes.get("toName")) == ("BrushLabels", "label", "image")
    assert [label.get("value") for label in brushes] == classes(PHOTOS)
    assert brushes[0].get("background") == "#800000"


CHANGES: list[tuple[str, Any]] = [
    ("rle", [0, 0, 0, 80]),
    ("rle", 5_000_000_000),
    ("rle", "55103"),
    ("rle", None),
    ("brushlabels", []),
    ("brushlabels", ["a", "b"]),
]


@pytest.mark.parametrize(("field", "value"), CHANGES)
def test_regions_that_are_none(field: str, value: Any) -> None:
    (task,) = json.loads(written([PHOTOS[-1]]))
    task["predictions"][0]["result"][0]["value"][field] = value
    with pytest.raises(ValueError, match=r"."):
        list(read(io.BytesIO(f"[\n{json.dumps(task)}\n]\n".encode())))


@pytest.mark.parametrize(
    "content", ["", "[]", "[\n", "[\n5\n]\n", "[\n{}\n]\n", "[\n" + "[" * 100_000, "[\n\n]\n"]
)
def test_what_are_no_tasks(content: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(read(io.BytesIO(content.encode())))
