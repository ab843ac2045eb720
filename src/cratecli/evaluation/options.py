"""The options of evaluations, each said once. Imports neither torch nor NumPy."""

from pathlib import Path
from typing import Annotated

from annotated_doc import Doc
from typing_extensions import TypedDict

from cratecli.tasks.options import (
    CutOptions,
    InputSize,
    LayerChoice,
    MaskOptions,
    PartOptions,
    ReadOptions,
)

VAL = "val"


class PairOptions(TypedDict, total=False):
    """Where a data set's photos and masks lie."""

    images: Annotated[str, Doc("The folder of the photos, seen from PATH; found where the layout is known.")]
    masks: Annotated[str, Doc("The folder of the masks, seen from PATH; found where the layout is known.")]


class PartsProtocolOptions(PartOptions, PairOptions, total=False):
    """Which parts are evaluated against a data set's labelled parts."""


class SaliencyProtocolOptions(MaskOptions, PairOptions, total=False):
    """Which masks are evaluated against a data set's masks."""

    off_centre: Annotated[bool, Doc("Crop photos so that their object lies off-centre.")]
    oracle: Annotated[bool, Doc("A row for the best head, layer and view by truth, not refined.")]
    mean_of_heads: Annotated[bool, Doc("A row for the mean of all heads, not refined.")]


class VocProtocolOptions(ReadOptions, total=False):
    """Which attention is evaluated on which photos of PASCAL VOC; each layer on its own."""

    split: Annotated[str, Doc(f"The list in ImageSets/Segmentation, without .txt; {VAL} unless said.")]
    layers: LayerChoice
    size: Annotated[InputSize, Doc("Side of the square input, px.")]


class RunOptions(TypedDict, total=False):
    """How scores are kept, and intervals computed, under every protocol.

    Photos' scores are written into the folder `scores` as they come; with `resume`, those in it are not computed again.
    Confidence intervals come from `resamples` bootstrap samples of the photos (1,000; 0 for none), drawn by
    `resample_seed` (0).
    """

    scores: Path | None
    resume: bool
    resamples: int
    resample_seed: int


class EvaluationOptions(RunOptions, total=False):
    """How an evaluation runs, under every protocol: `batch_size` photos go through the model together (8)."""

    batch_size: int


class SaliencyOptions(SaliencyProtocolOptions, EvaluationOptions, total=False):
    """The options of `evaluate_saliency`."""


class VocOptions(VocProtocolOptions, EvaluationOptions, total=False):
    """The options of `evaluate_voc`."""


class CocoOptions(CutOptions, EvaluationOptions, total=False):
    """The options of `evaluate_coco`."""


class PartsOptions(PartsProtocolOptions, EvaluationOptions, total=False):
    """The options of `evaluate_parts`."""
