"""What the questions print of each photo with `--json`, `--jsonl` and the worker, as typed records."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Len
from pydantic import Field

from cratecli.records import Record
from cratecli.runs.records import Rle
from cratecli.tasks.choices import as_lists
from cratecli.tasks.options import Finder

if TYPE_CHECKING:
    from pathlib import Path

    from cratecli.emergence.parts import Vocabulary
    from cratecli.model.engine import Model, WeightsId
    from cratecli.runs.jobs import Job
    from cratecli.tasks.heads import HeadsPhoto
    from cratecli.tasks.layers import LayersPhoto
    from cratecli.tasks.objects import ObjectsPhoto
    from cratecli.tasks.parts_album import PartsPhoto
    from cratecli.tasks.recipes import ObjectRecipe, PartRecipe, Recipe, ViewRecipe
    from cratecli.tasks.segment_run import SegmentedPhoto

Box = Annotated[list[int], Len(4, 4)]
_INPUT = Field(
    description="The photo's path, or `standard input`; of several there, `standard input, photo 2`."
)
_OUTPUT = Field(description="The output's path; null where it has none of its own.")
_HEIGHT = Field(description="Height of the upright photo, px.")
_WIDTH = Field(description="Width of the upright photo, px.")
_BOX = Field(description="Left, top, width, height, px of the upright photo.")
_AREA = Field(description="Pixels of the mask.")
_LAYERS = Field(description="Layers that were asked, from 0.")
_SIZES = Field(description="Input short sides, px; every second was seen mirrored.")
_REFINE = Field(description="How edges followed the photo: none, guided or grabcut.")
_WEIGHTS = Field(description="The model's name, or the path of its checkpoint file.")
_SHA256 = Field(description="SHA-256 of the checkpoint file, hexadecimal.")
_NOTES: list[str] = Field(
    default=[],
    description="How the photo was read where that is in doubt, a line each: deep numbers, one image of several.",
)


class SegmentRecord(Record):
    """What `crate segment` says of a photo."""

    input: str = _INPUT
    output: str | None = _OUTPUT
    as_: str = Field(validation_alias="as", serialization_alias="as", description="What was written: --as.")
    height: int = _HEIGHT
    width: int = _WIDTH
    empty: bool = Field(
        description="Whether the mask, which is written all the same, has no pixel: `confidence` was below "
        "`min_confidence`, the photo is of one colour, or cleaning left nothing."
    )
    confidence: float = Field(
        description="How good the mask is thought to be, 0–1. With `--heads auto` its expected IoU with the truth, "
        "learned on composites; with --at how far the vote is for one thing. With other heads, or --head, how clear "
        "the map is: how far the maps of heads, layers and sizes agree, times the contrast of attention, 1 − outside ÷ "
        "inside the mask. 0 for a photo of one colour."
    )
    min_confidence: float = Field(
        description="The confidence below which the mask is left empty: --min-confidence, or what was measured for "
        "the model."
    )
    area: int = _AREA
    box: Box | None = Field(description="Left, top, width, height of the mask, px of the upright photo.")
    cropped: Box | None = Field(
        description="Left, top, width, height of what the picture shows, with --crop, px of the upright photo; or null."
    )
    layers: list[int] = _LAYERS
    heads: list[int] = Field(
        description="The heads whose attention became the mask, from 0; of `--heads auto` those with at least an even "
        "share of the vote."
    )
    head_scores: list[list[float]] = Field(
        description="For each layer a list, for each head the correlation, −1 to 1, of its map with the weighted mean "
        "of all, averaged over sizes, without labels. 1: it sees what the others see; 0: something else."
    )
    sizes: list[int] = _SIZES
    keep: str = Field(description="The threshold rule; with `--heads auto` it cuts every candidate's map.")
    threshold: float = Field(
        description="The cut, 0–1, of the map that `--as soft` writes: what is at or above it is the mask, before "
        "`refine`. With `--heads auto` it is 0.5, of the candidates' vote; else that of `keep` on the saliency map "
        "scaled to its own range."
    )
    refine: str = _REFINE
    at: list[list[int]] | None = Field(
        default=None,
        description="With --at: column and row of each pixel that was asked about, of the upright photo.",
    )
    not_at: list[list[int]] | None = Field(
        default=None, description="With --at: column and row of each pixel that is not meant; --not-at."
    )
    head: str | None = Field(
        default=None,
        description="The mask head that drew the mask: its path, or `built-in`; `threshold` is of its map.",
    )
    head_sha256: str | None = Field(default=None, description="SHA-256 of the head's file, hexadecimal.")
    weights: str | None = _WEIGHTS
    weights_sha256: str | None = _SHA256
    rle: Rle | None = Field(default=None, description="The mask as COCO RLE, with --rle; null if empty.")
    notes: list[str] = _NOTES


class ObjectRecord(Record):
    """One object of a photo."""

    score: float = Field(description="How much it is an object, 0–1.")
    area: int = _AREA
    box: Box = _BOX
    rle: Rle = Field(description="The mask as COCO RLE.")


class ObjectsRecord(Record):
    """What `crate objects` says of a photo."""

    input: str = _INPUT
    output: str | None = _OUTPUT
    height: int = _HEIGHT
    width: int = _WIDTH
    objects: list[ObjectRecord] = Field(
        description="The objects, the best first; by MaskCut in the order they were cut."
    )
    by: Finder = Field(description="How objects were found.")
    layers: list[int] = Field(description="Layers whose heads were asked, or whose tokens were cut, from 0.")
    sizes: list[int] = _SIZES
    tau: float | None = Field(description="MaskCut's τ, a cosine; null by candidates.")
    min_score: float = Field(description="Objects that scored less were left out, 0–1.")
    min_best: float = Field(description="Where the best object scored less, all were left out, 0–1.")
    refine: str = _REFINE
    weights: str | None = _WEIGHTS
    weights_sha256: str | None = _SHA256
    notes: list[str] = _NOTES


class HeadsRecord(Record):
    """What `crate heads` says of a photo."""

    input: str = _INPUT
    output: str | None = _OUTPUT
    layers: list[int] = _LAYERS
    sizes: list[int] = _SIZES
    head_scores: list[list[float]] = Field(
        description="How far each head of each layer agrees with the others, −1 to 1."
    )
    head_shares: list[list[float]] = Field(
        description="What `--heads agree` gives each head of each layer; they sum to 1."
    )
    weights: str | None = _WEIGHTS
    weights_sha256: str | None = _SHA256


class LayersRecord(Record):
    """What `crate layers` says of a photo; every list has an entry a layer."""

    input: str = _INPUT
    output: str | None = _OUTPUT
    layers: list[int] = _LAYERS
    coding_rate: list[float] = Field(description="Coding rate of the tokens entering the layer, nats.")
    zero_fraction: list[float] = Field(description="Share of exact zeros in what the layer hands on, 0–1.")
    maskcut_area: list[float] = Field(description="Share of patches in MaskCut's first mask, 0–1.")
    weights: str | None = _WEIGHTS
    weights_sha256: str | None = _SHA256


class PartRecord(Record):
    """One part of a photo."""

    name: str = Field(description="The part's name.")
    label: int = Field(description="Its label, and index in VOC's palette, 1–254.")
    area: int = _AREA
    box: Box = _BOX
    centroid: Annotated[list[float], Len(2, 2)] = Field(description="Mean x and y, px of the upright photo.")


class PartsRecord(Record):
    """What `crate parts` says of a photo, on stdout and in parts.json."""

    input: str = _INPUT
    outputs: list[str] = Field(description="The pictures that were written.")
    height: int = _HEIGHT
    width: int = _WIDTH
    parts: list[PartRecord] = Field(description="The parts that the photo shows.")


class PartName(Record):
    """A part of the vocabulary."""

    name: str = Field(description="The part's name.")
    label: int = Field(description="Its label, and index in VOC's palette, 1–254.")


class PartsFile(Record):
    """The file parts.json: the vocabulary, how it was learned, and a record a photo."""

    parts: list[PartName] = Field(description="The vocabulary.")
    k: int = Field(description="How many parts.")
    foreground: str = Field(
        description="The rule that separates foreground and background: attention, pca or none."
    )
    layers: list[int] = Field(description="Layers whose tokens describe patches, from 0.")
    sizes: list[int] = Field(description="Input short sides, px.")
    refine: str = _REFINE
    seed: int = Field(description="Seed of k-means.")
    weights: str | None = _WEIGHTS
    weights_sha256: str | None = _SHA256
    crate: dict[str, Any] = Field(description="How the file was made: the provenance.")
    images: list[PartsRecord] = Field(description="The photos, in the order of the inputs.")


def segment_record(photo: "SegmentedPhoto", recipe: "Recipe", kind: str, *, rle: bool) -> SegmentRecord:
    """Describe a photo that was segmented; `rle` puts the mask into it."""
    result, objects = photo.segmentation, photo.annotated.objects
    mask: dict[str, Any] = {"rle": Rle(**objects[0].rle) if objects else None} if rle else {}
    head, clicks = result.head, recipe.clicks
    clicked: dict[str, Any] = {"at": as_lists(clicks.on), "not_at": as_lists(clicks.off)} if clicks else {}
    drawn: dict[str, Any] = {"head": head.name, "head_sha256": head.sha256} if head else {}
    return SegmentRecord(
        input=photo.job.name,
        output=_target(photo.job),
        as_=kind,
        height=result.size.height,
        width=result.size.width,
        empty=result.empty,
        confidence=round(result.confidence, 4),
        min_confidence=recipe.min_confidence,
        area=result.area,
        box=None if result.box is None else list(result.box.xywh),
        cropped=None if photo.cropped is None else list(photo.cropped.xywh),
        layers=list(result.layers),
        heads=list(result.heads),
        head_scores=_rounded(result.head_scores),
        sizes=list(recipe.sizes),
        keep=str(recipe.keep),
        threshold=round(result.threshold, 4),
        refine=recipe.refine,
        notes=list(photo.notes),
        **_named(result.weights),
        **clicked,
        **drawn,
        **mask,
    )


def objects_record(photo: "ObjectsPhoto", recipe: "ObjectRecipe", model: "Model") -> ObjectsRecord:
    """Describe a photo whose objects were looked for."""
    return ObjectsRecord(
        input=photo.job.name,
        output=_target(photo.job),
        height=photo.annotated.height,
        width=photo.annotated.width,
        objects=[
            ObjectRecord(score=each.score, area=each.area, box=list(each.box), rle=Rle(**each.rle))
            for each in photo.annotated.objects
        ],
        by=recipe.by,
        layers=list(recipe.layers),
        sizes=list(recipe.sizes),
        tau=recipe.tau if recipe.by == "maskcut" else None,
        min_score=recipe.min_score,
        min_best=recipe.min_best,
        refine=recipe.refine,
        notes=list(photo.notes),
        **_named(model.weights),
    )


def heads_record(photo: "HeadsPhoto", recipe: "ViewRecipe") -> HeadsRecord:
    """Describe a photo whose heads were scored."""
    maps = photo.maps
    return HeadsRecord(
        input=photo.job.name,
        output=_target(photo.job),
        layers=list(maps.layers),
        sizes=list(recipe.sizes),
        head_scores=_rounded(maps.scores),
        head_shares=_rounded(maps.shares),
        **_named(maps.weights),
    )


def layers_record(photo: "LayersPhoto") -> LayersRecord:
    """Describe a photo that was traced through the layers."""
    trace = photo.trace
    return LayersRecord(
        input=photo.job.name,
        output=_target(photo.job),
        layers=list(trace.layers),
        coding_rate=[round(float(rate), 4) for rate in trace.coding_rate],
        zero_fraction=[round(float(share), 6) for share in trace.zero_fraction],
        maskcut_area=[round(float(mask.mean()), 4) for mask in trace.mask],
        **_named(trace.weights),
    )


def parts_record(photo: "PartsPhoto", written: "Iterable[Path]") -> PartsRecord:
    """Describe a photo whose parts were labelled."""
    height, width = photo.rgb.shape[:2]
    return PartsRecord(
        input=photo.job.name,
        outputs=list(map(str, written)),
        height=height,
        width=width,
        parts=[
            PartRecord(
                name=part.name,
                label=part.colour,
                area=part.area,
                box=list(part.box.xywh),
                centroid=[round(value, 2) for value in part.centroid],
            )
            for part in photo.parts.parts
        ],
    )


def parts_file(
    vocabulary: "Vocabulary",
    recipe: "PartRecipe",
    model: "Model",
    made: dict[str, Any],
    images: Sequence[PartsRecord],
) -> PartsFile:
    """Describe a whole run of `crate parts`."""
    names = zip(vocabulary.names, vocabulary.colours, strict=True)
    return PartsFile(
        parts=[PartName(name=name, label=colour) for name, colour in names],
        k=len(vocabulary.names),
        foreground=vocabulary.ground.rule,
        layers=list(recipe.layers),
        sizes=list(recipe.sizes),
        refine=recipe.refine,
        seed=recipe.seed,
        **_named(model.weights),
        crate=made,
        images=list(images),
    )


def _target(job: "Job") -> str | None:
    return job.output


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in values]


def _named(weights: "WeightsId | None") -> dict[str, Any]:
    """Say which weights a record is of."""
    return {"weights": weights and weights.name, "weights_sha256": weights and weights.sha256}
