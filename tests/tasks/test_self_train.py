"""Self-training: photos are taught in whole chunks, bad ones and near-duplicates left out, another run refused."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cratecli.errors import InputError, NothingMatchedError, UsageError, WeightsError
from cratecli.model.mask_head import MaskHead
from cratecli.tasks import school
from cratecli.tasks.drawn import find_head
from cratecli.tasks.options import SegmentOptions
from cratecli.tasks.segment import segment
from cratecli.tasks.self_train import self_train
from cratecli.training import taught
from cratecli.training.watch import Watch
from cratecli.weights.mask_heads import store_head
from tests.support.mask_heads import disc_photo, disc_photos, head_config, stored_head
from tests.support.models import small_crate

MODEL = small_crate()


def rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "taught.jsonl").read_text().splitlines()]


def teach(photos: Path, run: Path, *, notes: list[str] | None = None, **how: object) -> None:
    """Teach photos with a model of random weights, which is sure of too little."""
    with pytest.raises(NothingMatchedError, match=r"sure objects and .*: too few"):
        self_train(photos, run, MODEL, watch=Watch(on_note=(notes or []).append), **how)  # type: ignore[arg-type]


def test_a_photo_that_cannot_be_used_is_passed_over(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 2)
    (tmp_path / "photos/01.png").write_bytes(b"no photo")
    notes = [""]
    teach(tmp_path / "photos", tmp_path / "run", notes=notes)
    good, bad = rows(tmp_path / "run")
    assert good["error"] is None and good["rle"]
    assert "not an image of a known format" in str(bad["error"]) and bad["rle"] is None
    assert any(note.startswith("passed over, as they cannot be used: ") for note in notes)


def test_near_duplicates_of_what_is_held_out_are_left_out(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 3)
    (tmp_path / "truth").mkdir()
    mirrored = Image.fromarray(disc_photo(1)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.resize((60, 45)).save(tmp_path / "truth/other.png")
    teach(tmp_path / "photos", tmp_path / "run", held_out=[tmp_path / "truth"])
    assert [row["duplicate_of"] for row in rows(tmp_path / "run")] == [
        None,
        str(tmp_path / "truth/other.png"),
        None,
    ]


def test_nothing_readable_is_nothing_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"no photo")
    with pytest.raises(NothingMatchedError, match="no photo is left to learn from"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL)
    with pytest.raises(NothingMatchedError, match="no photo in"):
        self_train(tmp_path / "run", tmp_path / "elsewhere", MODEL)


def test_a_stopped_run_teaches_the_rest_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "CHUNK", 2)
    monkeypatch.setattr(school, "CHUNK", 2)
    disc_photos(tmp_path / "photos", 5)
    teach(tmp_path / "photos", tmp_path / "whole")
    done: list[int] = []
    stopped = Watch(on_step=lambda step, _steps: done.append(step), stop=lambda: bool(done))
    assert self_train(tmp_path / "photos", tmp_path / "part", MODEL, watch=stopped) is None
    assert len(rows(tmp_path / "part")) == 2
    with (tmp_path / "part/taught.jsonl").open("a") as stream:
        stream.write('{"photo": "torn')
    teach(tmp_path / "photos", tmp_path / "part", resume=True)
    assert (tmp_path / "part/taught.jsonl").read_bytes() == (tmp_path / "whole/taught.jsonl").read_bytes()
    kept = {each.name: each.read_bytes() for each in (tmp_path / "whole/pool").iterdir()}
    assert kept == {each.name: each.read_bytes() for each in (tmp_path / "part/pool").iterdir()} and kept


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": small_crate(seed=1)}, "the model is not what"),
        ({"photos": "fewer"}, "the photos are not what"),
        ({"changes": {"width": "32"}}, "nothing in it can be changed"),
        ({"held_out": "fewer"}, "the photos held out are not what"),
        ({"resume": False}, "holds a run already"),
        ({"output": "none"}, "holds no run to resume"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, change: Mapping[str, object], reason: str) -> None:
    disc_photos(tmp_path / "photos", 2)
    disc_photos(tmp_path / "fewer", 1)
    teach(tmp_path / "photos", tmp_path / "run")
    asked: dict[str, Any] = {"photos": "photos", "output": "run", "model": MODEL, "resume": True}
    asked |= change
    for name in ("photos", "output"):
        asked[name] = tmp_path / asked[name]
    if "held_out" in asked:
        asked["held_out"] = [tmp_path / asked["held_out"]]
    with pytest.raises(UsageError, match=reason):
        self_train(**asked)


def test_what_arguments_decide_is_no_setting(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="teacher is no setting"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, changes={"teacher": "me"})
    with pytest.raises(UsageError, match="standard input"):
        self_train("-", tmp_path / "run", MODEL)


def test_a_head_teaches_the_next_round(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 2)
    stored_head(tmp_path / "head", head_config(MODEL, token_width=12))
    teach(tmp_path / "photos", tmp_path / "run", teacher=tmp_path / "head")
    assert 'teacher = "chooser"' not in (tmp_path / "run/recipe.toml").read_text()
    assert len(rows(tmp_path / "run")) == 2
    with pytest.raises(UsageError, match="the teacher is not what"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, resume=True)


def test_a_head_mends_the_vote(tmp_path: Path) -> None:
    path = tmp_path / "head"
    stored_head(path, head_config(MODEL, token_width=12))
    plainly: SegmentOptions = {"refine": "none", "min_area": 0.0, "fill_holes": False, "min_confidence": 0.0}
    with_head: SegmentOptions = {**plainly, "head": str(path)}
    without: SegmentOptions = {**plainly, "head": "none"}
    no_frame: SegmentOptions = {**with_head, "frame": False}
    drawn, plain, other = (segment(disc_photo(0), MODEL, **asked) for asked in (with_head, without, no_frame))
    assert drawn.head and drawn.head.name == str(path) and drawn.threshold == 0.5
    assert plain.head is None and not (drawn.soft == plain.soft).all()
    assert (drawn.mask == (drawn.soft >= 0.5)).all()
    assert drawn.confidence == plain.confidence and drawn.heads == plain.heads
    assert not (other.soft == drawn.soft).all()


def test_options_that_a_head_leaves_no_choice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "head"
    stored_head(path, head_config(MODEL, token_width=12))
    with pytest.raises(UsageError, match="reads layers 0,1,2: leave --layer out"):
        segment(disc_photo(0), MODEL, head=str(path), layers=[2])
    with pytest.raises(UsageError, match="reads sizes 16,24,48: leave --size out"):
        segment(disc_photo(0), MODEL, head=str(path), sizes=[16, 24])
    with pytest.raises(UsageError, match="leave --keep out"):
        segment(disc_photo(0), MODEL, head=str(path), keep="top:0.2")
    with pytest.raises(UsageError, match="leave --heads out"):
        segment(disc_photo(0), MODEL, head=str(path), heads="agree")
    with pytest.raises(WeightsError, match="no such file"):
        segment(disc_photo(0), MODEL, head=str(tmp_path / "none"))
    with pytest.raises(UsageError, match="belongs to a model"):
        segment(disc_photo(0), small_crate(seed=2), head=str(path))


def test_a_head_that_lies_is_refused(tmp_path: Path) -> None:
    path, photo = tmp_path / "head", disc_photo(0)
    stored_head(path, head_config(MODEL, token_width=13))
    with pytest.raises(WeightsError, match="reads tokens of 13 channels: the model's have 12"):
        segment(photo, MODEL, head=str(path))
    stored_head(path, head_config(MODEL, token_width=12, layers=(0, 1)))
    with pytest.raises(UsageError, match="reads layers 0,1, not 0,1,2 as the model is asked for"):
        segment(photo, MODEL, head=str(path))
    disc_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="reads layers 0,1, not 0,1,2 as the model is asked for"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, teacher=path)


def test_a_head_that_draws_no_numbers_is_said_to(tmp_path: Path) -> None:
    config = head_config(MODEL, token_width=12)
    huge = {name: torch.full_like(each, 3e38) for name, each in MaskHead(config).state_dict().items()}
    store_head(tmp_path / "head", config, huge, "float32")
    with pytest.raises(WeightsError, match="draws no numbers"):
        segment(disc_photo(0), MODEL, head=str(tmp_path / "head"))


def test_a_size_that_the_model_does_not_see_is_refused(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="size is 17: the model sees photos at 16, 24, 48 px"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, changes={"size": "17"})


def test_a_head_that_was_replaced_is_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "head"
    stored_head(path, head_config(MODEL, token_width=12))
    first = find_head(str(path), MODEL)
    assert first is find_head(str(path), MODEL)
    stored_head(tmp_path / "other", head_config(MODEL, token_width=12))
    shutil.move(tmp_path / "other", path)
    second = find_head(str(path), MODEL)
    assert first and second and first.sha256 != second.sha256


def test_pictures_that_were_lost_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "CHUNK", 2)
    monkeypatch.setattr(school, "CHUNK", 2)
    disc_photos(tmp_path / "photos", 4)
    done: list[int] = []
    stopped = Watch(on_step=lambda step, _steps: done.append(step), stop=lambda: bool(done))
    assert self_train(tmp_path / "photos", tmp_path / "run", MODEL, watch=stopped) is None
    assert any(row["pooled"] for row in rows(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run/pool")
    with pytest.raises(InputError, match=r"pool: has lost pictures: remove .*run to begin again"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, resume=True)


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ("state.pt", "run: holds another run"),
        ("pool/00.png", "pool: is in the way"),
        ("head.safetensors", "head.safetensors: is in the way"),
        ("recipe.toml", "recipe.toml: is in the way"),
        ("metrics.jsonl", "metrics.jsonl: is in the way"),
    ],
)
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, there: str, reason: str) -> None:
    disc_photos(tmp_path / "photos", 1)
    (tmp_path / "run" / there).parent.mkdir(parents=True)
    (tmp_path / "run" / there).write_bytes(b"mine")
    with pytest.raises(UsageError, match=reason):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL)
    left = [each for each in (tmp_path / "run").rglob("*") if each.is_file() and each.name != ".lock"]
    assert left == [tmp_path / "run" / there] and left[0].read_bytes() == b"mine"


def test_nobody_teaches_nothing(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="leave --teacher out"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, teacher="none")
    with pytest.raises(UsageError, match="has no built-in mask head"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL, teacher="built-in")
    assert not (tmp_path / "run").exists()


def test_files_of_a_runs_names_that_no_run_left_are_left_alone(tmp_path: Path) -> None:
    disc_photos(tmp_path / "photos", 1)
    (tmp_path / "run").mkdir()
    for name in ("head.safetensors", "recipe.toml", "metrics.jsonl"):
        (tmp_path / "run" / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match="is in the way"):
        self_train(tmp_path / "photos", tmp_path / "run", MODEL)
    assert {each.read_bytes() for each in (tmp_path / "run").glob("[!.]*")} == {b"mine"}
