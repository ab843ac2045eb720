"""Turn what was asked for into what recipes hold: layers, heads and clicks. Imports neither torch nor NumPy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cratecli.emergence.rules import NO_HEAD
from cratecli.errors import UsageError
from cratecli.geometry import Pixel

if TYPE_CHECKING:
    from cratecli.model.engine import Model


def counted_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Count layers from 0. Raises `UsageError` for one that a model of some depth lacks."""
    from cratecli.emergence.features import absolute_layers

    try:
        return absolute_layers(layers, depth)
    except ValueError as error:
        raise UsageError(str(error)) from None


def named_heads(heads: Sequence[int], count: int) -> tuple[int, ...]:
    """List heads, each once. Raises `UsageError` for one that a model with `count` heads lacks."""
    from cratecli.emergence.heads import known_heads

    try:
        return tuple(known_heads(heads, count))
    except ValueError as error:
        raise UsageError(str(error)) from None


def of_clicks(values: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a click changes in a recipe's values, unless it was asked for: any confidence and any size will do.

    Where something was clicked off, holes are kept. Raises `UsageError` for clicks that make no sense.
    """
    if values["not_at"] and not values["at"]:
        raise UsageError("not-at says what is not meant: say with at what is")
    if not values["at"]:
        return {}
    if both := set(values["at"]) & set(values["not_at"]):
        raise UsageError(
            f"{','.join(map(str, min(both)))} is meant and not meant: give it to at, or to not-at"
        )
    if values["head"] != NO_HEAD:
        raise UsageError("a mask head takes no clicks: leave out at, or the head")
    changed = {"min_confidence": 0.0, "min_area": 0.0} | ({"fill_holes": False} if values["not_at"] else {})
    return {name: value for name, value in changed.items() if asked.get(name) is None}


def own_head(model: "Model", values: Mapping[str, Any], default: Mapping[str, Any]) -> str:
    """Settle what head `auto` is for a recipe's values: see `tasks.drawn.settled_head`."""
    from cratecli.tasks.drawn import settled_head

    return settled_head(model, values, default)


def check_head(model: "Model", values: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Refuse a head that could not follow a recipe's values. Raises what `tasks.drawn.check_head` raises."""
    if values["head"] != NO_HEAD:
        from cratecli.tasks import drawn

        drawn.check_head(model, values, default)


def refuse_clicks(at: Sequence[Pixel], instead: str) -> None:
    """Refuse to ask several photos about one pixel. Raises `UsageError`."""
    if at:
        raise UsageError(f"a click is on one photo, and {instead}: ask about each by itself")


def as_lists(value: Any) -> Any:
    """Turn tuples, and those in them, into lists, as JSON has them."""
    return list(map(as_lists, value)) if isinstance(value, tuple) else value
