"""Choose the recipe of `crate objects`, and of MaskCut's evaluation. Imports neither torch nor NumPy."""

from dataclasses import replace
from reprlib import repr as short
from typing import TYPE_CHECKING, Unpack

from cratecli.errors import UsageError
from cratecli.tasks.options import CutOptions, ObjectOptions
from cratecli.tasks.recipes import TAU, ObjectRecipe, defaults, settled

if TYPE_CHECKING:
    from cratecli.model.engine import Model

MOST_PATCHES = 16_384  # of a grid that MaskCut cuts: their affinity takes a gigabyte


def choose_object_recipe(model: "Model", **asked: Unpack[ObjectOptions]) -> ObjectRecipe:
    """Take the model's defaults for `objects`, and what was asked for instead. Raises `UsageError`.

    What only MaskCut uses is refused by candidates, and more than one size by MaskCut.
    """
    default = defaults(model).cuts if asked.get("by") == "maskcut" else defaults(model).objects
    recipe = ObjectRecipe(**settled(model, ObjectOptions, default, asked))
    if recipe.by == "maskcut":
        if len(recipe.sizes) > 1:
            raise UsageError(f"sizes are {short(list(recipe.sizes))}, but MaskCut looks at one")
        return recipe
    if recipe.tau != TAU:
        raise UsageError("only by maskcut is there a tau")
    return replace(recipe, attention=recipe.layers)


def choose_cut_recipe(model: "Model", **asked: Unpack[CutOptions]) -> ObjectRecipe:
    """Take MaskCut as `evaluate` has it, at one size, and what was asked for instead. Raises `UsageError`."""
    return ObjectRecipe(**settled(model, CutOptions, defaults(model).cuts, asked))
