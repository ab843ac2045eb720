"""Every benchmark runs: each can be imported, and its smallest case comes to an end, on photos made here."""

import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from importlib import import_module
from multiprocessing import dummy
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from cratecli.arrays import RGB
from cratecli.cli.app import main
from cratecli.geometry import Box, Grid, Size
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox
from cratecli.training.certainty import Taught
from cratecli.training.composites import Cutout
from cratecli.training.head_recipe import HeadRecipe
from cratecli.training.pool import frame_grid, frame_size
from cratecli.training.taught import TaughtFile, TaughtPhoto
from cratecli.weights.checkpoint import load_model
from cratecli.weights.store import store_model
from tests.support.mask_heads import head_config, stored_head
from tests.support.models import CONFIG, small_crate
from tests.support.photos import photo
from tests.support.served import served

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
HELPERS = {"gpu_bench", "gpu_parity", "gpu_passes", "literal", "measure", "models"}
HELPERS |= {"moved", "page", "photos", "watched"}
BROWSER = {"explorer"}
RAY = {"scale"}
HEIGHT, WIDTH, COUNT = 48, 64, 3  # px, and photos of each data set

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def small() -> Crate:
    return small_crate(replace(CONFIG, width=24))


def load_small(name: str | Path = "crate-nano", **how: Any) -> WhiteBox:
    """Give a smaller model in place of the built-in one, and load files as ever."""
    return load_model(name, **how) if isinstance(name, Path) else small()


def crate_here(*words: str) -> tuple[int, str]:
    """Run the command in this process; give its exit code and what it said."""
    said = io.StringIO()
    with (
        patch.object(sys, "argv", ["crate", *words]),
        redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return int(str(ended.value.code)), said.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what the benchmarks call DATA: four data sets of a few photos, a disc on each."""
    folder = tmp_path_factory.mktemp("data")
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    disc = ((rows - HEIGHT * 0.5) ** 2 + (cols - WIDTH * 0.3) ** 2 <= (HEIGHT * 0.2) ** 2).astype(np.uint8)
    truths = {"ecssd200": {"masks": disc * 255}, "horses40": {"masks": disc * 255}, "coco128": {}}
    truths["car_parts80"] = {"masks_part": disc * (1 + (rows > HEIGHT / 2))}
    for name, pictures in truths.items():
        for number in range(COUNT):
            for place, pixels in ({"images": photo(HEIGHT, WIDTH, number)} | pictures).items():
                path = folder / name / place / f"{number}.{'jpg' if place == 'images' else 'png'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    corners = [11, 10, 40, 10, 40, 38, 11, 38]
    things = [
        {"id": number + 1, "image_id": number, "category_id": 1, "segmentation": [corners]}
        | {"bbox": [11, 10, 29, 28], "area": 812, "iscrowd": 0}
        for number in range(COUNT)
    ]
    shown = [
        {"id": number, "file_name": f"{number}.jpg", "height": HEIGHT, "width": WIDTH}
        for number in range(COUNT)
    ]
    whole = {"images": shown, "annotations": things, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "coco128/instances.json").write_text(json.dumps(whole))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out the folder that `crate train` left when it made the built-in model, with a smaller model in it."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("metrics.jsonl", "recipe.toml"):
        stem, _, ending = name.partition(".")
        shutil.copy(BENCHMARKS / f"crate-nano/{stem}-64.{ending}", folder / name)
    model = small()
    store_model(folder / "model.safetensors", model.config, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def self_trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """Lay out the folder that `crate self-train` left, with a head of the smaller model and what was taught in it."""
    folder, model = tmp_path_factory.mktemp("head"), small()
    stored_head(folder / "head.safetensors", head_config(model, token_width=24))
    recipe = HeadRecipe(epochs=2.0, size=16, width=32, batch_size=4)
    (folder / "recipe.toml").write_text(recipe.to_toml())
    rows = [{"recipe": recipe.to_dict(), "objects": 6, "steps": 3}, {"step": 2, "seconds": 90.0}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    grid = frame_grid(Size(HEIGHT, WIDTH), 16, model.patch_size)
    mask = np.zeros(frame_size(grid), bool)
    height, width = mask.shape
    mask[height // 4 : 3 * height // 4, width // 5 : 3 * width // 5] = True
    paths = [*sorted((data / "ecssd200/images").iterdir()), *sorted((data / "horses40/images").iterdir())]
    taught = [
        TaughtPhoto.of(
            str(path),
            hashlib.sha256(path.read_bytes()).hexdigest(),
            Taught(mask, 1.0, 1.0, 1.0),
            grid,
            pooled=True,
        )
        for path in paths
    ]
    TaughtFile(folder).start()
    TaughtFile(folder).append(taught)
    return folder


STAND_INS: dict[str, Any] = {"get_context": lambda _: dummy, "load_model": load_small}
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a benchmark as its own folder sees it; processes are threads, and the built-in model a smaller one."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name: str) -> ModuleType:
        module = import_module(name)
        for each in (module, import_module("models")):
            for known, stand_in in STAND_INS.items():
                if hasattr(each, known):
                    monkeypatch.setattr(each, known, stand_in)
        return module

    yield load
    for name in NAMES:
        sys.modules.pop(name, None)


def cut_halves(read: Iterator[RGB], _: WhiteBox) -> tuple[list[Cutout], list[RGB]]:
    """Take the left half of every photo for an object, and the photo for a ground."""
    grounds = list(read)
    return [Cutout(each[:, :16], np.ones((HEIGHT, 16), bool)) for each in grounds], grounds


SMALL: dict[str, dict[str, Any]] = {
    "confidence": {"sure": cut_halves, "SIZES": (Size(32, 48),), "KINDS": ("none", "one", "several")},
    "batch": {"EACH": 2, "TURNS": 1, "TIMES": 1, "STEP": 1, "BASE": CONFIG},
    "gpu": {"crate": crate_here},
    "explorer": {"LOADS": 1, "PRESSES": 2, "CASES": {"small": ("coffee.jpg", small)}},
    "maskcut": {"GRID": Grid(8, 8)},
    "objects": {"LEAST": 16},
    "noise": {"SIGMAS": (25,), "SHARES": (0.5,), "SHOWN": ((0, 0.0), (25, 0.5))},
    "nothing": {"SIZES": ((64, 64),), "SEEDS": range(1)},
    "ranker": {
        "is_sure": lambda taught, least: True,
        "EMPTY": -1.0,
        "ground_window": lambda mask: Box(0, 0, *mask.shape),
        "SHARE": (0, 1),
    },
    "parts": {"SEEDS": range(1), "COUNTS": range(2, 3)},
    "parts_scale": {"ROUNDS": {2: 1}, "ORDERS": ((2, 1),)},
    "parts_shards": {"COUNTS": (2, 4), "SHARD": 2, "SIDE": 32},
    "scale": {
        **{"TURNS": 1, "FEW": {"built in": 2}, "MANY": {"built in": 4}, "BASE": CONFIG},
        **{"ROWS": (20, 40), "SHARDS": 2, "EACH": 20, "KILLS": 2},
    },
    "serve": {"EACH": 1, "TURNS": 1, "CLIENTS": (2,), "served": served},
    "speed": {"CONFIG": CONFIG, "LAYER": 1, "PAIRS": 1, "SIDE": 64, "LARGE": 64},
    "startup": {
        "TURNS": 1,
        "COMMANDS": {"import": ("-c", "import cratecli")},
        "PHOTOS": {"a": ["raccoon.jpg"]},
        "MASKS": ("-c", "pass", "{out}"),
    },
    "train_speed": {"BATCH": 2, "PAIRS": 1},
}
"""What makes a case small, by the names of its module."""

ARGUMENTS: dict[str, list[str]] = {
    "ablation": ["DATA", "RUN"],
    "confidence": ["DATA/ecssd200/images", "--composites", "3", "--table", "PAGE/confidence.toml"],
    "named": ["DATA/coco128", "--pictures", "PAGE/pictures"],
    "scale": ["DATA", "built-in", "moved", "memory", "kills"],
    "self_training": ["DATA", "HEAD"],
    "noise": ["DATA", "--figure", "PAGE/figure.jpg"],
    "ranker": ["DATA/ecssd200/images", "--composites", "3", "--table", "PAGE/ranker.toml"],
    "pieces": ["HEAD", "--composites", "3", "--table", "PAGE/pieces.toml"],
    "explorer": [],
    "gpu": ["--device", "cpu", "--quick"],
    "serve": [],
    "speed": [],
    "startup": [],
    "train_speed": [],
    "training": ["DATA", "RUN"],
    "transfer": ["DATA", "RUN"],
}


def test_every_one_is_tried_or_helps_others(load: Load) -> None:
    assert {name for name in NAMES if not hasattr(load(name), "main")} == HELPERS


def slow(name: str) -> Any:
    """Mark a benchmark that starts Chromium, or Ray: it is tried with the other tests that do."""
    return pytest.param(name, marks=pytest.mark.slow)


CASES = [slow(name) if name in BROWSER | RAY else name for name in NAMES if name not in HELPERS]


@pytest.mark.parametrize("name", CASES)
def test_its_smallest_case(
    name: str,
    load: Load,
    data: Path,
    trained: Path,
    self_trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name in BROWSER:
        pytest.importorskip("playwright", reason="pip install 'cratecli[explore-test]'")
        if not any(map(shutil.which, ("chromium", "google-chrome"))):
            pytest.skip("there is no Chromium: apt-get install chromium")
    if name in RAY:
        pytest.importorskip("ray", reason="pip install 'cratecli[ray]'")
        monkeypatch.delenv("PYTHONWARNINGS", raising=False)  # Ray warns of its own settings
    module = load(name)
    for constant, value in SMALL.get(name, {}).items():
        assert hasattr(module, constant)
        monkeypatch.setattr(module, constant, value)
    if name in ("parts_scale", "parts_shards"):
        monkeypatch.setattr(module, "run_apart", module.run)
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # which takes a minute
    page = tmp_path / "page.md"
    marks = ARGUMENTS[name][1:] if name in RAY else ["table"]
    page.write_text("before\n" + "".join(f"<!-- {mark} -->\n<!-- end -->\n" for mark in marks) + "after\n")
    places = {"DATA": data, "RUN": trained, "HEAD": self_trained, "PAGE": tmp_path}
    arguments = [*ARGUMENTS.get(name, ["DATA"]), "--write", str(page)]
    for place, path in places.items():
        arguments = [each.replace(place, str(path)) for each in arguments]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module.main()
    text = page.read_text()
    assert "-->\n<!-- end -->" not in text
    assert re.search(r"^\|---", text, re.M)
    assert "nan" not in text.lower().replace("crate-nano", "").replace("`nano`", "")


def test_the_gpu_page_is_written_though_a_check_fails_and_a_section_breaks_off(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, page = load("gpu"), tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\n<!-- end -->\nafter\n")

    def breaks(bench: Any) -> Iterator[str]:
        yield f"measured, {bench.check(False, 'a check')}"
        race = bench.race({"odd": lambda: int("x"), "large": lambda: torch.empty(1 << 60), "fine": lambda: 1})
        yield f"{race.over('odd', 'fine')}; {race.over('large', 'fine')}; {race.over('fine', 'fine')}"
        raise ValueError("no | such thing\nat all")

    monkeypatch.setattr(module, "SECTIONS", {"Breaks": breaks, "Holds": lambda _: ["still measured"]})
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--quick", "--write", str(page)])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    text = page.read_text()
    assert "measured, **FAILED**\nValueError: invalid literal" in text
    assert "; out of memory; 1.00\n" in text
    assert "broke off: ValueError: no / such thing\n" in text
    assert "still measured" in text
    assert re.search(r"^Checks that failed: a check, odd: ValueError: .*, Breaks\.$", text, re.M)
    assert text.endswith("<!-- end -->\nafter\n")


def test_the_gpu_page_needs_a_device_that_is_there(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cuda:99"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 5
