"""Which mask head draws by default: the built-in one where it fits, else none; no recipe says `auto`."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cratecli
from cratecli.emergence.rules import Keep
from cratecli.errors import UsageError, WeightsError
from cratecli.model.graph import GraphModel
from cratecli.tasks import drawn
from cratecli.tasks.object_recipes import choose_object_recipe
from cratecli.tasks.recipes import choose_part_recipe, choose_recipe, defaults
from tests.support.models import small_crate
from tests.support.photos import photo

pytestmark = pytest.mark.usefixtures("shipped_sizes")


@pytest.fixture(scope="module")
def graph() -> GraphModel:
    return cratecli.load_graph("crate-nano")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"head": "auto"},
        {"head": "built-in"},
        {"heads": "auto", "keep": "otsu"},
        {"frame": False},
        {"layers": [-4, -3, -2, -1], "sizes": [64, 96, 192]},
        {"refine": "none", "largest": True, "min_confidence": 0.5},
    ],
)
def test_the_built_in_head_draws_what_it_can_mend(graph: GraphModel, asked: dict[str, Any]) -> None:
    recipe = choose_recipe(graph, **asked)
    assert recipe.head == "built-in"
    assert "drawn by the built-in head" in str(recipe)
    assert choose_recipe(graph, **recipe.as_options()) == recipe


@pytest.mark.parametrize(
    "asked",
    [
        {"head": "none"},
        {"heads": "agree"},
        {"heads": "all"},
        {"heads": [0, 2]},
        {"keep": "mean"},
        {"layers": [-1]},
        {"sizes": [96]},
        {"at": [(3, 3)]},
        {"at": [(3, 3)], "heads": "agree"},
    ],
)
def test_else_none_does(graph: GraphModel, asked: dict[str, Any]) -> None:
    assert choose_recipe(graph, **asked).head == "none"
    if "head" not in asked:
        assert choose_recipe(graph, **asked, head="auto").head == "none"
        with pytest.raises(UsageError, match=r"a mask head|the built-in head reads"):
            choose_recipe(graph, **asked, head="built-in")


def test_defaults_leave_the_head_to_what_is_asked(graph: GraphModel) -> None:
    own = defaults(graph).segment
    assert own.head == "auto" and choose_recipe(graph, **own.as_options()).head == "built-in"
    changed = replace(own, keep=Keep("top", 0.3))
    assert choose_recipe(graph, **changed.as_options()).head == defaults(graph).attention.head == "none"


def test_a_damaged_head_stops_only_what_it_draws(graph: GraphModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_model: object) -> None:
        raise WeightsError("head.safetensors: damaged")

    monkeypatch.setattr(drawn, "own_head", damaged)
    assert choose_object_recipe(graph) and choose_part_recipe(graph) and choose_recipe(graph, head="none")
    with pytest.raises(WeightsError, match="damaged"):
        choose_recipe(graph)


def test_a_model_without_its_own_head_has_none_unless_it_is_asked_for() -> None:
    model = small_crate()
    assert choose_recipe(model).head == choose_recipe(model, head="auto").head == "none"
    with pytest.raises(UsageError, match="has no built-in mask head: crate self-train makes one"):
        choose_recipe(model, head="built-in")


def test_it_reads_the_vote_that_was_asked_for(graph: GraphModel) -> None:
    look = cratecli.look(photo(60, 80), graph)
    found = cratecli.segment(look), cratecli.segment(look, frame=False)
    assert all(each.head and each.head.name == "built-in" for each in found)
    assert not (found[0].soft == found[1].soft).all()


def test_a_photo_of_one_colour_is_empty_all_the_same(graph: GraphModel) -> None:
    found = cratecli.segment(np.full((40, 60, 3), 90, np.uint8), graph)
    assert found.empty
    assert not found.soft.any()
