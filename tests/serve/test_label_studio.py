"""Label Studio's protocol: masks of tasks, clicks, and the folders beyond which no task leads."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import cratecli
from cratecli.errors import UsageError
from cratecli.io.formats import brush
from cratecli.model.unroll import WhiteBox
from cratecli.serve.folders import Folders
from cratecli.serve.limits import Limits
from tests.serve.conftest import Serve
from tests.support.photos import photo

CONFIG = """<View>
  <Image name="image" value="$picture" zoom="true"/>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="cat"/><Label value="dog"/></KeyPointLabels>
  <BrushLabels name="brush" toName="image"><Label value="cat"/><Label value="dog"/></BrushLabels>
</View>"""
LOCAL, UPLOAD = "/data/local-files/?d=", "/data/upload/"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lay out a folder of photos, and a photo beside it, to which a link leads."""
    (tmp_path / "root/sub").mkdir(parents=True)
    for name in ("root/a.png", "root/sub/b c.png", "secret.png"):
        Image.fromarray(photo(36, 48)).save(tmp_path / name)
    (tmp_path / "root/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "root/out").symlink_to(tmp_path)
    (tmp_path / "root/loop.png").symlink_to("loop.png")
    (tmp_path / "root/text.png").write_text("no photo")
    return tmp_path / "root"


@pytest.fixture
def studio(serve: Serve, root: Path) -> TestClient:
    """Give a client of a server that knows both folders, which are the same here."""
    return serve(folders=Folders(root, root))


def asked(*photos: Any, result: Any = None, config: str = CONFIG, **more: Any) -> dict[str, Any]:
    tasks = [{"id": number, "data": {"picture": each}, "meta": {}} for number, each in enumerate(photos)]
    context = None if result is None else {"result": result}
    params = {"login": None, "password": None, "context": context}
    return {"tasks": tasks, "project": "1.2", "label_config": config, "params": params} | more


def click(x: float, y: float, label: str = "dog", **more: Any) -> dict[str, Any]:
    """Write a keypoint as Label Studio does."""
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    size = {"original_width": 48, "original_height": 36, "image_rotation": 0}
    place = {"from_name": "point", "to_name": "image", "type": "keypointlabels", "id": "x"}
    return {"value": value, **size, **place, "is_positive": True} | more


def mask_of(prediction: Any) -> Any:
    (region,) = prediction["result"]
    return brush.decode(region["value"]["rle"], region["original_height"], region["original_width"])


def test_a_project_is_connected(studio: TestClient) -> None:
    sent = {"project": "1.2", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"}
    answer = studio.post("/setup", json=sent)
    assert answer.json()["model_version"].startswith("crate-nano, crate ")
    for config, reason in (
        ("<View/>", "has no <BrushLabels"),
        (CONFIG.replace('toName="image"', 'toName="other"'), "has no <BrushLabels"),
        ("<View", "is no XML"),
        ("\ud800", "schema: "),
        ('<!DOCTYPE v [<!ENTITY a "x">]><View>&a;</View>', "declares entities"),
        ("<View>" * 100_000, "is no XML"),
        ("x" * (2 << 20), "schema: "),
    ):
        answer = studio.post("/setup", content=json.dumps({"schema": config}), headers=JSON)
        assert answer.status_code == 422
        assert reason in answer.json()["error"]


JSON = {"content-type": "application/json"}


def test_masks_of_tasks_are_pythons(studio: TestClient, model: WhiteBox) -> None:
    expected = cratecli.segment(photo(36, 48), model)
    uri = (
        "data:image/png;base64,"
        + b64encode(Path(__file__).parents[2].joinpath("examples/coins.jpg").read_bytes()).decode()
    )
    answer = studio.post("/predict", json=asked(f"{LOCAL}a.png", f"{UPLOAD}sub/b%20c.png", uri)).json()
    for prediction in answer["results"][:2]:
        np.testing.assert_array_equal(mask_of(prediction), expected.mask)
        (region,) = prediction["result"]
        assert (region["from_name"], region["to_name"], region["type"]) == ("brush", "image", "brushlabels")
        assert region["value"]["brushlabels"] == ["cat"]
        assert prediction["score"] == region["score"] == round(expected.confidence, 4)
        assert prediction["model_version"] == answer["model_version"]
    assert mask_of(answer["results"][2]).any()


def test_a_photo_of_nothing_has_no_region(studio: TestClient, root: Path) -> None:
    Image.new("RGB", (48, 36), "grey").save(root / "grey.png")
    (prediction,) = studio.post("/predict", json=asked(f"{LOCAL}grey.png")).json()["results"]
    assert (prediction["result"], prediction["score"]) == ([], 0.0)


def test_a_click_asks_for_what_is_there(studio: TestClient, model: WhiteBox) -> None:
    points = [click(20.9, 25), click(80, 90, is_positive=False), click(25, 30)]
    answer = studio.post("/predict", json=asked(f"{LOCAL}a.png", result=points))
    (prediction,) = answer.json()["results"]
    expected = cratecli.segment(photo(36, 48), model, at=[(10, 9), (12, 10)], not_at=[(38, 32)])
    np.testing.assert_array_equal(mask_of(prediction), expected.mask)
    assert prediction["result"][0]["value"]["brushlabels"] == ["dog"]
    other = studio.post("/predict", json=asked(f"{LOCAL}a.png", result=[click(100, 100, "bird")]))
    assert other.json()["results"][0]["result"][0]["value"]["brushlabels"] == ["cat"]  # which the brush knows


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([{"type": "rectanglelabels", "value": {}}], "crate answers keypoints"),
        ([click(1, 2, original_width=0)], "says nothing of its photo's size"),
        ([click(1, 2, original_width=480)], "the photo is of 48 × 36 px, and 480 × 36 px were clicked on"),
        ([click(1, 2, value={"x": 1})], "has x and y"),
        ([click(1, 2, value={"x": "1", "y": None})], "has x and y"),
        ([click(1e400, 2)], "has x and y"),
        ([click(1, 2, is_positive=False)], "say with at what is"),
        (["x"], "params.context.result.0: "),
    ],
)
def test_clicks_that_make_no_sense(studio: TestClient, points: Any, reason: str) -> None:
    content = json.dumps(asked(f"{LOCAL}a.png", result=points))
    answer = studio.post("/predict", content=content, headers=JSON)
    assert (answer.status_code, reason in answer.json()["error"]) == (422, True), answer.text


OUTSIDE = [
    f"{LOCAL}../secret.png",
    f"{LOCAL}%2e%2e/secret.png",
    f"{LOCAL}..%2fsecret.png",
    f"{LOCAL}sub/../../secret.png",
    f"{LOCAL}link.png",
    f"{LOCAL}out/secret.png",
    f"{LOCAL}/etc/passwd",
    f"{LOCAL}loop.png",
    f"{LOCAL}",
    f"{LOCAL}a%00.png",
    f"{LOCAL}{'x' * 5000}",
    f"{UPLOAD}../secret.png",
    f"{UPLOAD}%2e%2e%2fsecret.png",
    f"{UPLOAD}%252e%252e/secret.png",
    f"{LOCAL}none.png",
    f"{LOCAL}sub",
    f"{LOCAL}text.png",
    "secret.png",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:9/a.png",
    "https://evil.example/a.png",
    "s3://bucket/a.png",
    "data:image/png;base64,é",
    "data:text/html;base64,AAAA",
    "http://[",
    "",
    None,
    3,
]


def test_nothing_outside_the_folders_is_read(studio: TestClient, notes: list[str], tmp_path: Path) -> None:
    """In a batch such a task has no prediction, and a note; the others have theirs. Asked alone, it is an error."""
    answer = studio.post("/predict", json=asked(*OUTSIDE, f"{LOCAL}a.png"))
    assert answer.status_code == 200
    *nothing, something = answer.json()["results"]
    assert nothing == [[]] * len(OUTSIDE)
    assert something["result"]
    assert len(notes) == len(OUTSIDE)
    assert all(note.startswith("no prediction: ") and str(tmp_path) not in note for note in notes)
    for named in OUTSIDE:
        assert studio.post("/predict", json=asked(named, result=[click(20, 25)])).status_code == 422, named


def test_a_missing_file_and_one_outside_are_told_apart_by_nobody(
    studio: TestClient, notes: list[str]
) -> None:
    for name in ("../secret.png", "../none.png", "out/none.png"):
        studio.post("/predict", json=asked(LOCAL + name))
    assert len({note.replace("secret", "none").partition(": not")[2] for note in notes}) == 1


def test_an_address_of_label_studios_is_read_from_the_folder(studio: TestClient) -> None:
    """It is not fetched, whatever host it names."""
    answer = studio.post("/predict", json=asked(f"https://studio.example{LOCAL}a.png"))
    assert answer.json()["results"][0]["result"]


def test_a_folder_that_is_not_served(client: TestClient, notes: list[str], tmp_path: Path) -> None:
    client.post("/predict", json=asked(f"{LOCAL}a.png", f"{UPLOAD}1/a.png"))
    assert ["--local-files DIR" in notes[0], "--uploads DIR" in notes[1]] == [True, True]
    with pytest.raises(UsageError, match="none: not a folder"):
        Folders(tmp_path / "none")


@pytest.mark.parametrize(
    "sent",
    [
        {},
        asked() | {"tasks": 3},
        asked() | {"tasks": [{"data": 3}]},
        asked() | {"tasks": [{}]},
        asked() | {"tasks": [{"data": {}}] * 2000},
        asked() | {"label_config": None},
        asked() | {"params": {"context": {"result": {}}}},
    ],
)
def test_what_is_no_question(studio: TestClient, sent: Any) -> None:
    answer = studio.post("/predict", json=sent)
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 2)


def test_more_tasks_than_go_together(serve: Serve, root: Path) -> None:
    studio = serve(Limits(together=2), folders=Folders(root))
    tasks = [f"{LOCAL}a.png", "none", f"{LOCAL}sub/b%20c.png", f"{LOCAL}a.png", "none"]
    results = studio.post("/predict", json=asked(*tasks)).json()["results"]
    assert [bool(each) for each in results] == [True, False, True, True, False]
    assert studio.post("/predict", json=asked()).json()["results"] == []
