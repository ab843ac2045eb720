"""Publishing on the Hub: what is uploaded, what the card says, and what is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cratecli.errors import CrateError, InputError, UsageError, WeightsError
from cratecli.handover.publish import CARD, CONFIG, prepare_publication, publish
from cratecli.model.config import ARCHITECTURES
from cratecli.records import Record
from cratecli.training.recipe import TrainRecipe
from cratecli.training.records import LastRow, MeasuresRow
from cratecli.weights.checkpoint import read_tensors
from cratecli.weights.hub import MODEL_FILE
from cratecli.weights.store import store_model
from tests.support.checkpoints import released
from tests.support.hub import FakeHub, Repository, serving_hub
from tests.support.metrics import opening_row
from tests.support.models import CONFIG as SMALL
from tests.support.models import small_crate
from tests.support.server import lead_hub_client

# The Hub's client warns of the one that it uses to upload.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")

WITH_CLASSES = replace(SMALL, classes=2)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving_hub() as server:
        lead_hub_client(server.address, tmp_path / "hub", monkeypatch)
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    store_model(
        tmp_path / "m.safetensors",
        WITH_CLASSES,
        small_crate(WITH_CLASSES).state_dict(),
        labels=("cat", "dog"),
        dtype="float16",
    )
    return tmp_path / "m.safetensors"


def test_a_file_is_published_in_one_commit(hub: FakeHub, file: Path) -> None:
    ready = prepare_publication(file, "lab/crate", licence="mit")
    assert ready.files[MODEL_FILE] == file.read_bytes()  # float16 and names of classes stay
    address = publish(ready, private=True)
    repository = hub.repositories["lab/crate"]
    assert repository.private
    assert address.endswith(repository.commits[-1])
    assert len(repository.commits) == 1
    assert repository.files == dict(ready.files)
    assert hub.tokens == []  # this is not the Hub itself


def test_a_repository_that_is_there_is_written_to(hub: FakeHub, file: Path) -> None:
    hub.repositories["lab/crate"] = Repository({"notes.txt": b"mine"}, ["0" * 40])
    publish(prepare_publication(file, "hf:lab/crate"))
    assert set(hub.repositories["lab/crate"].files) == {"notes.txt", MODEL_FILE, CONFIG, CARD}


def test_the_card_is_for_the_hub_and_for_people(file: Path) -> None:
    card = prepare_publication(file, "lab/crate", licence="mit").card
    about = card.split("---\n")[1]
    assert {"license: mit", "library_name: timm", "- emergent-segmentation"} <= set(about.splitlines())
    assert "crate segment photo.jpg -m hf:lab/crate -o mask.png" in card
    assert 'timm.create_model("hf-hub:lab/crate", pretrained=True)' in card
    assert "## Training" not in card
    assert "Licence: not stated" in prepare_publication(file, "lab/crate").card


def test_released_tensors_get_our_names_and_a_config(tmp_path: Path) -> None:
    """A registered architecture's fields need no model_args; what differs is named."""
    config = replace(ARCHITECTURES["crate_nano_patch8_64"], classes=3, depth=1)
    model = small_crate(config)
    store_model(tmp_path / "a.safetensors", config, model.state_dict())
    ready = prepare_publication(tmp_path / "a.safetensors", "lab/crate")
    about = json.loads(ready.files[CONFIG])
    assert (about["architecture"], about["model_args"]) == (
        "crate_nano_patch8_64",
        {"classes": 3, "depth": 1},
    )
    save_file(released(model), tmp_path / "theirs.safetensors", {"config": json.dumps(config.to_dict())})
    theirs = prepare_publication(tmp_path / "theirs.safetensors", "lab/crate")
    (tmp_path / "b.safetensors").write_bytes(theirs.files[MODEL_FILE])
    assert load_file(tmp_path / "b.safetensors").keys() == model.state_dict().keys()
    assert read_tensors(tmp_path / "b.safetensors").config == config


def run_folder(folder: Path, file: Path, *rows: Record) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    (folder / "model.safetensors").write_bytes(file.read_bytes())
    return folder


OPENING = opening_row(TrainRecipe(model=WITH_CLASSES, epochs=3)).model_copy(
    update={"classes": 2, "steps": 1200}
)
STEP = {"step": 1200, "epoch": 3.0, "seconds": 9.0, "images_per_second": 12.0}


def test_the_card_of_a_run_says_how_it_was_trained_and_how_well(tmp_path: Path, file: Path) -> None:
    measures = MeasuresRow.model_validate(STEP | {"judged_in": 1.0, "accuracy": 0.75, "agree IoU": 0.5})
    last = LastRow(step=1200, seconds=9.0, file="model.safetensors", sha256="c0" * 32)
    card = prepare_publication(run_folder(tmp_path / "run", file, OPENING, measures, last), "lab/crate").card
    assert f"fine-tuned from `crate-nano` (sha256 {'c0' * 32}); 1,200 of 1,200 steps" in card
    assert f"36 images of 2 classes; the SHA-256 of their names and sizes is {'c0' * 32}" in card
    assert {"| epochs | 3.0 |", "| accuracy | 0.75 |", "| agree IoU | 0.5 |"} <= set(card.splitlines())
    begun = prepare_publication(run_folder(tmp_path / "begun", file, OPENING), "lab/crate").card
    assert "not finished: its last checkpoint" in begun
    assert "| accuracy |" not in begun
    (tmp_path / "begun/model.safetensors").unlink()
    with pytest.raises(UsageError, match="crate train --resume goes on"):
        prepare_publication(tmp_path / "begun", "lab/crate")


def test_a_name_that_is_none(file: Path) -> None:
    for name in ("crate", "a/b/c", "../x", "lab/crate@v1"):
        with pytest.raises(UsageError, match="write OWNER/NAME"):
            prepare_publication(file, name)


@pytest.mark.parametrize(
    ("metrics", "error", "reason"),
    [
        (None, UsageError, "is no run of crate train"),
        ("", UsageError, "whose model could be published"),
        ("{}\n", InputError, r"metrics\.jsonl:1: is no row of metrics"),
    ],
)
def test_a_folder_that_is_no_run(
    tmp_path: Path, metrics: str | None, error: type[CrateError], reason: str
) -> None:
    if metrics is not None:
        (tmp_path / "metrics.jsonl").write_text(metrics)
    with pytest.raises(error, match=reason):
        prepare_publication(tmp_path, "lab/crate")


def test_weights_that_are_not_finite_are_not_published(tmp_path: Path) -> None:
    tensors = small_crate().state_dict()
    tensors["norm.bias"] = torch.full_like(tensors["norm.bias"], torch.nan)
    store_model(tmp_path / "m.safetensors", SMALL, tensors)
    with pytest.raises(WeightsError, match=r"not finite: norm\.bias"):
        prepare_publication(tmp_path / "m.safetensors", "lab/crate")


def test_an_upload_that_breaks_off(hub: FakeHub, file: Path) -> None:
    hub.breaks_off = True
    with pytest.raises(WeightsError, match=r"cannot publish lab/crate: the server answered 403 "):
        publish(prepare_publication(file, "lab/crate"))
    assert hub.repositories["lab/crate"].files == {}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses(hub: FakeHub, file: Path, status: int) -> None:
    hub.refuses = status
    with pytest.raises(WeightsError, match=f"cannot publish lab/crate: the server answered {status}"):
        publish(prepare_publication(file, "lab/crate"))
