"""How each question is asked: recipes, and the models' defaults in one table. Imports neither torch nor NumPy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_type_hints

from cratecli.emergence.rules import AUTO_HEAD, BUILT_IN_HEAD, NO_HEAD, Foreground, Keep
from cratecli.errors import UsageError
from cratecli.geometry import Clicks, Pixel
from cratecli.tasks.choices import as_lists, check_head, counted_layers, named_heads, of_clicks, own_head
from cratecli.tasks.options import (
    Finder,
    Heads,
    LayerOptions,
    ObjectOptions,
    OneSizeOptions,
    PartOptions,
    Refine,
    SegmentOptions,
    ViewOptions,
    as_options,
    check,
)

if TYPE_CHECKING:
    from cratecli.model.engine import Model

THUMBNAIL = 128  # px: a model trained on images smaller than this sees a photo at several sizes
BASE = 64  # px: what that model's sizes are multiples of, if it was not trained on even smaller ones
PAPER_SIZE = 480  # px, of MaskCut's square in the paper; `objects` keeps the photo's aspect
OTSU = Keep("otsu")
PAPER_KEEP = Keep("mass", 0.6)  # of the attention (2308.16271, B.3)
MASKCUT: dict[str, Any] = {"by": "maskcut", "count": 3, "min_score": 0.2, "min_best": 0.0, "refine": "none"}
TAU = 0.15  # cosine above which MaskCut takes two patches for alike


@dataclass(frozen=True)
class ViewRecipe:
    """What a model is shown and asked.

    `layers` count from 0, −1 is the last; `sizes` are input short sides in px, the second, fourth, … seen
    mirrored; `range` chooses the numbers that are black and white. Raises `UsageError` for what makes no sense.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    range: str = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        options = _OPTIONS[type(self)]
        names = get_type_hints(options)
        values = {name: getattr(self, name) for name in names if hasattr(self, name)}
        if "size" in names:
            if not self.sizes:
                raise UsageError("sizes is empty: at least one is needed")
            values["size"] = self.sizes[0]
        if "keep" in names:
            values["keep"] = str(values["keep"])
        check(options, values)

    def as_data(self) -> dict[str, Any]:
        """Give every field as plain data, for JSON; nothing is left to a default."""
        plain = {name: as_lists(value) for name, value in asdict(self).items()}
        return plain | {name: str(keep) for name, keep in vars(self).items() if isinstance(keep, Keep)}

    def as_options(self) -> dict[str, Any]:
        """Give the options of the recipe's question that choose it: `segment(photo, **recipe.as_options())`."""
        return as_options(_OPTIONS[type(self)], self.as_data())

    def __str__(self) -> str:
        """Say the recipe in one line, for people."""
        numbers = "" if self.range == "auto" else f", range {self.range}"
        return f"layers {','.join(map(str, self.layers))}, sizes {','.join(map(str, self.sizes))}{numbers}"


@dataclass(frozen=True)
class Recipe(ViewRecipe):
    """How attention becomes a mask, as `crate segment` makes it; see `SegmentOptions` for units and ranges."""

    heads: Heads = "auto"
    frame: bool = True
    head: str = NO_HEAD
    keep: Keep = PAPER_KEEP
    refine: Refine = "none"
    min_confidence: float = 0.0
    min_area: float = 0.0
    largest: bool = False
    fill_holes: bool = False
    at: tuple[Pixel, ...] = ()
    not_at: tuple[Pixel, ...] = ()

    @property
    def clicks(self) -> Clicks | None:
        """Give the pixels that were clicked on, if any were."""
        return Clicks(self.at, self.not_at) if self.at else None

    def __str__(self) -> str:
        """Say the recipe in one line, for people."""
        heads = self.heads if isinstance(self.heads, str) else ",".join(map(str, self.heads))
        heads += "" if self.frame else " without the frame"
        named = "the built-in head" if self.head == BUILT_IN_HEAD else self.head
        drawn = "" if self.head == NO_HEAD else f", drawn by {named}"
        clicks = f", {self.clicks}" if self.clicks else ""
        return f"{super().__str__()}, heads {heads}, keep {self.keep}, refine {self.refine}{drawn}{clicks}"


@dataclass(frozen=True)
class LayerRecipe(ViewRecipe):
    """How photos are traced through the layers; of `sizes` the first counts."""

    tau: float = TAU


@dataclass(frozen=True)
class ObjectRecipe(ViewRecipe):
    """How objects are found; see `ObjectOptions` for units and ranges.

    By `candidates`, every head of `layers` is asked at all sizes. By `maskcut`, their tokens are cut at one size, and
    the heads of `attention` asked for the score.
    """

    attention: tuple[int, ...]
    by: Finder = "candidates"
    tau: float = TAU
    count: int = 10
    min_score: float = 0.1
    min_best: float = 0.4
    refine: Refine = "guided"

    @property
    def places(self) -> tuple[tuple[int, ...], list[int], list[int]]:
        """Give all layers to look at; where among them are those to cut, and those whose heads are asked."""
        layers = tuple(sorted({*self.layers, *self.attention}))
        cut, asked = ([layers.index(layer) for layer in each] for each in (self.layers, self.attention))
        return layers, cut, asked

    def __str__(self) -> str:
        """Say the recipe in one line, for people."""
        tau = f", tau {self.tau:g}" if self.by == "maskcut" else ""
        least = f"min-score {self.min_score:g}, min-best {self.min_best:g}"
        return f"{super().__str__()}, by {self.by}, n {self.count}{tau}, {least}, refine {self.refine}"


@dataclass(frozen=True)
class PartRecipe(ViewRecipe):
    """How parts are learned; see `PartOptions` for units and ranges.

    Of `sizes` the largest describes patches, by the tokens of `layers`. With `foreground` attention, the heads of the
    `attention` layers are asked at all sizes, as `segment` does.
    """

    attention: tuple[int, ...]
    foreground: Foreground = "pca"
    k: int | Literal["auto"] = 4
    refine: Refine = "none"
    seed: int = 0

    def __str__(self) -> str:
        """Say the recipe in one line, for people."""
        rest = f"k {self.k}, foreground {self.foreground}, refine {self.refine}, seed {self.seed}"
        return f"{super().__str__()}, {rest}"


QUESTIONS: dict[str, type] = {
    "segment": SegmentOptions,
    "objects": ObjectOptions,
    "parts": PartOptions,
    "heads": ViewOptions,
    "layers": LayerOptions,
    "explore": OneSizeOptions,
}
"""The options of each question, by its command."""

_OPTIONS: dict[type[ViewRecipe], type] = {
    ViewRecipe: ViewOptions,
    Recipe: SegmentOptions,
    LayerRecipe: LayerOptions,
    ObjectRecipe: ObjectOptions,
    PartRecipe: PartOptions,
}


@dataclass(frozen=True)
class Defaults:
    """What every question asks of a model where the caller leaves it out; `voc` is the protocol of the paper.

    The mask head of `segment` is `auto`: `choose_recipe` settles it, as no other question needs one. `attention` is
    what `segment` asks if no head is chosen but all are combined; `cuts` what `objects` asks of MaskCut.
    """

    segment: Recipe
    attention: Recipe
    objects: ObjectRecipe
    cuts: ObjectRecipe
    parts: PartRecipe
    layers: LayerRecipe
    voc: ViewRecipe


def defaults(model: "Model") -> Defaults:
    """Choose what the paper does, or for a model trained on thumbnails what `benchmarks/` found best.

    The paper (2308.16271, B.1–B.4): the penultimate layer of a CRATE, the last of a ViT; 60 % of the attention's mass;
    MaskCut at 480 px. There `agree` sees the photo mirrored too, so that heads can agree with themselves. The paper
    names no input size for VOC: MaskCut's is taken.
    """
    figures, depth = counted_layers((model.paper_layer,), model.depth), model.depth
    if model.image_size >= THUMBNAIL:
        side, least = model.image_size, model.least_confidence
        plain = Recipe(figures, (side, side), keep=OTSU, refine="guided", min_confidence=least)
        return Defaults(
            segment=replace(plain, head=AUTO_HEAD),
            attention=Recipe(figures, (side, side), heads="agree", min_confidence=model.least_agreement),
            objects=ObjectRecipe(figures, (side, side), figures),
            cuts=ObjectRecipe(figures, (PAPER_SIZE,), figures, **MASKCUT),
            parts=PartRecipe(figures, (side, side), attention=figures, foreground="pca"),
            layers=LayerRecipe(tuple(range(depth)), (side,)),
            voc=ViewRecipe(figures, (PAPER_SIZE,)),
        )
    base = min(model.image_size, BASE)
    last, sizes = tuple(range(max(0, depth - 4), depth)), (base, round(1.5 * base), 3 * base)
    tidy = Recipe(last, sizes, keep=OTSU, refine="guided", min_area=0.01, fill_holes=True)
    return Defaults(
        segment=replace(tidy, min_confidence=model.least_confidence, head=AUTO_HEAD),
        attention=replace(tidy, heads="agree", refine="grabcut", min_confidence=model.least_agreement),
        objects=ObjectRecipe(last, sizes, last),
        cuts=ObjectRecipe(figures, (2 * base,), last, **MASKCUT),
        parts=PartRecipe((min(3, depth - 1),), sizes, attention=last, foreground="attention"),
        layers=LayerRecipe(tuple(range(depth)), (3 * base,)),
        voc=ViewRecipe(figures, (3 * base,)),
    )


def choose_recipe(model: "Model", **asked: Unpack[SegmentOptions]) -> Recipe:
    """Take the model's defaults for `segment`, and what was asked for instead. Raises `UsageError`.

    Heads that are named see the photo once at each size, not mirrored too where a size stands twice, and may have any
    confidence, unless said; so may what was clicked on, and any size. What only the chooser of `auto` uses is refused
    with other heads; with a mask head so are clicks, and what it does not read: there `auto` is none. Raises what
    `find_head` raises.
    """
    chosen = isinstance(heads := asked.get("heads", "auto"), str | None) and heads in ("auto", None)
    own = defaults(model).segment
    default = own if chosen else defaults(model).attention
    values = settled(model, SegmentOptions, default, asked)
    if asked.get("head") in (None, AUTO_HEAD):
        values["head"] = own_head(model, values, vars(own))
    values |= of_clicks(values, asked)
    if not (chosen or values["frame"]):
        raise UsageError("only heads auto can do without the frame: no other looks at it")
    if not isinstance(values["heads"], str):
        values["heads"] = named_heads(values["heads"], model.heads)
    if values["heads"] not in ("auto", "agree"):
        once = {"sizes": tuple(dict.fromkeys(default.sizes)), "min_confidence": 0.0}
        values |= {name: value for name, value in once.items() if asked.get(name) is None}
    check_head(model, values, vars(own))
    return Recipe(**values)


def choose_view_recipe(model: "Model", **asked: Unpack[ViewOptions]) -> ViewRecipe:
    """Take the layers and sizes that `segment` looks at, and what was asked for instead. Raises `UsageError`."""
    default = defaults(model).segment
    return ViewRecipe(**settled(model, ViewOptions, ViewRecipe(default.layers, default.sizes), asked))


def choose_layer_recipe(model: "Model", **asked: Unpack[LayerOptions]) -> LayerRecipe:
    """Take all layers at the largest size of `segment`, and what was asked for instead. Raises `UsageError`."""
    return LayerRecipe(**settled(model, LayerOptions, defaults(model).layers, asked))


def choose_part_recipe(model: "Model", **asked: Unpack[PartOptions]) -> PartRecipe:
    """Take the model's defaults for `parts`, and what was asked for instead. Raises `UsageError`."""
    return PartRecipe(**settled(model, PartOptions, defaults(model).parts, asked))


def choose_voc_recipe(model: "Model", **asked: Unpack[OneSizeOptions]) -> ViewRecipe:
    """Take the paper's layer and a square of 480 px, and what was asked for instead. Raises `UsageError`."""
    return ViewRecipe(**settled(model, OneSizeOptions, defaults(model).voc, asked))


def settled(model: "Model", options: type, default: ViewRecipe, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of a recipe's fields: the default's, and what was asked for, layers counted from 0."""
    if unknown := sorted(asked.keys() - get_type_hints(options).keys()):
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    given = check(options, {name: value for name, value in asked.items() if value is not None})
    if (layers := given.get("layers")) is not None:
        given["layers"] = counted_layers(range(model.depth) if layers == "all" else layers, model.depth)
    if sizes := [given.pop("size")] if "size" in given else given.get("sizes"):
        given["sizes"] = tuple(sizes)
    given |= {name: tuple(map(tuple, given[name])) for name in ("at", "not_at") if name in given}
    if "keep" in given:
        given["keep"] = Keep.parse(given["keep"])
    return {each.name: getattr(default, each.name) for each in fields(default)} | given
