"""Label Studio's protocol for ML backends: photos of tasks in, brush masks out; a click asks for what is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.parsers import expat

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cratecli.errors import UsageError
from cratecli.geometry import Pixel
from cratecli.io.formats import brush
from cratecli.io.formats.record import decode_rle
from cratecli.model.unroll import WhiteBox
from cratecli.tasks.records import SegmentRecord
from cratecli.version import __version__

CONFIG_BYTES = 1 << 20
MOST_TASKS = 1000


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Region(_Sent):
    """What a labeller drew: of a keypoint, `value` has x and y in percent, and its label."""

    type: str = ""
    value: dict[str, Any] = {}
    original_width: int = Field(default=0, ge=0)
    original_height: int = Field(default=0, ge=0)
    is_positive: bool = True


class Context(_Sent):
    """What was drawn so far, of an interactive question."""

    result: list[Region] | None = None


class Parameters(_Sent):
    """The parameters of a question."""

    context: Context | None = None


class Task(_Sent):
    """A task: `data` names its photo."""

    data: dict[str, Any]


class Predict(_Sent):
    """What Label Studio asks for predictions with."""

    tasks: list[Task] = Field(max_length=MOST_TASKS)
    label_config: str = Field(max_length=CONFIG_BYTES)
    params: Parameters | None = None


class Setup(_Sent):
    """What Label Studio sends when a backend is connected; nothing of it is kept."""

    schema_: str = Field(alias="schema", max_length=CONFIG_BYTES)


@dataclass(frozen=True)
class Brush:
    """The brush of a labelling config: its name, the image's, the field of tasks that names photos, and its labels."""

    name: str
    image: str
    photo: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Clicked:
    """What a labeller clicked on: pixels that are meant and that are not, the label, and the photo's size as seen."""

    at: tuple[Pixel, ...]
    not_at: tuple[Pixel, ...]
    label: str | None
    width: int
    height: int


@dataclass
class _Found:
    """What a labelling config declares, as it is read."""

    images: dict[str, str] = field(default_factory=dict)
    brushes: list[tuple[str, str]] = field(default_factory=list)
    labels: dict[str, list[str]] = field(default_factory=dict)
    inside: str | None = None

    def opened(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "Image" and "name" in attributes:
            self.images[attributes["name"]] = attributes.get("value", "").removeprefix("$")
        elif tag == "BrushLabels" and "name" in attributes:
            self.inside = attributes["name"]
            self.brushes.append((self.inside, attributes.get("toName", "")))
        elif tag == "Label" and self.inside is not None:
            self.labels.setdefault(self.inside, []).append(attributes.get("value", ""))

    def closed(self, tag: str) -> None:
        if tag == "BrushLabels":
            self.inside = None


def read_brush(config: str) -> Brush:
    """Read the first brush of a labelling config. Raises `UsageError` where there is none."""
    found = _Found()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = found.opened, found.closed
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(config, True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise UsageError(f"the labelling config is no XML: {error}") from None
    for name, image in found.brushes:
        if image in found.images:
            return Brush(name, image, found.images[image], tuple(found.labels.get(name, [])))
    raise UsageError('the labelling config has no <BrushLabels toName="…"> for an <Image>: masks need one')


def _refuse_doctype(*_: object) -> None:
    raise UsageError("the labelling config declares entities, and needs none")


def read_clicks(context: Context | None) -> Clicked | None:
    """Read keypoints, in px of the photo as the labeller saw it; `None` where nothing was drawn.

    Raises `UsageError` for regions without a keypoint, or without the photo's size.
    """
    if context is None or not context.result:
        return None
    on: list[Pixel] = []
    off: list[Pixel] = []
    label = None
    points = [each for each in context.result if each.type == "keypointlabels"]
    if not points:
        raise UsageError(f"what was drawn is {context.result[0].type!r}, and crate answers keypoints")
    width, height = points[0].original_width, points[0].original_height
    if not width or not height:
        raise UsageError("a keypoint says nothing of its photo's size")
    for each in points:
        try:
            pixel = _pixel(each.value["x"], width), _pixel(each.value["y"], height)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("a keypoint has x and y, in percent of the photo") from None
        (on if each.is_positive else off).append(pixel)
        named = each.value.get("keypointlabels")
        if isinstance(named, list) and named and isinstance(named[0], str):
            label = named[0]
    return Clicked(tuple(on), tuple(off), label, width, height)


def _pixel(percent: float, size: int) -> int:
    return min(max(int(percent / 100 * size), 0), size - 1)


def check(kind: type[BaseModel], fields: Mapping[str, Any]) -> Any:
    """Validate what was sent. Raises `UsageError`."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def version_of(model: WhiteBox) -> str:
    """Name the model's version: predictions of another one are made again."""
    name = Path(model.weights.name).name if model.weights else "crate"
    return f"{name}, crate {__version__}"


def prediction(record: SegmentRecord, brushes: Brush, label: str | None, version: str) -> dict[str, Any]:
    """Write a photo's mask as a prediction: a brush in a label that the config knows; no region where it is empty."""
    regions: list[dict[str, Any]] = []
    if record.rle is not None:
        chosen: Sequence[str] = [label] if label in brushes.labels else brushes.labels[:1]
        regions = [
            {
                "id": uuid4().hex[:10],
                "type": "brushlabels",
                "from_name": brushes.name,
                "to_name": brushes.image,
                "original_width": record.width,
                "original_height": record.height,
                "image_rotation": 0,
                "score": record.confidence,
                "value": {
                    "format": "rle",
                    "rle": brush.encode(decode_rle(record.rle.model_dump())),
                    "brushlabels": list(chosen),
                },
            }
        ]
    return {"result": regions, "score": record.confidence, "model_version": version}
