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
from cratecli.emergence.rules import Keep
from cratecli.errors import UsageError
from cratecli.geometry import Size, fit_grid
from cratecli.model.engine import Model, WeightsId
from cratecli.tasks.options import NO_HEAD

if TYPE_CHECKING:
    from cratecli.weights.mask_heads import LoadedHead

EDGE = 0.5
"""The cut on a head's soft map: it draws probabilities."""


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


def with_head_views(model: Model, recipe: Mapping[str, Any], keep: Keep) -> tuple[int, ...]:
    """Give the sizes of a recipe with the one that its head reads; `keep` is the model's own threshold rule.

    Raises `UsageError` for layers that the head lacks, and for options that it leaves no choice.
    """
    name, layers, sizes = recipe["head"], recipe["layers"], recipe["sizes"]
    head = find_head(name, model)
    if head is None:
        return tuple(sizes)
    if recipe["keep"] != keep or not recipe["frame"]:
        raise UsageError("a mask head draws the mask, cut at 0.5: leave --keep and --no-frame out")
    if lacking := set(head.config.layers) - set(absolute_layers(layers, model.depth)):
        needed = ",".join(map(str, head.config.layers))
        raise UsageError(
            f"{name} reads layers {needed}, and layer {min(lacking)} is not asked: leave --layer out"
        )
    return tuple(dict.fromkeys((*sizes, head.config.size)))


def drawn_by_head(name: str, photo: RGB, views: Sequence[View], layers: Sequence[int], model: Model) -> Soft:
    """Let the head of a recipe draw a photo's soft map, 0–1, from the view that it reads; `layers` are those seen."""
    from cratecli.emergence.mask_head import draw_soft

    head = find_head(name, model)
    if head is None:
        raise ValueError("no head draws")
    size = Size(*photo.shape[:2])
    grid = fit_grid(size, head.config.size, model.patch_size)
    seen = list(absolute_layers(layers, model.depth))
    view = next(each for each in views if each.grid == grid)
    read = view.only(*(seen.index(layer) for layer in head.config.layers))
    return enlarge(draw_soft(head.network, photo, read), size)
