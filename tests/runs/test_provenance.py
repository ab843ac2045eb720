"""What outputs say of how they were made: paths from their own folder, a digest of what decides the outcome."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cratecli import load_model
from cratecli.runs.jobs import Job
from cratecli.runs.provenance import Provenance, exported, provenance

MADE = Provenance(
    "segment", {"as": "mask"}, "crate-nano", "0" * 64, {"device": "cpu", "dtype": "float32", "batch_size": 8}
)


def told(made: Provenance, target: str | None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.text(None if target is None else Path(target), **more))
    return found


def test_paths_are_seen_from_the_outputs_folder() -> None:
    of_one = json.loads(MADE.told(Job(Path("photos/a.jpg"), Path("masks/sub/a.png")), "f" * 64))
    assert (of_one["input"], of_one["input_sha256"]) == ("../../photos/a.jpg", "f" * 64)
    piped = json.loads(MADE.told(Job(None, None), "f" * 64))
    assert piped["input"] == "-"
    together = replace(MADE, inputs=("photos", "-", "/far"), settings={"files-from": "list", "parts": "v"})
    found = told(together, "out/run.json")
    assert found["inputs"] == ["../photos", "-", "/far"]
    assert found["settings"] == {"files-from": "../list", "parts": "../v"}
    assert told(together, None)["inputs"] == ["photos", "-", "/far"]


def test_an_output_of_a_folder_names_it_and_all_inputs_even_where_a_list_had_them() -> None:
    found = told(MADE, "parts/labels/a.png", folder=Path("parts"))
    assert (found["folder"], found["inputs"]) == ("..", [])


def test_a_list_on_standard_input_stays_there() -> None:
    assert told(replace(MADE, settings={"files-from": "-"}), "out/x.json")["settings"] == {"files-from": "-"}


@pytest.mark.parametrize(("settings", "seed"), [({}, 0), ({"seed": "7"}, 7)])
def test_the_seed(settings: dict[str, str], seed: int) -> None:
    assert told(replace(MADE, settings=settings), None)["seed"] == seed


def test_weights_of_a_file_are_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "weights_are" not in told(MADE, "out/x.png")
    Path("w.pth").write_bytes(b"")
    found = told(replace(MADE, weights="w.pth"), "out/x.png")
    assert (found["weights"], found["weights_are"]) == ("../w.pth", "file")


def test_the_digest_is_of_what_decides_the_outcome() -> None:
    place = dict(MADE.place)
    assert replace(MADE, place=place | {"batch_size": 1, "device": "cuda:0"}).options == MADE.options
    others = [
        replace(MADE, place=place | {"dtype": "bfloat16"}),
        replace(MADE, settings={"as": "soft"}),
        replace(MADE, weights_sha256="1" * 64),
        replace(MADE, command="objects"),
    ]
    assert len({MADE.options, *(each.options for each in others)}) == 5


def test_of_a_model() -> None:
    model = load_model("crate-nano", device="cpu")
    made = provenance("segment", {}, model, 3)
    assert model.weights
    assert (made.weights, made.weights_sha256) == ("crate-nano", model.weights.sha256)
    where = {"device": "cpu", "dtype": "float32", "batch_size": 3}
    assert made.place == where | {"least_confidence": model.least_confidence}
    assert provenance("objects", {}, model, 3).place == where
    model.weights = None
    assert provenance("segment", {}, model, 3).weights == ""


def test_an_export() -> None:
    found = exported("coco", Path("masks/manifest.jsonl"), Path("out/coco.json"))
    assert (found["command"], found["settings"], found["inputs"]) == ("export", {"as": "coco"}, ["../masks"])
    beside = exported("coco", Path("run.manifest.jsonl"), None)
    assert beside["inputs"] == ["run.manifest.jsonl"]
