"""Reading how an output was made: the record, with paths as the working folder has them, and what has changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from cratecli import __version__
from cratecli.errors import InputError, UsageError
from cratecli.handover.explain import explain
from cratecli.io.formats import png
from cratecli.runs.provenance import Command, Selection
from cratecli.tasks.object_recipes import choose_object_recipe
from cratecli.tasks.options import as_options
from cratecli.tasks.recipes import (
    QUESTIONS,
    ViewRecipe,
    choose_layer_recipe,
    choose_part_recipe,
    choose_recipe,
    choose_view_recipe,
    defaults,
)
from tests.support.models import small_crate

TOLD = {
    "version": __version__,
    "command": "parts",
    "recipe": {"k": 2},
    "photos": {"files_from": "../list.txt", "recursive": True, "include": ["*.jpg"]},
    "device": "cpu",
    "batch_size": 4,
    "inputs": ["../photos", "/far/photos"],
    "folder": ".",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()


def test_the_record() -> None:
    Path("out/parts.json").write_text(json.dumps({"crate": TOLD}))
    explained = explain(Path("out/parts.json"))
    made = explained.made
    assert (made.command, explained.inputs, explained.output) == ("parts", ("photos", "/far/photos"), "out")
    assert made.photos == Selection(files_from="list.txt", recursive=True, include=["*.jpg"])
    assert (made.recipe, made.device, made.batch_size) == ({"k": 2}, "cpu", 4)
    assert explained.content == TOLD
    gone = ("list.txt", "photos", "/far/photos")
    assert explained.doubts == tuple(f"{each}: no longer there" for each in gone)
    for each in ("photos", "list.txt"):
        Path(each).touch()
    assert explain(Path("out/parts.json")).doubts == ("/far/photos: no longer there",)


def test_a_picture_and_a_dataset_tell_the_same() -> None:
    Path("out/a.png").write_bytes(png.encode_mask(np.zeros((1, 1), bool), json.dumps(TOLD)))
    Path("out/b.json").write_text(json.dumps({"info": {"crate": TOLD}}))
    assert explain(Path("out/a.png")) == explain(Path("out/b.json"))


def test_a_film_is_not_read_to_its_end() -> None:
    with Path("out/film.mp4").open("wb") as stream:
        stream.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(InputError, match="no picture, no arrays, no page, no rows and no JSON of ours"):
        explain(Path("out/film.mp4"))


@pytest.mark.parametrize("command", ["segment", "objects", "parts", "heads", "layers"])
def test_every_recipe_turns_back_into_options(command: Command) -> None:
    """What a run records of its recipe is enough to ask for it again."""
    model = small_crate()
    chosen = defaults(model)
    recipes = {
        "segment": (choose_recipe(model), choose_recipe),
        "objects": (chosen.objects, choose_object_recipe),
        "parts": (chosen.parts, choose_part_recipe),
        "heads": (ViewRecipe((0, 2), (16, 24)), choose_view_recipe),
        "layers": (chosen.layers, choose_layer_recipe),
    }
    recipe, choose = recipes[command]
    plain = json.loads(json.dumps(recipe.as_data()))
    assert choose(model, **as_options(QUESTIONS[command], plain)) == recipe  # type: ignore[operator]
    assert choose(model, **recipe.as_options()) == recipe  # type: ignore[operator]
    for wrong in ({"layers": "x"}, {"output": "/etc"}, {"layers": [0], "refine": "rm"}):
        with pytest.raises(UsageError):
            as_options(QUESTIONS[command], wrong)
