"""A recipe: read strictly, changed by name, written so that it reads back."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from cratecli.errors import UsageError
from cratecli.training.head_recipe import read_head_recipe
from cratecli.training.recipe import TrainRecipe, parse_recipe, read_recipe
from tests.support.toy import MODEL, RECIPE


@pytest.mark.parametrize("name", ["in1k", "in21k", "nano", "finetune"])
def test_what_comes_along(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.epochs > 0
    assert recipe.model.classes == 1000 or recipe.model.image_size == 64


def settings(name: str) -> tuple[object, ...]:
    """Give the settings of a recipe that the paper names."""
    recipe = read_recipe(name)
    optimizer = recipe.optimizer, recipe.learning_rate, recipe.weight_decay, recipe.batch_size, recipe.epochs
    return *optimizer, recipe.crop, recipe.flip, recipe.label_smoothing


def test_the_papers_recipes() -> None:
    assert settings("in1k") == ("lion", 2e-4, 0.05, 512, 200, "rrc", 0.5, 0.1)
    assert settings("in21k") == ("lion", 9.6e-5, 0.05, 4096, 90, "rkrc", 0.5, 0.0)


def test_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.to_toml())
    assert read_recipe(str(file)) == RECIPE


def test_one_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cratecli.files.MOST_TEXT", 1000)
    for read in (read_recipe, read_head_recipe):
        with pytest.raises(UsageError, match=r"^/dev/zero: cannot be read: more than 0 MiB: split it$"):
            read("/dev/zero")


def test_changes_reach_the_recipe_and_its_model() -> None:
    changed = RECIPE.changed(
        {
            "epochs": "0.5",
            "optimizer": "lion",
            "attention": "mhsa",
            "width": "48",
            "output_bias": "false",
            "seed": "7",
        }
    )
    assert (changed.epochs, changed.optimizer, changed.seed) == (0.5, "lion", 7)
    assert (changed.model.attention, changed.model.width, changed.model.output_bias) == ("mhsa", 48, False)
    assert changed.model.heads == MODEL.heads


def test_an_architecture_comes_first() -> None:
    changed = RECIPE.changed({"depth": "3", "architecture": "crate_alpha_base_patch16_224"})
    assert (changed.model.sparsifier, changed.model.depth, changed.model.width) == ("odl", 3, 768)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": "many"}, "epochs is 'many': it should be a valid number"),
        ({"epochs": "0"}, "epochs is 0: it should be greater than 0"),
        ({"epochs": "nan"}, "epochs"),
        ({"batch_size": "1.5"}, "batch_size is 1.5: it should be a valid integer"),
        ({"output_bias": "maybe"}, "output_bias is 'maybe': should be a valid boolean"),
        ({"optimizer": "sgd"}, "'lion' or 'adamw'"),
        ({"crop": "centre"}, "'rrc', 'rkrc' or 'rkrr'"),
        ({"ema": "1"}, "ema"),
        ({"drop_patches": "0.99"}, "drop_patches"),
        ({"seed": "-1"}, "seed"),
        ({"width": "25"}, "multiple of 3 heads"),
        ({"image_size": "17"}, "multiple of patch size"),
        ({"attention": "none"}, "'mssa' or 'mhsa'"),
        ({"mean": "4"}, "unknown setting 'mean'"),
        ({"architecture": "vit"}, "is not one of"),
        ({"lr": "1"}, "unknown setting 'lr'"),
        ({"auto_augment": "3"}, "auto_augment is 3: it should be a valid string"),
        ({"mixup": "0.8", "batch_size": "7"}, "even"),
    ],
)
def test_what_makes_no_sense(changes: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RECIPE.changed(changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = 1", "missing"),
        (
            "epochs = '1'\n[model]\narchitecture = 'crate_nano_patch8_64'",
            "epochs is '1': it should be a valid",
        ),
        (
            "epochs = true\n[model]\narchitecture = 'crate_nano_patch8_64'",
            "epochs is True: it should be a valid",
        ),
        (
            "optimizer = 3\n[model]\narchitecture = 'crate_nano_patch8_64'",
            "optimizer is 3: it should be 'lion'",
        ),
        ("model = 3", "not a table"),
        ("epoch = 1\n[model]\narchitecture = 'crate_nano_patch8_64'", "unknown setting epoch"),
        ("[model]\narchitecture = ['a']", "is not one of"),
        ("epochs = ", "not TOML"),
        ("x = " + "[" * 9999, "not TOML"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_recipe(str(file))
    assert str(file) in str(caught.value)


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the recipes are in1k, in21k, nano, finetune"):
        read_recipe("in2k")
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(str(tmp_path))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not TOML"):
        read_recipe(str(tmp_path / "bytes"))


def test_whole_numbers_are_numbers() -> None:
    assert parse_recipe(
        {"epochs": 3, "model": {"architecture": "crate_nano_patch8_64"}}, "here"
    ) == TrainRecipe(model=read_recipe("nano").model, epochs=3.0)


def test_text_is_read_as_its_setting_is() -> None:
    changed = RECIPE.changed(
        {"ema": ".5", "batch_size": "16", "pre_logits": "True", "auto_augment": "rand-m9"}
    )
    assert (changed.ema, changed.batch_size, changed.auto_augment) == (0.5, 16, "rand-m9")
    assert changed.model.pre_logits


def test_every_setting_says_what_it_is() -> None:
    for name, setting in TypeAdapter(TrainRecipe).json_schema()["properties"].items():
        assert setting["description"], name


def test_a_recipe_stays_as_it_is() -> None:
    with pytest.raises(AttributeError, match="epochs"):
        RECIPE.epochs = 1.0  # type: ignore[misc]
    with pytest.raises(UsageError, match="unknown setting epoch"):
        TrainRecipe(model=MODEL, epoch=1.0)  # type: ignore[call-arg]
