"""Training learns; a resumed run ends with the bits of an unbroken one; what cannot be trained is refused."""

import gc
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cratecli
from cratecli.errors import InputError, UsageError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.training.recipe import TrainRecipe
from cratecli.training.train import train
from cratecli.training.watch import Trained, Watch
from tests.support.toy import CLASSES, MODEL, RECIPE, metrics, same_end, timeless, toy

# timm leaves the closing of files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy(tmp_path_factory.mktemp("toy"))


def stop_after(steps: int) -> Watch:
    """Stop once so many steps more were taken."""
    taken: list[int] = []
    return Watch(on_step=lambda step, _steps: taken.append(step), stop=lambda: len(taken) >= steps)


def go(data: Path, folder: Path, recipe: TrainRecipe | str = RECIPE, **how: Any) -> Trained:
    return train(data, folder, recipe, workers=0, device="cpu", **how)


def resume(data: Path, folder: Path, **how: Any) -> Trained:
    return train(data, folder, resume=True, workers=0, device="cpu", **how)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of 12 steps."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = go(data, folder)
    assert done.done
    assert done.steps == 12
    return folder


@pytest.fixture(scope="module")
def stopped_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stop the same run after 6 steps."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("stopped") / "run"
    go(data, folder, watch=stop_after(6))
    return folder


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    """Give a copy of the stopped run."""
    return Path(shutil.copytree(stopped_run, tmp_path / "run"))


def test_it_learns(whole: Path) -> None:
    rows = metrics(whole)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
    measured = [row["accuracy"] for row in rows if "accuracy" in row]
    assert len(measured) == 3
    assert measured[-1] > 0.8
    assert rows[0]["classes"] == 3
    assert rows[0]["recipe"]["seed"] == 3
    assert rows[-1]["file"] == "model.safetensors"


def test_the_checkpoint_is_a_model(whole: Path) -> None:
    model = cratecli.load_model(whole / "model.safetensors")
    assert isinstance(model, Crate)
    assert model.config == MODEL
    assert model.weights is not None
    assert model.weights.sha256 == metrics(whole)[-1]["sha256"]


@pytest.fixture(scope="module")
def mixed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[TrainRecipe, Path]]:
    """Train once with each optimiser, mixed images and a bounded gradient."""
    runs: dict[str, tuple[TrainRecipe, Path]] = {}

    def run(optimizer: str) -> tuple[TrainRecipe, Path]:
        if optimizer not in runs:
            recipe = RECIPE.changed({"optimizer": optimizer, "mixup": "0.2", "clip_norm": "1"})
            runs[optimizer] = recipe, tmp_path_factory.mktemp(optimizer) / "run"
            go(data, runs[optimizer][1], recipe)
        return runs[optimizer]

    return run


@pytest.mark.parametrize(
    ("optimizer", "stops"), [("adamw", (1,)), ("adamw", (5, 3)), ("adamw", (0, 11)), ("lion", (4, 2))]
)
def test_resumed_is_unbroken(
    data: Path,
    tmp_path: Path,
    mixed: Callable[[str], tuple[TrainRecipe, Path]],
    optimizer: str,
    stops: tuple[int, ...],
) -> None:
    recipe, unbroken = mixed(optimizer)
    done = go(data, tmp_path / "run", recipe, watch=stop_after(stops[0]))
    for stop in stops[1:]:
        assert not done.done
        done = resume(data, tmp_path / "run", watch=stop_after(stop))
    assert done.step == sum(stops)
    assert resume(data, tmp_path / "run").done
    assert same_end(tmp_path / "run", unbroken)


def test_a_run_killed_before_its_first_state(data: Path, whole: Path, stopped: Path) -> None:
    """There is nothing to resume yet: it begins again."""
    (stopped / "state.pt").unlink()
    with pytest.raises(UsageError, match="holds no run"):
        resume(data, stopped)
    go(data, stopped)
    assert same_end(stopped, whole)


def test_a_fine_tune_is_resumed_from_its_model(data: Path, whole: Path, tmp_path: Path) -> None:
    """Stopped before the first step, by a model with a mean of its own: the weights are not drawn again."""
    model = cratecli.load_model(whole / "model.safetensors")
    assert isinstance(model, Crate)
    model.mean = (0.5, 0.5, 0.5)
    model.config = CrateConfig.from_dict(model.config.to_dict() | {"mean": model.mean})
    how: dict[str, Any] = {"init": model, "changes": {"epochs": "1", "batch_size": "8"}}
    go(data, tmp_path / "whole", "finetune", **how)
    go(data, tmp_path / "run", "finetune", **how, watch=stop_after(0))
    resume(data, tmp_path / "run")
    one, other = (tmp_path / name / "model.safetensors" for name in ("run", "whole"))
    assert one.read_bytes() == other.read_bytes()
    loaded = cratecli.load_model(one)
    assert loaded.mean == (0.5, 0.5, 0.5)


def test_what_changes_the_bits_is_said(data: Path, stopped: Path) -> None:
    notes: list[str] = []
    resume(data, stopped, dtype="bfloat16", watch=Watch(on_note=notes.append, limit_minutes=0.0))
    assert any("resumed with dtype bf16, not no" in note for note in notes)


def test_metrics_that_were_lost(data: Path, stopped: Path) -> None:
    (stopped / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="ends before the state"):
        resume(data, stopped)


def test_weights_that_are_no_numbers_are_not_kept(data: Path, tmp_path: Path) -> None:
    def spoil(step: int, _steps: int) -> None:
        if step == 5:
            for module in gc.get_objects():
                if issubclass(type(module), Crate) and module.training:
                    next(module.parameters()).data.fill_(math.nan)

    with pytest.raises(InputError, match="no number"):
        go(data, tmp_path / "run", watch=Watch(on_step=spoil))
    state = torch.load(tmp_path / "run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 4
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


def test_metrics_after_the_state_are_forgotten(data: Path, whole: Path, stopped: Path) -> None:
    with (stopped / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 7, "loss": 1.0}\n{"st')
    resume(data, stopped)
    assert timeless(stopped) == timeless(whole)


def test_a_finished_run_stays_as_it_is(data: Path, whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    notes: list[str] = []
    again = resume(data, whole, watch=Watch(on_note=notes.append))
    assert notes[-1] == "the run was finished before, with step 12: nothing is left to do"
    *_, measured, last = metrics(whole)
    assert (again.done, again.sha256) == (True, last["sha256"])
    assert set(again.measures) == {"accuracy", "validation_loss"}
    assert again.measures["accuracy"] == pytest.approx(measured["accuracy"], abs=1e-6)
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


def test_several_processes_take_no_gpu_by_number(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="cuda:0: of several processes each takes a GPU of its own"):
        train(data, tmp_path / "run", RECIPE, device="cuda:0")
    assert not (tmp_path / "run").exists()


def test_in_bfloat16(data: Path, whole: Path, tmp_path: Path) -> None:
    """What accelerate mixes learns too, and the weights stay float32."""
    go(data, tmp_path / "run", dtype="bfloat16")
    rough, exact = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", whole))
    assert {tensor.dtype for tensor in rough.values()} == {torch.float32}
    assert any(not torch.equal(rough[name], exact[name]) for name in exact)
    assert [row["accuracy"] for row in metrics(tmp_path / "run") if "accuracy" in row][-1] > 0.8


def test_the_time_limit(data: Path, tmp_path: Path) -> None:
    done = go(data, tmp_path / "run", watch=Watch(limit_minutes=0.0))
    assert (done.step, done.done) == (0, False)


FAMILIES = {
    "soft": {"sparsifier": "soft-ista"},
    "alpha": {"stem": "conv", "sparsifier": "odl", "output_bias": "false"},
    "demo": {"pre_logits": "true"},
    "mssa-mlp": {"sparsifier": "mlp"},
    "mhsa-ista": {"attention": "mhsa"},
    "vit": {"attention": "mhsa", "sparsifier": "mlp"},
}


@pytest.mark.parametrize("changes", FAMILIES.values(), ids=FAMILIES)
def test_every_family_learns(data: Path, tmp_path: Path, changes: dict[str, str]) -> None:
    recipe = RECIPE.changed(changes | {"epochs": "2"})
    done = go(data, tmp_path / "run", recipe, watch=Watch(every=2))
    losses = [row["loss"] for row in metrics(tmp_path / "run") if "loss" in row]
    assert losses[-1] < losses[0]
    model = cratecli.load_model(done.checkpoint)
    assert isinstance(model, Crate)
    assert model.config == recipe.model


def test_from_a_trained_model(data: Path, whole: Path, tmp_path: Path) -> None:
    toy(tmp_path / "other", train=8, val=0)
    (tmp_path / "other/train/red").rename(tmp_path / "other/red")
    changes = {"epochs": "1", "batch_size": "8", "image_size": "24", "stored": "float16"}
    init = whole / "model.safetensors"
    done = go(tmp_path / "other/train", tmp_path / "run", "finetune", init=init, changes=changes)
    model = cratecli.load_model(done.checkpoint)
    assert isinstance(model, Crate)
    assert (model.config.classes, model.config.image_size, model.config.width) == (2, 24, 24)
    before, after_ = load_file(whole / "model.safetensors"), load_file(done.checkpoint)
    kept = "layers.0.attention.subspaces.weight"
    change = (after_[kept].float() - before[kept]).norm() / before[kept].norm()
    assert 0 < change < 0.1  # near where it began: from random weights it would be about √2
    assert metrics(tmp_path / "run")[0]["init"]["sha256"] == metrics(whole)[-1]["sha256"]
    assert "accuracy" not in metrics(tmp_path / "run")[-2]


def test_measures_on_the_way(data: Path, whole: Path, tmp_path: Path) -> None:
    """A measure is of a copy: whatever it does to model and random numbers, the run ends as it would without."""
    seen: list[Crate] = []

    def meddle(model: Crate) -> dict[str, float]:
        assert not model.training
        assert not next(model.parameters()).requires_grad
        seen.append(model)
        torch.manual_seed(99)
        with torch.no_grad():
            next(model.parameters()).zero_()
        return {"agree IoU": 0.5}

    done = go(data, tmp_path / "run", watch=Watch(measure=meddle, every=0.5))
    assert len(seen) == 6
    assert done.measures["agree IoU"] == 0.5
    assert sum("agree IoU" in row for row in metrics(tmp_path / "run")) == 6
    assert done.sha256 == metrics(whole)[-1]["sha256"]


def test_a_run_is_not_begun_twice(data: Path, whole: Path) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match="--resume"):
        go(data, whole)
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_nothing_to_resume(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        resume(data, tmp_path / "none")
    with pytest.raises(UsageError, match="own recipe"):
        go(data, tmp_path / "none", RECIPE, resume=True)


def test_another_data_set_is_no_resumption(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data set is not the one"):
        resume(toy(tmp_path / "other", train=13), stopped)


def test_another_recipe_is_no_resumption(data: Path, stopped: Path) -> None:
    file = stopped / "recipe.toml"
    file.write_text(file.read_text().replace("0.003", "0.004"))
    with pytest.raises(UsageError, match="recipe is not the one"):
        resume(data, stopped)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"not a state at all", b"\x80\x04cposix\nsystem\n."])
def test_a_damaged_state(data: Path, stopped: Path, damage: bytes) -> None:
    (stopped / "state.pt").write_bytes(damage)
    before = (stopped / "metrics.jsonl").read_bytes()
    with pytest.raises(
        InputError, match=r"is no state of a run: .*; --init .*model\.safetensors -o ELSEWHERE"
    ):
        resume(data, stopped)
    assert (stopped / "metrics.jsonl").read_bytes() == before


def test_a_loss_that_is_no_number(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower the learning rate"):
        go(data, tmp_path / "run", RECIPE.changed({"learning_rate": "100", "epochs": "20", "ema": "0"}))
    assert all(math.isfinite(row["loss"]) for row in metrics(tmp_path / "run") if "loss" in row)
    assert b"NaN" not in (tmp_path / "run/metrics.jsonl").read_bytes()


def test_validation_that_is_all_broken(data: Path, tmp_path: Path) -> None:
    toy(tmp_path / "data")
    for picture in (tmp_path / "data/val").rglob("*.png"):
        picture.write_bytes(b"broken")
    with pytest.raises(InputError, match="no image to validate on can be read"):
        go(tmp_path / "data", tmp_path / "run")
    done = resume(tmp_path / "data", tmp_path / "run", val=str(data / "val"))
    assert done.done
    measured = [row["step"] for row in metrics(tmp_path / "run") if "accuracy" in row]
    assert measured == [8, 12]  # the steps before 4 were kept all the same


def test_classes_are_those_of_the_data(whole: Path) -> None:
    from safetensors import safe_open

    with safe_open(whole / "model.safetensors", "pt") as stored:
        assert tuple(json.loads(stored.metadata()["labels"])) == CLASSES
