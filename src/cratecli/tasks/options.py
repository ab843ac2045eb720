"""The options of every question, each said once, with its range and its help. Imports neither torch nor NumPy.

An option is a field of a `TypedDict`: Python callers, the worker, evaluation and the command line all read it here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from reprlib import repr as short
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_type_hints

from annotated_doc import Doc
from annotated_types import Interval, MaxLen, MinLen
from typing_extensions import TypedDict, TypeIs

from cratecli.emergence.rules import Foreground, Keep
from cratecli.errors import UsageError
from cratecli.io.ranges import Range
from cratecli.wording import count_of

Combined = Literal["coco", "coco-results", "parquet", "webdataset"]
"""Outputs that are one file for all photos, or for all of a shard."""

COMBINED_ENDINGS: Mapping[Combined, str] = MappingProxyType(
    {"coco": "json", "coco-results": "json", "parquet": "parquet", "webdataset": "tar"}
)
"""How the names of such files end."""


def is_combined(kind: object) -> TypeIs[Combined]:
    """Tell whether an output kind is one file for all photos."""
    return kind in get_args(Combined)


Refine = Literal["none", "guided", "grabcut"]
Heads = Literal["auto", "agree", "all"] | tuple[int, ...]

LARGEST = 1536  # px of an input short side: attention takes minutes there, hours not far beyond

InputSize = Annotated[int, Interval(ge=1, le=LARGEST)]
LayerChoice = Annotated[
    Sequence[int] | Literal["all"], MinLen(1), Doc("Layers, from 0; `-1` is the last: `-2,-1`.")
]
Finder = Literal["candidates", "maskcut"]
TauChoice = Annotated[
    float, Interval(ge=-1, le=1), Doc("MaskCut's τ: the cosine above which two patches are alike.")
]
CountChoice = Annotated[int, Interval(ge=1, le=100), Doc("The most objects in a photo.")]
PixelChoice = Annotated[Sequence[Annotated[int, Interval(ge=0)]], MinLen(2), MaxLen(2)]
RefineChoice = Annotated[Refine, Doc("How edges follow the photo: not, all edges, or by colour.")]


class ReadOptions(TypedDict, total=False):
    """How photos are read."""

    range: Annotated[
        str, Doc("The numbers that are black and white; `auto` stretches no photo of 8 bits: docs/depths.md.")
    ]


class ViewOptions(ReadOptions, total=False):
    """What the model is shown: `layers` count from 0, −1 is the last; `sizes` are input short sides, px."""

    layers: LayerChoice
    sizes: Annotated[
        Sequence[InputSize], MinLen(1), Doc("Input short sides, px; every second is seen mirrored.")
    ]


class MaskOptions(ViewOptions, total=False):
    """How attention becomes a mask."""

    heads: Annotated[
        Literal["auto", "agree", "all"] | Sequence[int],
        MinLen(1),
        Doc("`auto` chooses among the masks of all heads; `agree` combines heads; `all` averages them."),
    ]
    frame: Annotated[
        bool, Doc("`auto` trusts masks that touch the frame less; without, no place in the photo counts.")
    ]
    head: Annotated[
        str,
        MinLen(1),
        Doc(
            "A mask head draws the mask: the `built-in` one, with `auto` where it fits, or a file of self-train."
        ),
    ]
    keep: Annotated[str, Doc("What part of the map is the mask: the threshold rule.")]
    refine: RefineChoice
    min_confidence: Annotated[
        float,
        Interval(ge=0, le=1),
        Doc("Leave masks of less confidence empty, 0 to 1; as measured for the model unless said."),
    ]
    min_area: Annotated[
        float, Interval(ge=0, lt=1), Doc("Drop pieces under this share of the photo, 0 to 1.")
    ]
    largest: Annotated[bool, Doc("Keep only the largest piece.")]
    fill_holes: Annotated[bool, Doc("Fill holes in the mask.")]


class SegmentOptions(MaskOptions, total=False):
    """What is segmented, and how attention becomes a mask: `at` and `not_at` are pixels, x and y."""

    at: Annotated[
        Sequence[PixelChoice],
        Doc("Segment what is at this pixel of the upright photo, from 0,0 at the top left; repeatable."),
    ]
    not_at: Annotated[
        Sequence[PixelChoice], Doc("With --at: what is at this pixel is not meant; repeatable.")
    ]


class PictureOptions(TypedDict, total=False):
    """What a picture of a segmented photo shows; no mask, box or record changes with it."""

    background: Annotated[
        str, Doc("Put the cut-out on a colour (`white`, `#f0f0f0`), or on a photo, scaled to cover it.")
    ]
    crop: Annotated[bool, Doc("Crop the picture to the box of the mask; an empty mask is not cropped.")]
    margin: Annotated[
        float, Interval(ge=0, le=1), Doc("Room around that box, as a share of its longer side, 0 to 1.")
    ]
    matting: Annotated[bool, Doc("Soften the cut-out's edges by closed-form matting; needs an extra.")]


class OneSizeOptions(ReadOptions, total=False):
    """What the model is shown at one input size."""

    layers: LayerChoice
    size: Annotated[InputSize, Doc("Input short side, px.")]


class LayerOptions(OneSizeOptions, total=False):
    """What is shown layer by layer, at one input size."""

    tau: TauChoice


class CutOptions(LayerOptions, total=False):
    """How MaskCut cuts a photo."""

    count: CountChoice


class ObjectOptions(ViewOptions, total=False):
    """How objects are found, scored and refined."""

    by: Annotated[
        Finder, Doc("`candidates` judges pieces of all heads' masks; `maskcut` cuts the tokens of one size.")
    ]
    tau: TauChoice
    count: CountChoice
    min_score: Annotated[float, Interval(ge=0, le=1), Doc("Objects that score less are left out.")]
    min_best: Annotated[
        float, Interval(ge=0, le=1), Doc("Where the best object scores less, the photo has none.")
    ]
    refine: RefineChoice


class PartOptions(ViewOptions, total=False):
    """How parts are learned."""

    k: Annotated[
        Annotated[int, Interval(ge=1, le=100)] | Literal["auto"],
        Doc("How many parts; 4 unless said."),
    ]
    foreground: Annotated[
        Foreground,
        Doc(
            "Foreground rule: the heads' attention, the first principal component, or none (all is foreground)."
        ),
    ]
    refine: Annotated[Refine, Doc("How edges follow the photo: all edges (guided), the outline (grabcut).")]
    seed: Annotated[int, Interval(ge=0, lt=2**32), Doc("Starts k-means.")]


def check(options: type, values: Mapping[str, Any], spelt: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give options back with whole numbers made floats where floats are meant.

    `spelt` are the names that people know options by. Raises `UsageError` for a value that an option cannot have.
    """
    from pydantic import ValidationError

    plain = {name: _plain(value) for name, value in values.items()}
    try:
        checked: dict[str, Any] = _adapter(options).validate_python(plain)
    except ValidationError as error:
        raise UsageError(explained(error, plain, spelt or {})) from None
    for name, parse in _PARSED.items():
        try:
            if name in checked:
                parse(checked[name])
        except ValueError as error:
            raise UsageError(f"{(spelt or {}).get(name, name)} {error}") from None
    return checked


def as_options(options: type, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a recipe's plain data back into the `options` of its question: the inverse of `as_data`.

    What a recipe takes over from another question (`attention`) is no option of its own. Raises `UsageError` for what
    is no recipe of the question.
    """
    values = {name: value for name, value in recipe.items() if name != "attention"}
    if "size" in get_type_hints(options) and isinstance(sizes := values.pop("sizes", None), list):
        values["size"] = sizes[0] if len(sizes) == 1 else sizes
    return check(options, values)


def _plain(value: Any) -> Any:
    """Give a rule as its text, and what NumPy holds, or a range, as Python's own numbers and lists."""
    if isinstance(value, Keep | Range):
        return str(value)
    if isinstance(value, range | list | tuple):
        return [_plain(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


_PARSED: Mapping[str, Callable[[str], object]] = MappingProxyType({"keep": Keep.parse, "range": Range.parse})
"""Options that are text of a form of its own, and what reads it."""


@cache
def _adapter(options: type) -> Any:
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(extra="forbid", strict=True))(options))


EMPTY: Mapping[str, str] = MappingProxyType({})
_KINDS = {"int_type": "a whole number", "float_type": "a number", "bool_type": "true or false"}
_KINDS |= {  # of text, as the command line has it
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
}
_KINDS |= {
    "string_type": "text",
    "list_type": "a list of whole numbers",
    "is_instance_of": "a list of whole numbers",
    "sequence_str": "a list of whole numbers",
}


def explained(error: Any, values: Mapping[str, Any], spelt: Mapping[str, str] = EMPTY) -> str:
    """Say in one line which option has which value, and what it should be."""
    faults = error.errors(include_url=False)
    name = str(faults[0]["loc"][0])
    faults = [fault for fault in faults if fault["loc"][0] == name]
    if name in ("at", "not_at"):
        return f"{spelt.get(name, name)} is {short(values[name])}, not a list of pixels, each x and y, from 0"
    if faults[0]["type"] == "too_short":
        return f"{spelt.get(name, name)} is empty: at least one is needed"
    value, place = values.get(name), faults[0]["loc"][1:]
    if value != value:  # noqa: PLR0124 - NaN, which is in no range
        return f"{spelt.get(name, name)} is nan, not a number"
    if place and isinstance(place[-1], int) and isinstance(value, list | tuple):
        value = value[place[-1]]
    return f"{spelt.get(name, name)} is {short(value)}, not {wanted(faults)}"


def wanted(faults: Sequence[Any]) -> str:
    """Say what a value should be that pydantic found these faults with."""
    each = [_KINDS.get(fault["type"], fault["msg"].removeprefix("Input should be ")) for fault in faults]
    return " or ".join(dict.fromkeys(each))


def read_names(names: str, count: int) -> tuple[str, ...]:
    """Read names for parts. Raises `UsageError` when they are not as many as the parts."""
    given = tuple(name.strip() for name in names.split(","))
    if len(given) != count or not all(given):
        raise UsageError(
            f"--names gives {count_of(len(list(filter(None, given))), 'name')} for {count_of(count, 'part')}"
        )
    return given
