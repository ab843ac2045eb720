"""Training learns; a resumed run ends with the bits of an unbroken one; what cannot be trained is refused."""

import gc
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cratecli
from cratecli.errors import InputError, OutputError, UsageError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.training.recipe import TrainRecipe
from cratecli.training.train import train
from cratecli.training.watch import Trained, Watch
from tests.support.toy import CLASSES, MODEL, RECIPE, toy

# timm leaves the closing of files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy(tmp_path_factory.mktemp("toy"))


def after(steps: int) -> Watch:
    """Be told to stop once so many steps more were taken."""
    taken = []
    return Watch(on_step=lambda step, _steps: taken.append(step), stop=lambda: len(taken) >= steps)


def go(data: Path, folder: Path, recipe: TrainRecipe = RECIPE, **how: Any) -> Trained:
    return train(data, folder, recipe, workers=0, device="cpu", **how)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    """Give the metrics without what the clock says."""
    clock = {"seconds", "images_per_second", "judged_in"}
    return [{name: value for name, value in row.items() if name not in clock} for row in rows(folder)]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = go(data, folder)
    assert done.done
    assert done.steps == 12
    return folder


def test_it_learns(whole: Path) -> None:
    told = rows(whole)
    losses = [row["loss"] for row in told if "loss" in row]
    assert losses[-1] < losses[0]
    measured = [row["accuracy"] for row in told if "accuracy" in row]
    assert len(measured) == 3
    assert measured[-1] > 0.8
    assert told[0]["classes"] == 3
    assert told[0]["recipe"]["seed"] == 3
    assert told[-1]["file"] == "model.safetensors"


def test_the_checkpoint_is_a_model(whole: Path) -> None:
    model = cratecli.load_model(whole / "model.safetensors")
    assert isinstance(model, Crate)
    assert model.config == replace(MODEL, classes=3)
    assert model.weights is not None
    assert model.weights.sha256 == rows(whole)[-1]["sha256"]


@pytest.mark.parametrize("stops", [(1,), (4,), (5, 3), (0, 11)])
@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_resumed_is_unbroken(data: Path, tmp_path: Path, stops: tuple[int, ...], optimizer: str) -> None:
    recipe = RECIPE.changed({"optimizer": optimizer, "mixup": "0.2", "clip_norm": "1"})
    go(data, tmp_path / "whole", recipe)
    done = go(data, tmp_path / "run", recipe, watch=after(stops[0]))
    for stop in stops[1:]:
        assert not done.done
        done = go(data, tmp_path / "run", None, resume=True, watch=after(stop))  # type: ignore[arg-type]
    assert done.step == sum(stops)
    done = go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]
    assert done.done
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
    one, other = (tmp_path / name / "model.safetensors" for name in ("run", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_killed_before_its_first_state(data: Path, whole: Path, tmp_path: Path) -> None:
    """There is nothing to resume yet: it begins again."""
    go(data, tmp_path / "run", watch=after(3))
    (tmp_path / "run/state.pt").unlink()
    with pytest.raises(UsageError, match="holds no run"):
        go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]
    go(data, tmp_path / "run")
    assert timeless(tmp_path / "run") == timeless(whole)


def test_a_fine_tune_is_resumed_from_its_model(data: Path, whole: Path, tmp_path: Path) -> None:
    """Stopped before the first step, by a model with a mean of its own: the weights are not drawn again."""
    model = cratecli.load_model(whole / "model.safetensors")
    assert isinstance(model, Crate)
    model.config = replace(model.config, mean=(0.5, 0.5, 0.5))
    model.mean = (0.5, 0.5, 0.5)
    how = {"init": model, "changes": {"epochs": "2", "batch_size": "8"}, "workers": 0, "device": "cpu"}
    train(data, tmp_path / "whole", "finetune", **how)  # type: ignore[arg-type]
    train(data, tmp_path / "run", "finetune", **how, watch=after(0))  # type: ignore[arg-type]
    go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]
    one, other = (tmp_path / name / "model.safetensors" for name in ("run", "whole"))
    assert one.read_bytes() == other.read_bytes()
    loaded = cratecli.load_model(one)
    assert loaded.mean == (0.5, 0.5, 0.5)


def test_what_changes_the_bits_is_said(data: Path, tmp_path: Path) -> None:
    go(data, tmp_path / "run", watch=after(2))
    notes: list[str] = []
    go(data, tmp_path / "run", None, resume=True, dtype="bfloat16", watch=Watch(on_note=notes.append))  # type: ignore[arg-type]
    assert any("resumed with dtype bf16, not no" in note for note in notes)


def test_what_a_kill_left_is_swept(data: Path, tmp_path: Path) -> None:
    go(data, tmp_path / "run", watch=after(2))
    orphan = tmp_path / f"run/.crate-{'0' * 32}.part"
    orphan.touch()
    go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "metrics.jsonl",
        "model.safetensors",
        "recipe.toml",
        "state.pt",
    ]


def test_metrics_that_were_lost(data: Path, tmp_path: Path) -> None:
    go(data, tmp_path / "run", watch=after(6))
    (tmp_path / "run/metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="ends before the state"):
        go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]


def test_weights_that_are_no_numbers_are_not_kept(data: Path, tmp_path: Path) -> None:
    def spoil(step: int, _steps: int) -> None:
        if step == 5:
            for module in gc.get_objects():
                if issubclass(type(module), Crate) and module.training:
                    next(module.parameters()).data.fill_(math.nan)

    with pytest.raises(InputError, match="no number"):
        go(data, tmp_path / "run", watch=Watch(on_step=spoil))
    state = torch.load(tmp_path / "run/state.pt", weights_only=True)
    assert state["step"] == 4
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"auto_augment": "foo"}, "auto_augment 'foo'"), ({"classes": "4"}, "has 3 classes, not 4")],
)
def test_what_is_said_before_anything_is_written(
    data: Path, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        go(data, tmp_path / "run", changes=changes)
    assert not (tmp_path / "run").exists()


def test_one_class_is_none(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one class alone"):
        go(data / "train/red", tmp_path / "run")


def test_metrics_after_the_state_are_forgotten(data: Path, whole: Path, tmp_path: Path) -> None:
    go(data, tmp_path / "run", watch=after(6))
    with (tmp_path / "run/metrics.jsonl").open("a") as stream:
        stream.write('{"step": 7, "loss": 1.0}\n{"st')
    go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]
    assert timeless(tmp_path / "run") == timeless(whole)


def test_a_finished_run_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    first = go(data, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    said: list[str] = []
    watch = Watch(on_note=said.append)
    again = go(data, tmp_path / "run", None, resume=True, watch=watch)  # type: ignore[arg-type]
    assert said[-1] == "the run was finished before, with step 12: nothing is left to do"
    assert (again.done, again.sha256, again.measures) == (True, first.sha256, first.measures)
    assert {"accuracy", "validation_loss"} == set(again.measures)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_several_processes_take_no_gpu_by_number(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="cuda:0: of several processes each takes a GPU of its own"):
        train(data, tmp_path / "run", RECIPE, device="cuda:0")
    assert not (tmp_path / "run").exists()


def test_in_bfloat16(data: Path, whole: Path, tmp_path: Path) -> None:
    """What accelerate mixes learns too, and the weights stay float32."""
    train(data, tmp_path / "run", RECIPE, workers=0, device="cpu", dtype="bfloat16")
    rough, exact = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", whole))
    assert {tensor.dtype for tensor in rough.values()} == {torch.float32}
    assert any(not torch.equal(rough[name], exact[name]) for name in exact)
    assert [row["accuracy"] for row in rows(tmp_path / "run") if "accuracy" in row][-1] > 0.8


def test_the_time_limit(data: Path, tmp_path: Path) -> None:
    done = go(data, tmp_path / "run", watch=Watch(limit_minutes=0.0))
    assert (done.step, done.done) == (0, False)


FAMILIES: dict[str, Callable[[CrateConfig], CrateConfig]] = {
    "soft": lambda config: replace(config, sparsifier="soft-ista"),
    "alpha": lambda config: replace(config, stem="conv", sparsifier="odl", output_bias=False),
    "demo": lambda config: replace(config, pre_logits=True),
    "mssa-mlp": lambda config: replace(config, sparsifier="mlp"),
    "mhsa-ista": lambda config: replace(config, attention="mhsa"),
    "vit": lambda config: replace(config, attention="mhsa", sparsifier="mlp"),
}


@pytest.mark.parametrize("change", FAMILIES.values(), ids=FAMILIES)
def test_every_family_learns(
    data: Path, tmp_path: Path, change: Callable[[CrateConfig], CrateConfig]
) -> None:
    recipe = replace(RECIPE, model=change(MODEL), epochs=2.0)
    done = go(data, tmp_path / "run", recipe)
    losses = [row["loss"] for row in rows(tmp_path / "run") if "loss" in row]
    assert losses[-1] < losses[0]
    model = cratecli.load_model(done.checkpoint)
    assert isinstance(model, Crate)
    assert model.config == replace(recipe.model, classes=3)


def test_from_a_trained_model(data: Path, whole: Path, tmp_path: Path) -> None:
    toy(tmp_path / "other", train=8, val=0)
    (tmp_path / "other/train/red").rename(tmp_path / "other/red")
    done = train(
        tmp_path / "other/train",
        tmp_path / "run",
        "finetune",
        init=whole / "model.safetensors",
        changes={"epochs": "1", "batch_size": "8", "image_size": "24", "stored": "float16"},
        workers=0,
        device="cpu",
    )
    model = cratecli.load_model(done.checkpoint)
    assert isinstance(model, Crate)
    assert (model.config.classes, model.config.image_size, model.config.width) == (2, 24, 24)
    before, after_ = load_file(whole / "model.safetensors"), load_file(done.checkpoint)
    kept = "layers.0.attention.subspaces.weight"
    change = (after_[kept].float() - before[kept]).norm() / before[kept].norm()
    assert 0 < change < 0.1  # near where it began: from random weights it would be about √2
    assert rows(tmp_path / "run")[0]["init"]["sha256"] == rows(whole)[-1]["sha256"]
    assert "accuracy" not in rows(tmp_path / "run")[-2]


def test_what_attention_finds_is_watched(data: Path, tmp_path: Path) -> None:
    seen = []

    def judge(model: Crate) -> dict[str, float]:
        seen.append(model)
        assert not model.training
        assert not next(model.parameters()).requires_grad
        return {"auto IoU": 0.5}

    done = go(data, tmp_path / "run", watch=Watch(measure=judge, every=0.5))
    assert len(seen) == 6
    assert done.measures["auto IoU"] == 0.5
    assert sum("auto IoU" in row for row in rows(tmp_path / "run")) == 6


def test_weights_do_not_move_under_the_judge(data: Path, whole: Path, tmp_path: Path) -> None:
    def meddle(model: Crate) -> dict[str, float]:
        torch.manual_seed(99)
        with torch.no_grad():
            next(model.parameters()).zero_()
        return {}

    go(data, tmp_path / "run", watch=Watch(measure=meddle))
    assert rows(tmp_path / "run")[-1]["sha256"] == rows(whole)[-1]["sha256"]


def test_a_run_is_not_begun_twice(data: Path, whole: Path) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match="--resume"):
        go(data, whole)
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_nothing_to_resume(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        go(data, tmp_path / "none", None, resume=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="own recipe"):
        go(data, tmp_path / "none", RECIPE, resume=True)


def test_another_data_set_is_no_resumption(data: Path, tmp_path: Path) -> None:
    go(data, tmp_path / "run", watch=after(2))
    with pytest.raises(UsageError, match="data set is not the one"):
        go(toy(tmp_path / "other", train=13), tmp_path / "run", None, resume=True)  # type: ignore[arg-type]


def test_another_recipe_is_no_resumption(data: Path, tmp_path: Path) -> None:
    go(data, tmp_path / "run", watch=after(2))
    file = tmp_path / "run/recipe.toml"
    file.write_text(file.read_text().replace("0.003", "0.004"))
    with pytest.raises(UsageError, match="recipe is not the one"):
        go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"not a state at all", b"\x80\x04cposix\nsystem\n."])
def test_a_damaged_state(data: Path, tmp_path: Path, damage: bytes) -> None:
    go(data, tmp_path / "run", watch=after(2))
    (tmp_path / "run/state.pt").write_bytes(damage)
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    with pytest.raises(
        InputError, match=r"is no state of a run: .*; --init .*model\.safetensors -o ELSEWHERE"
    ):
        go(data, tmp_path / "run", None, resume=True)  # type: ignore[arg-type]
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


def test_a_loss_that_is_no_number(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower the learning rate"):
        go(data, tmp_path / "run", RECIPE.changed({"learning_rate": "100", "epochs": "20", "ema": "0"}))
    assert all(math.isfinite(row["loss"]) for row in rows(tmp_path / "run") if "loss" in row)
    assert b"NaN" not in (tmp_path / "run/metrics.jsonl").read_bytes()


def test_validation_that_is_all_broken(data: Path, tmp_path: Path) -> None:
    toy(tmp_path / "data")
    for picture in (tmp_path / "data/val").rglob("*.png"):
        picture.write_bytes(b"broken")
    with pytest.raises(InputError, match="no image to validate on can be read"):
        go(tmp_path / "data", tmp_path / "run")
    done = go(tmp_path / "data", tmp_path / "run", None, resume=True, val=str(data / "val"))  # type: ignore[arg-type]
    assert done.done
    measured = [row["step"] for row in rows(tmp_path / "run") if "accuracy" in row]
    assert measured == [8, 12]  # the steps before 4 were kept all the same


def test_where_nothing_can_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        go(data, tmp_path / "file/run")


def test_classes_are_those_of_the_data(whole: Path) -> None:
    from safetensors import safe_open

    with safe_open(whole / "model.safetensors", "pt") as stored:
        assert tuple(json.loads(stored.metadata()["labels"])) == CLASSES
