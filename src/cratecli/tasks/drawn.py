"""The mask head of a recipe: found once, checked against the model, and asked for a photo's soft map.

Only a head imports torch.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cratecli.arrays import RGB, Soft
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.masks import enlarge
from cratecli.errors import UsageError
from cratecli.geometry import Size
from cratecli.model.engine import Model, WeightsId
from cratecli.tasks.options import NO_HEAD

if TYPE_CHECKING:
    from cratecli.weights.mask_heads import LoadedHead


def find_head(name: str, model: Model) -> "LoadedHead | None":
    """Load a head by its file, once; `none` is none.

    Raises `WeightsError` for a file that is no head, `UsageError` for another model's.
    """
    if name == NO_HEAD:
        return None
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return _load(name, model)  # which says what is wrong
    return _load_version(name, model, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=2)
def _load_version(name: str, model: Model, *_version: int) -> "LoadedHead":
    return _load(name, model)


def _load(name: str, model: Model) -> "LoadedHead":
    from cratecli.weights.mask_heads import load_head

    return load_head(Path(name), model)


def head_id(name: str, model: Model) -> WeightsId | None:
    """Name the head that draws masks, and the hash of its file."""
    head = find_head(name, model)
    return None if head is None else WeightsId(name, head.sha256)


def check_head(model: Model, recipe: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Check that a recipe asks what its head reads; `default` is the model's own recipe.

    Raises `UsageError` for other layers, sizes or heads, or another threshold rule, and what `load_head` raises.
    """
    name = recipe["head"]
    head = find_head(name, model)
    if head is None:
        return
    for field, option in {"heads": "--heads", "keep": "--keep"}.items():
        if recipe[field] != default[field]:
            raise UsageError(f"a mask head mends what heads auto choose, cut at 0.5: leave {option} out")
    read = {"layers": head.config.layers, "sizes": head.config.sizes}
    asked = {"layers": absolute_layers(recipe["layers"], model.depth), "sizes": tuple(recipe["sizes"])}
    for field, option in {"layers": "--layer", "sizes": "--size"}.items():
        if asked[field] != read[field]:
            listed = ",".join(map(str, read[field]))
            raise UsageError(f"{name} reads {field} {listed}: leave {option} out")


def drawn_by_head(name: str, photo: RGB, views: Sequence[View], vote: Soft, model: Model) -> Soft:
    """Let the head of a recipe draw a photo's soft map, 0–1, from the views that it reads and their vote."""
    from cratecli.emergence.mask_head import head_inputs

    head = find_head(name, model)
    if head is None:
        raise ValueError("no head draws")
    drawn = head.draw(head_inputs(photo, views, vote, head.config))
    return enlarge(drawn, Size(*photo.shape[:2]))
