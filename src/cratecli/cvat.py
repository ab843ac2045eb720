"""CVAT's automatic annotation: `cvat-cli task auto-annotate 7 --function-module cratecli.cvat`.

`create` makes what CVAT's SDK calls an auto-annotation function, from parameters that are named as options are in
Python; see docs/cvat.md. Needs the extra `cratecli[cvat]`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args, get_type_hints, overload

import numpy as np

from cratecli.arrays import RGB, Mask
from cratecli.errors import CrateError, UsageError
from cratecli.geometry import Pixel
from cratecli.io.formats.coco import outlines
from cratecli.io.images import PhotoLike, as_rgb
from cratecli.model.unroll import WhiteBox
from cratecli.tasks.object_recipes import choose_object_recipe
from cratecli.tasks.objects import objects_batch
from cratecli.tasks.options import MaskOptions, ObjectOptions
from cratecli.tasks.recipes import choose_recipe
from cratecli.tasks.segment import segment_batch
from cratecli.tasks.spelling import READ
from cratecli.weights.checkpoint import load_model
from cratecli.wording import quoted

if TYPE_CHECKING:
    import cvat_sdk.auto_annotation as cvataa

Kind = Literal["segment", "objects", "clicks"]

Scored = Sequence[tuple[Mask, float]]
"""What was found in a photo: masks that have pixels, and how sure each is, 0–1."""

_LABEL = 0  # what CVAT's SDK knows our one label by, and its one attribute
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detector:
    """A detection function of CVAT's SDK: it answers each frame of a task with scored masks of one label.

    `find` takes an upright photo and the least confidence, if CVAT was told one. A frame that cannot be segmented has
    no mask, and is named in a warning of Python's `logging`, so that the rest of the task goes on.
    """

    spec: "cvataa.DetectionFunctionSpec"
    find: Callable[[RGB, float | None], Scored]
    range: str

    def detect(
        self, context: "cvataa.DetectionFunctionContext", image: PhotoLike
    ) -> list["cvataa.DetectionAnnotation"]:
        """Answer one frame. A mask is a shape, or with `conv_mask_to_poly` a polygon for each of its pieces."""
        import cvat_sdk.auto_annotation as cvataa
        from cvat_sdk.masks import encode_mask

        try:
            found = self.find(as_rgb(image, range=self.range), context.conf_threshold)
        except CrateError as error:
            _log.warning("%s: no mask: %s", quoted(context.frame_name), error)
            return []
        shapes = []
        for mask, confidence in found:
            about = {"score": round(confidence, 4), "attributes": self._attributes(confidence)}
            if context.conv_mask_to_poly:
                shapes += [cvataa.polygon(_LABEL, points, **about) for points in outlines(mask)]
            else:
                shapes.append(cvataa.mask(_LABEL, encode_mask(mask), **about))
        return shapes

    def _attributes(self, confidence: float) -> list[Any]:
        from cvat_sdk.attributes import attribute_vals_from_dict

        percent = {_LABEL: round(100 * confidence)} if self.spec.labels[0].attributes else {}
        attributes: list[Any] = attribute_vals_from_dict(percent)
        return attributes


@dataclass(frozen=True)
class Interactor:
    """An interaction function of CVAT's SDK: it answers clicks on a photo with one mask, or with none.

    `find` takes an upright photo, the pixels that are meant and those that are not.
    """

    spec: "cvataa.InteractionFunctionSpec"
    find: Callable[[RGB, Sequence[Pixel], Sequence[Pixel]], Scored]
    range: str

    def preprocess_image(self, _context: "cvataa.InteractionFunctionContext", image: PhotoLike) -> RGB:
        """Read a photo, once for all clicks on it."""
        return as_rgb(image, range=self.range)

    def detect(
        self,
        _context: "cvataa.InteractionFunctionContext",
        pp_image: RGB,
        prompts: "cvataa.InteractionPrompts",
    ) -> list["cvataa.InteractionResultShape"]:
        """Answer the clicks on a photo; one beyond its edge is taken to the edge."""
        import cvat_sdk.auto_annotation as cvataa
        from cvat_sdk.attributes import attribute_vals_from_dict
        from cvat_sdk.masks import encode_mask

        most = np.array(pp_image.shape[1::-1]) - 1
        at, not_at = (
            [(x, y) for x, y in np.clip(np.floor(list(each)), 0, most).astype(int).tolist()] if each else []
            for each in (prompts.pos_points, prompts.neg_points)
        )
        return [
            cvataa.InteractionResultShape(
                type="mask",
                points=encode_mask(mask),
                attributes=attribute_vals_from_dict(
                    {int(cvataa.InteractionResultAttributes.CONFIDENCE): f"{confidence:.4f}"}
                ),
            )
            for mask, confidence in self.find(pp_image, at, not_at)
        ]


@overload
def create(
    model: WhiteBox | str | Path | None = ...,
    *,
    kind: Literal["segment"] = ...,
    label: str = ...,
    attribute: str | None = ...,
    device: str = ...,
    dtype: str = ...,
    **asked: Unpack[MaskOptions],
) -> Detector: ...
@overload
def create(
    model: WhiteBox | str | Path | None = ...,
    *,
    kind: Literal["objects"],
    label: str = ...,
    attribute: str | None = ...,
    device: str = ...,
    dtype: str = ...,
    **asked: Unpack[ObjectOptions],
) -> Detector: ...
@overload
def create(
    model: WhiteBox | str | Path | None = ...,
    *,
    kind: Literal["clicks"],
    device: str = ...,
    dtype: str = ...,
    **asked: Unpack[MaskOptions],
) -> Interactor: ...
def create(
    model: WhiteBox | str | Path | None = None,
    *,
    kind: Kind = "segment",
    label: str = "object",
    attribute: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **asked: Any,
) -> Detector | Interactor:
    """Make a function of CVAT's: one mask a photo (`segment`), several (`objects`), or one for `clicks`.

    `label` is the task's label that masks get, of type mask or any; `attribute` the label's number attribute, 0 to 100
    by 1, that gets the confidence in percent. The rest are options of the question; lists may be text, as on the
    command line. Raises `UsageError` for what makes no sense, and what `load_model` raises.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"kind is {kind!r}, not one of {', '.join(get_args(Kind))}")
    options = ObjectOptions if kind == "objects" else MaskOptions
    given = _read(asked, options, kind)
    if kind == "clicks" and (label != "object" or attribute is not None):
        raise UsageError("what is clicked on gets the label chosen in CVAT: leave out label and attribute")
    try:
        import cvat_sdk.auto_annotation as cvataa
        from cvat_sdk.attributes import number_attribute_values
    except ImportError:
        raise UsageError("CVAT needs an extra; run: pip install 'cratecli[cvat]'") from None
    ready = model if isinstance(model, WhiteBox) else load_model(model or None, device=device, dtype=dtype)
    numbers = given.get("range") or "auto"
    if kind == "clicks":
        choose_recipe(ready, at=[(0, 0)], **given)  # to say now what makes no sense
        return Interactor(
            cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0),
            _clicked(ready, given),
            numbers,
        )
    percent = number_attribute_values(0, 100)
    named = [] if attribute is None else [cvataa.number_attribute_spec(attribute, _LABEL, percent)]
    spec = cvataa.DetectionFunctionSpec(
        labels=[cvataa.label_spec(label, _LABEL, type="mask", attributes=named)]
    )
    return Detector(spec, (_several if kind == "objects" else _one)(ready, given), numbers)


def _read(asked: Mapping[str, Any], options: type, kind: str) -> Any:
    """Read lists from text, and from a single number. Raises `UsageError`."""
    known = get_type_hints(options)
    if unknown := sorted(asked.keys() - known):
        raise UsageError(f"unknown parameter {unknown[0]!r}; {kind} takes {', '.join(known)}")
    return {
        name: READ[name](str(value), name) if name in READ and isinstance(value, str | int) else value
        for name, value in asked.items()
    }


def _one(model: WhiteBox, asked: MaskOptions) -> Callable[[RGB, float | None], Scored]:
    """Ask `segment`; CVAT's least confidence takes the place of `min_confidence`."""
    recipe = choose_recipe(model, **asked)

    def find(photo: RGB, least: float | None) -> Scored:
        changed = recipe if least is None else replace(recipe, min_confidence=least)
        result = segment_batch([photo], model, changed)[0]
        return [] if result.empty else [(result.mask, result.confidence)]

    return find


def _several(model: WhiteBox, asked: ObjectOptions) -> Callable[[RGB, float | None], Scored]:
    """Ask `objects`; CVAT's least confidence takes the place of `min_score`."""
    recipe = choose_object_recipe(model, **asked)

    def find(photo: RGB, least: float | None) -> Scored:
        changed = recipe if least is None else replace(recipe, min_score=least)
        return [(each.mask, each.score) for each in objects_batch([photo], model, changed)[0]]

    return find


def _clicked(
    model: WhiteBox, asked: MaskOptions
) -> Callable[[RGB, Sequence[Pixel], Sequence[Pixel]], Scored]:
    """Ask `segment` what is at some pixels."""

    def find(photo: RGB, at: Sequence[Pixel], not_at: Sequence[Pixel]) -> Scored:
        result = segment_batch([photo], model, choose_recipe(model, **asked, at=at, not_at=not_at))[0]
        return [] if result.empty else [(result.mask, result.confidence)]

    return find
