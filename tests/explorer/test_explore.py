"""`cratecli.explore` writes the page that `crate explore` writes, also of photos in memory."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cratecli
from cratecli.cli.app import app
from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.explorer import run
from cratecli.handover.explain import explain
from cratecli.model.unroll import WhiteBox
from cratecli.weights.checkpoint import load_model
from tests.support.photos import photo

QUICK: Any = {"size": 32, "layers": [-2, -1]}


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    return load_model("crate-nano", device="cpu")


def blocks(page: Path, name: str) -> dict[str, Any]:
    """Read what a page holds: `contents`, or the data of a photo."""
    found = re.search(rf'id="{name}">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    held: dict[str, Any] = json.loads(found[1])
    return held


def test_the_page_is_the_command_s(tmp_path: Path, model: WhiteBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["b.png", "in/a.png"]):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(photo(seed=seed)).save(name)
    assert cratecli.explore(["b.png", Path("in")], "new/page.html", model, **QUICK) == Path("new/page.html")
    command = ["explore", "b.png", "in", "-o", "new/again.html", "--size", "32", "--layer", "-2,-1"]
    app([*command, "-q", "-m", "crate-nano", "--device", "cpu"], standalone_mode=False)
    assert Path("new/page.html").read_bytes() == Path("new/again.html").read_bytes()
    assert explain(Path("new/page.html")).inputs == ("b.png", "in")


def test_photos_in_memory(tmp_path: Path, model: WhiteBox) -> None:
    pixels = photo(40, 56)
    file = tmp_path / "-odd name.png"
    Image.fromarray(pixels).save(file)
    page = cratecli.explore(
        (each for each in (pixels, Image.fromarray(pixels), file)), tmp_path / "page.html", model, **QUICK
    )
    cards = blocks(page, "contents")["cards"]
    assert [card["name"] for card in cards] == ["photo 0", "photo 1", str(file)]
    assert [(card["height"], card["width"]) for card in cards] == 3 * [(40, 56)]
    first, second, third = (blocks(page, f"photo-{place}") for place in range(3))
    assert first.pop("photo") == second.pop("photo") == "PHOTO"
    assert third.pop("photo") == f"'{file}'"
    assert first == second == third
    with pytest.raises(InputError, match="does not say how it was made"):
        explain(page)
    assert cratecli.explore(pixels, str(page), model, **QUICK) == page
    assert len(blocks(page, "contents")["cards"]) == 1


@pytest.mark.parametrize(
    ("photos", "output", "asked", "error", "message"),
    [
        ("gone.png", "page.html", {}, InputError, "gone.png: no such file"),
        ([np.zeros((4, 4), np.uint8)], "page.html", {}, InputError, "no RGB photo"),
        ([photo(), "gone.png"], "page.html", {}, InputError, "gone.png: no such file"),
        ([], "page.html", {}, NothingMatchedError, "no photo in the list"),
        (photo(), "page.png", {}, UsageError, "let the name end with .html"),
        ("photo.png", "page.png", {}, UsageError, "let the name end with .html"),
        (photo(), ".", {}, UsageError, "is a folder: name the page in it"),
        (photo(), "page.html", {"layers": [99]}, UsageError, "layer 99"),
        (photo(), "page.html", {"size": "all"}, UsageError, "size is 'all', not a whole number"),
        (photo(), "page.html", {"batch_size": 0}, UsageError, "batch_size is 0"),
    ],
)
def test_what_cannot_be_explored(
    tmp_path: Path,
    model: WhiteBox,
    monkeypatch: pytest.MonkeyPatch,
    photos: Any,
    output: str,
    asked: Any,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo()).save("photo.png")
    with pytest.raises(error) as raised:
        cratecli.explore(photos, output, model, **{**QUICK, **asked})
    assert message in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_more_than_a_page_holds(tmp_path: Path, model: WhiteBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MOST_PAGE", 1000)
    with pytest.raises(UsageError, match="too much for one page"):
        cratecli.explore(photo(), tmp_path / "page.html", model, **QUICK)
    assert list(tmp_path.iterdir()) == []
