"""How attention becomes a mask: what can be chosen, and what is chosen for a model when nobody does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from cratecli.emergence.features import absolute_layers
from cratecli.emergence.heads import known_heads
from cratecli.emergence.keep import Keep
from cratecli.errors import UsageError
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox

Refine = Literal["none", "guided", "grabcut"]
Heads = Literal["auto", "all"] | tuple[int, ...]

THUMBNAIL = 128  # px: a model trained on images smaller than this sees a photo at several sizes
BASE = 64  # px: what that model's sizes are multiples of, if it was not trained on even smaller ones
LARGEST = 1536  # px of an input short side: attention takes minutes there, hours not far beyond
PAPER = Keep("mass", 0.6)
TAU = 0.15  # cosine above which MaskCut takes two patches for alike


def check_refine(refine: str) -> None:
    """Raise `UsageError` for a way to refine that is none."""
    if refine not in get_args(Refine):
        raise UsageError(f"refine {refine!r} is not one of {', '.join(get_args(Refine))}")


@dataclass(frozen=True)
class Sight:
    """What a model is shown and asked.

    `layers` count from 0, −1 is the last; `sizes` are input short sides in px, the second, fourth, … seen
    mirrored. Raises `UsageError` for what makes no sense.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        if not self.layers or not self.sizes:
            raise UsageError("at least one layer and one size are needed")
        if not all(1 <= size <= LARGEST for size in self.sizes):
            raise UsageError(f"input size {','.join(map(str, self.sizes))} is not within 1 to {LARGEST} px")

    @property
    def sight(self) -> str:
        """Say it in words."""
        return f"layers {','.join(map(str, self.layers))}, sizes {','.join(map(str, self.sizes))}"

    @property
    def sight_settings(self) -> dict[str, str | bool]:
        """Give it as options of the command line, by name, nothing left to a default."""
        return {"layer": ",".join(map(str, self.layers)), "size": ",".join(map(str, self.sizes))}


def choose_sight(
    model: WhiteBox,
    default: Sight,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
) -> Sight:
    """Take a default, and what was asked for instead; layers count from 0 then. Raises `UsageError`."""
    try:
        chosen = absolute_layers(default.layers if layers is None else layers, model.depth)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Sight(chosen, default.sizes if sizes is None else tuple(sizes))


@dataclass(frozen=True)
class Recipe(Sight):
    """How attention becomes a mask; `min_area` is a share of the image, 0–1.

    Raises `UsageError` for what makes no sense.
    """

    heads: Heads = "auto"
    keep: Keep = PAPER
    refine: Refine = "none"
    min_area: float = 0.0
    largest: bool = False
    fill_holes: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        super().__post_init__()
        if self.heads == ():
            raise UsageError("at least one head is needed")
        if isinstance(self.heads, str) and self.heads not in ("auto", "all"):
            raise UsageError(f"heads {self.heads!r} is not auto, all or a list of heads")
        check_refine(self.refine)
        if not 0 <= self.min_area < 1:
            raise UsageError(f"min-area {self.min_area} is not a share of the image, 0 to 1")

    def __str__(self) -> str:
        """Say the recipe in words."""
        told = self.settings
        return ", ".join([self.sight, *(f"{name} {told[name]}" for name in ("heads", "keep", "refine"))])

    @property
    def settings(self) -> dict[str, str | bool]:
        """Give it as options of `crate segment`, by name, nothing left to a default."""
        return self.sight_settings | {
            "heads": self.heads if isinstance(self.heads, str) else ",".join(map(str, self.heads)),
            "keep": str(self.keep),
            "refine": self.refine,
            "min-area": repr(self.min_area),
            "largest": self.largest,
            "fill-holes": self.fill_holes,
        }


def papers_layer(model: WhiteBox) -> int:
    """Choose the paper's layer: the penultimate of a CRATE, the last of a ViT (2308.16271, B.1)."""
    return -2 if isinstance(model, Crate) and model.depth > 1 else -1


def default_recipe(model: WhiteBox, heads: Heads = "auto") -> Recipe:
    """Choose what the paper does, or for a model trained on thumbnails what `benchmarks/` found best.

    The paper: the penultimate layer of a CRATE, the last of a ViT, 60 % of the mass (2308.16271, B.1, B.3).
    There `auto` sees the photo mirrored too, so that heads can agree with themselves.
    """
    side = model.image_size
    if side < THUMBNAIL:
        base = min(side, BASE)
        return Recipe(
            heads=heads,
            layers=tuple(range(-min(4, model.depth), 0)),
            sizes=tuple(round(base * factor) for factor in (1, 1.5, 3)),
            keep=Keep("otsu"),
            refine="grabcut",
            min_area=0.01,
            fill_holes=True,
        )
    sizes = (side, side) if heads == "auto" else (side,)
    return Recipe(heads=heads, layers=(papers_layer(model),), sizes=sizes)


def choose_recipe(
    model: WhiteBox,
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    heads: Literal["auto", "all"] | Sequence[int] = "auto",
    keep: str | None = None,
    refine: Refine | None = None,
    min_area: float | None = None,
    largest: bool | None = None,
    fill_holes: bool | None = None,
) -> Recipe:
    """Take the model's default recipe, and what was asked for instead. Raises `UsageError`."""
    try:
        named: Heads = heads if isinstance(heads, str) else tuple(known_heads(heads, model.heads))
        recipe = default_recipe(model, named)
        sight = choose_sight(model, recipe, layers=layers, sizes=sizes)
        asked: dict[str, Any] = {
            "layers": sight.layers,
            "sizes": sight.sizes,
            "keep": None if keep is None else Keep.parse(keep),
            "refine": refine,
            "min_area": min_area,
            "largest": largest,
            "fill_holes": fill_holes,
        }
        return replace(recipe, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from None
