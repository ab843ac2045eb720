"""What outputs record of how they were made: paths from their own folder, a digest of what decides the outcome."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cratecli.runs.jobs import Job
from cratecli.runs.provenance import Provenance, Selection, exported, provenance
from cratecli.weights.checkpoint import load_model

MADE = Provenance(
    command="segment",
    recipe={"keep": "otsu"},
    as_="mask",
    weights="crate-nano",
    weights_sha256="0" * 64,
    device="cpu",
    dtype="float32",
    batch_size=8,
)


def changed(**fields: Any) -> Provenance:
    return MADE.model_copy(update=fields)


def record(made: Provenance, target: str | None, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = made.seen_from(None if target is None else Path(target), **more).as_data()
    return plain


def test_paths_are_seen_from_the_outputs_folder() -> None:
    of_one = MADE.of_photo(Job(Path("photos/a.jpg"), Path("masks/sub/a.png")), "f" * 64, confidence=0.5)
    assert (of_one.input, of_one.input_sha256, of_one.confidence) == ("../../photos/a.jpg", "f" * 64, 0.5)
    assert MADE.of_photo(Job(None, None), "f" * 64).input == "-"
    together = changed(inputs=["photos", "-", "/far"], photos=Selection(files_from="list"), parts="v")
    plain = record(together, "out/run.json")
    assert plain["inputs"] == ["../photos", "-", "/far"]
    assert (plain["photos"]["files_from"], plain["parts"]) == ("../list", "../v")
    assert record(together, None)["inputs"] == ["photos", "-", "/far"]


def test_an_output_of_a_folder_names_it_and_all_inputs_even_where_a_list_had_them() -> None:
    plain = record(MADE, "parts/labels/a.png", folder=Path("parts"))
    assert (plain["folder"], plain["inputs"]) == ("..", [])


def test_a_list_on_standard_input_stays_there() -> None:
    assert record(changed(photos=Selection(files_from="-")), "out/x.json")["photos"]["files_from"] == "-"


def test_weights_of_a_file_are_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "weights_are" not in record(MADE, "out/x.png")
    Path("w.pth").write_bytes(b"")
    plain = record(changed(weights="w.pth"), "out/x.png")
    assert (plain["weights"], plain["weights_are"]) == ("../w.pth", "file")


def test_the_digest_is_of_what_decides_the_outcome() -> None:
    assert changed(batch_size=1, device="cuda:0", confidence=0.5).digest == MADE.digest
    others = [
        changed(dtype="bfloat16"),
        changed(as_="soft"),
        changed(recipe={"keep": "mean"}),
        changed(weights_sha256="1" * 64),
        changed(command="objects"),
        changed(photos=Selection(recursive=True)),
    ]
    assert len({MADE.digest, *(each.digest for each in others)}) == 7


def test_of_a_model() -> None:
    model = load_model("crate-nano", device="cpu")
    made = provenance("segment", {}, model, 3)
    assert model.weights
    assert (made.weights, made.weights_sha256) == ("crate-nano", model.weights.sha256)
    assert (made.device, made.dtype, made.batch_size) == ("cpu", "float32", 3)
    model.weights = None
    unnamed = provenance("segment", {}, model, 3)
    assert unnamed.weights is None
    assert unnamed.weights_sha256 not in (None, made.weights_sha256)


def test_an_export() -> None:
    plain = exported("coco", Path("masks/manifest.jsonl"), Path("out/coco.json"))
    assert (plain["command"], plain["as"], plain["inputs"]) == ("export", "coco", ["../masks"])
    assert exported("coco", Path("run.manifest.jsonl"), None)["inputs"] == ["run.manifest.jsonl"]


def test_what_is_written_is_read_back_and_nothing_else() -> None:
    assert Provenance.model_validate(json.loads(MADE.to_json())) == MADE
    assert Provenance.model_validate(MADE.as_data() | {"output": "/etc/passwd"}) == MADE
    with pytest.raises(ValidationError):
        Provenance.model_validate(MADE.as_data() | {"batch_size": "8"})
