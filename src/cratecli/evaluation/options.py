"""The options of evaluations, each said once: as keywords of the `evaluate_…` functions and of the protocols."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from cratecli.emergence.parts import Foreground
from cratecli.tasks.recipes import Refine


class SegmentOptions(TypedDict, total=False):
    """How masks are made, as `segment` has it."""

    layers: Sequence[int] | None
    sizes: Sequence[int] | None
    heads: Literal["auto", "all"] | Sequence[int]
    keep: str | None
    refine: Refine | None


class ObjectOptions(TypedDict, total=False):
    """How objects are cut, as `objects` has it; each of `layers` is cut on its own."""

    layers: Sequence[int] | None
    size: int | None
    count: int | None
    tau: float | None


class PartOptions(TypedDict, total=False):
    """How parts are learned, as `parts` has it."""

    k: int | Literal["auto"]
    foreground: Foreground | None
    refine: Refine
    layers: Sequence[int] | None
    sizes: Sequence[int] | None
    seed: int


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


class SaliencyOptions(SegmentOptions, EvaluationOptions, total=False):
    """The options of `evaluate_saliency`.

    With `off_centre`, photos are cropped so that their object lies off-centre. `mean_of_heads` and `oracle` add a row
    each: the mean of all heads, and the best head, layer and view by truth.
    """

    off_centre: bool
    mean_of_heads: bool
    oracle: bool


class VocOptions(EvaluationOptions, total=False):
    """The options of `evaluate_voc`: the `split` of the data set, layers that are evaluated each on its own, and the
    side of the square input in px.
    """

    split: str
    layers: Sequence[int] | None
    size: int | None


class CocoOptions(ObjectOptions, EvaluationOptions, total=False):
    """The options of `evaluate_coco`."""


class PartsOptions(PartOptions, EvaluationOptions, total=False):
    """The options of `evaluate_parts`."""
