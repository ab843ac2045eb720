"""The mask head of a recipe: settled on, found once, checked against the model, and asked for a photo's soft map.

Imports no torch unless torch runs the head: a head's file always, the built-in head where torch runs the model.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cratecli.arrays import RGB, Soft
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.mask_head import Vote, head_inputs
from cratecli.emergence.masks import enlarge
from cratecli.emergence.rules import BUILT_IN_HEAD, NO_HEAD
from cratecli.errors import UsageError
from cratecli.geometry import Size
from cratecli.model.engine import Model, WeightsId
from cratecli.model.head_inputs import MaskHeadConfig
from cratecli.weights.head_files import Drawer, HeadFile, drawn
from cratecli.weights.own_heads import GraphHead, own_head


def settled_head(model: Model, recipe: Mapping[str, Any], default: Mapping[str, Any]) -> str:
    """Name the head that `auto` stands for: the model's own, if it has one and the recipe is one that it mends.

    `default` is the model's own recipe. Raises what `own_head` raises.
    """
    head = own_head(model)
    if head is None or recipe["at"] or _misfit(model, head.config, recipe, default):
        return NO_HEAD
    return BUILT_IN_HEAD


def find_head(name: str, model: Model) -> Drawer | None:
    """Load a head by its file, once, or the model's own by its word; `none` is none.

    Raises `WeightsError` for a file that is no head, `UsageError` for another model's, and for a model without its own.
    """
    if name == NO_HEAD:
        return None
    if name == BUILT_IN_HEAD:
        own = _own(model)
        return own if model.place.engine == "onnx" else _network(own.file)
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return _load(name, model)  # which says what is wrong
    return _load_version(name, model, status.st_size, status.st_mtime_ns, status.st_ino)


def _own(model: Model) -> GraphHead:
    own = own_head(model)
    if own is None:
        called = model.learned.name if model.learned else "the model"
        raise UsageError(f"{called} has no {BUILT_IN_HEAD} mask head: crate self-train makes one")
    return own


@lru_cache(maxsize=2)
def _network(file: HeadFile) -> Drawer:
    from cratecli.weights.mask_heads import network_of

    return network_of(file)


@lru_cache(maxsize=2)
def _load_version(name: str, model: Model, *_version: int) -> Drawer:
    return _load(name, model)


def _load(name: str, model: Model) -> Drawer:
    from cratecli.weights.mask_heads import load_head

    return load_head(Path(name), model)


def head_id(name: str, model: Model) -> WeightsId | None:
    """Name the head that draws masks, and the hash of its file. Raises what `find_head` raises."""
    head = _described(name, model)
    return None if head is None else WeightsId(name, head.sha256)


def _described(name: str, model: Model) -> Drawer | None:
    """Find a head for its config and hash alone: of the built-in one no engine is needed."""
    return _own(model) if name == BUILT_IN_HEAD else find_head(name, model)


def check_head(model: Model, recipe: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Check that a recipe asks what its head reads; `default` is the model's own recipe.

    Raises `UsageError` for other layers, sizes or heads, or another threshold rule, and what `find_head` raises.
    """
    head = _described(recipe["head"], model)
    if head is None:
        return
    if misfit := _misfit(model, head.config, recipe, default):
        raise UsageError(misfit)


def _misfit(
    model: Model, config: MaskHeadConfig, recipe: Mapping[str, Any], default: Mapping[str, Any]
) -> str | None:
    """Say which option a head could not follow, if there is one."""
    for field, option in {"heads": "--heads", "keep": "--keep"}.items():
        if recipe[field] != default[field]:
            return f"a mask head mends what heads auto choose, cut at 0.5: leave {option} out"
    read = {"layers": config.layers, "sizes": config.sizes}
    asked = {"layers": absolute_layers(recipe["layers"], model.depth), "sizes": tuple(recipe["sizes"])}
    for field, option in {"layers": "--layer", "sizes": "--size"}.items():
        if asked[field] != read[field]:
            listed, own = (",".join(map(str, each[field])) for each in (read, asked))
            if recipe[field] == default[field]:
                return (
                    f"{_called(recipe['head'])} reads {field} {listed}, not {own} as the model is asked for"
                )
            return f"{_called(recipe['head'])} reads {field} {listed}: leave {option} out"
    return None


def _called(name: str) -> str:
    return f"the {name} head" if name == BUILT_IN_HEAD else name


def drawn_by_head(name: str, photo: RGB, views: Sequence[View], vote: Vote, model: Model) -> Soft:
    """Let the head of a recipe draw a photo's soft map, 0–1, from the views that it reads and their vote.

    Raises `WeightsError` for a head that draws no numbers, or that reads other tokens than the model has.
    """
    head = find_head(name, model)
    if head is None:
        raise ValueError("no head draws")
    soft = drawn(head, head_inputs(photo, views, vote, head.config), _called(name))
    return enlarge(soft, Size(*photo.shape[:2]))
