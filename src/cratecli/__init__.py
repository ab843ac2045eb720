"""Emergent segmentation from CRATE, the white-box transformer: masks from attention, trained on class labels alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cratecli.errors import (
    CrateError,
    DeviceError,
    InputError,
    NothingMatchedError,
    OutputError,
    RegistryError,
    UsageError,
    WeightsError,
)
from cratecli.version import __version__

if TYPE_CHECKING:
    from cratecli.emergence.rules import Keep
    from cratecli.evaluation.coco import evaluate_coco
    from cratecli.evaluation.options import (
        CocoOptions,
        EvaluationOptions,
        PartsOptions,
        SaliencyOptions,
        VocOptions,
    )
    from cratecli.evaluation.parts import evaluate_parts
    from cratecli.evaluation.result import Evaluation
    from cratecli.evaluation.saliency import evaluate_saliency
    from cratecli.evaluation.voc import evaluate_voc
    from cratecli.explorer.explore import explore
    from cratecli.geometry import Box, Size
    from cratecli.model.engine import Model, WeightsId
    from cratecli.model.graph import GraphModel
    from cratecli.model.unroll import LayerState, WhiteBox
    from cratecli.runs.tensors import prepare
    from cratecli.runs.views import Look, look
    from cratecli.tasks.heads import HeadMaps, heads
    from cratecli.tasks.layers import LayerTrace, layers
    from cratecli.tasks.objects import Object, objects, objects_many
    from cratecli.tasks.options import (
        CutOptions,
        LayerOptions,
        ObjectOptions,
        OneSizeOptions,
        PartOptions,
        PictureOptions,
        SegmentOptions,
        ViewOptions,
    )
    from cratecli.tasks.parts import Part, PartMap, parts
    from cratecli.tasks.pictures import draw
    from cratecli.tasks.recipes import (
        Defaults,
        LayerRecipe,
        ObjectRecipe,
        PartRecipe,
        Recipe,
        ViewRecipe,
        defaults,
    )
    from cratecli.tasks.segment import Segmentation, segment, segment_many
    from cratecli.tasks.self_train import self_train
    from cratecli.training.head_recipe import HeadRecipe
    from cratecli.training.recipe import TrainRecipe
    from cratecli.training.train import train
    from cratecli.training.watch import Trained, Watch
    from cratecli.weights.checkpoint import load_model
    from cratecli.weights.loading import load_graph

__all__ = [
    "Box",
    "CocoOptions",
    "CrateError",
    "CutOptions",
    "Defaults",
    "DeviceError",
    "Evaluation",
    "EvaluationOptions",
    "GraphModel",
    "HeadMaps",
    "HeadRecipe",
    "InputError",
    "Keep",
    "LayerOptions",
    "LayerRecipe",
    "LayerState",
    "LayerTrace",
    "Look",
    "Model",
    "NothingMatchedError",
    "Object",
    "ObjectOptions",
    "ObjectRecipe",
    "OneSizeOptions",
    "OutputError",
    "Part",
    "PartMap",
    "PartOptions",
    "PartRecipe",
    "PartsOptions",
    "PictureOptions",
    "Recipe",
    "RegistryError",
    "SaliencyOptions",
    "SegmentOptions",
    "Segmentation",
    "Size",
    "TrainRecipe",
    "Trained",
    "UsageError",
    "ViewOptions",
    "ViewRecipe",
    "VocOptions",
    "Watch",
    "WeightsError",
    "WeightsId",
    "WhiteBox",
    "__version__",
    "defaults",
    "draw",
    "evaluate_coco",
    "evaluate_parts",
    "evaluate_saliency",
    "evaluate_voc",
    "explore",
    "heads",
    "layers",
    "load_graph",
    "load_model",
    "look",
    "objects",
    "objects_many",
    "parts",
    "prepare",
    "segment",
    "segment_many",
    "self_train",
    "train",
]

_ROOMS = {
    "emergence.rules": ("Keep",),
    "evaluation.coco": ("evaluate_coco",),
    "evaluation.options": (
        "CocoOptions",
        "EvaluationOptions",
        "PartsOptions",
        "SaliencyOptions",
        "VocOptions",
    ),
    "evaluation.parts": ("evaluate_parts",),
    "evaluation.result": ("Evaluation",),
    "evaluation.saliency": ("evaluate_saliency",),
    "evaluation.voc": ("evaluate_voc",),
    "explorer.explore": ("explore",),
    "geometry": (
        "Box",
        "Size",
    ),
    "model.engine": (
        "Model",
        "WeightsId",
    ),
    "model.graph": ("GraphModel",),
    "model.unroll": (
        "LayerState",
        "WhiteBox",
    ),
    "runs.tensors": ("prepare",),
    "runs.views": (
        "Look",
        "look",
    ),
    "tasks.heads": (
        "HeadMaps",
        "HeadRecipe",
        "heads",
    ),
    "tasks.layers": (
        "LayerTrace",
        "layers",
    ),
    "tasks.objects": (
        "Object",
        "objects",
        "objects_many",
    ),
    "tasks.options": (
        "CutOptions",
        "LayerOptions",
        "ObjectOptions",
        "OneSizeOptions",
        "PartOptions",
        "PictureOptions",
        "SegmentOptions",
        "ViewOptions",
    ),
    "tasks.parts": (
        "Part",
        "PartMap",
        "parts",
    ),
    "tasks.pictures": ("draw",),
    "tasks.recipes": (
        "Defaults",
        "LayerRecipe",
        "ObjectRecipe",
        "PartRecipe",
        "Recipe",
        "ViewRecipe",
        "defaults",
    ),
    "tasks.segment": (
        "Segmentation",
        "segment",
        "segment_many",
    ),
    "tasks.self_train": ("self_train",),
    "training.head_recipe": ("HeadRecipe",),
    "training.recipe": ("TrainRecipe",),
    "training.train": ("train",),
    "training.watch": (
        "Trained",
        "Watch",
    ),
    "weights.checkpoint": ("load_model",),
    "weights.loading": ("load_graph",),
}
"""Where public names live, so that `import cratecli` loads nothing that needs torch."""

_HOMES = {name: f"cratecli.{room}" for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for, so that `import cratecli` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
