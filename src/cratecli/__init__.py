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
    from cratecli.evaluation.coco import evaluate_coco
    from cratecli.evaluation.parts import evaluate_parts
    from cratecli.evaluation.result import Evaluation
    from cratecli.evaluation.saliency import evaluate_saliency
    from cratecli.evaluation.voc import evaluate_voc
    from cratecli.model.unroll import LayerState
    from cratecli.runs.views import prepare
    from cratecli.tasks.heads import HeadMaps, heads
    from cratecli.tasks.layers import LayerTrace, layers
    from cratecli.tasks.objects import Object, objects
    from cratecli.tasks.parts import PartMap, parts
    from cratecli.tasks.segment import Segmentation, segment
    from cratecli.training.recipe import TrainRecipe
    from cratecli.training.train import train
    from cratecli.training.watch import Trained, Watch
    from cratecli.weights.checkpoint import load_model

__all__ = [
    "CrateError",
    "DeviceError",
    "Evaluation",
    "HeadMaps",
    "InputError",
    "LayerState",
    "LayerTrace",
    "NothingMatchedError",
    "Object",
    "OutputError",
    "PartMap",
    "RegistryError",
    "Segmentation",
    "TrainRecipe",
    "Trained",
    "UsageError",
    "Watch",
    "WeightsError",
    "__version__",
    "evaluate_coco",
    "evaluate_parts",
    "evaluate_saliency",
    "evaluate_voc",
    "heads",
    "layers",
    "load_model",
    "objects",
    "parts",
    "prepare",
    "segment",
    "train",
]

_HOMES = {
    "Evaluation": "cratecli.evaluation.result",
    "HeadMaps": "cratecli.tasks.heads",
    "LayerState": "cratecli.model.unroll",
    "LayerTrace": "cratecli.tasks.layers",
    "Object": "cratecli.tasks.objects",
    "PartMap": "cratecli.tasks.parts",
    "Segmentation": "cratecli.tasks.segment",
    "evaluate_coco": "cratecli.evaluation.coco",
    "evaluate_parts": "cratecli.evaluation.parts",
    "evaluate_saliency": "cratecli.evaluation.saliency",
    "evaluate_voc": "cratecli.evaluation.voc",
    "heads": "cratecli.tasks.heads",
    "layers": "cratecli.tasks.layers",
    "load_model": "cratecli.weights.checkpoint",
    "objects": "cratecli.tasks.objects",
    "parts": "cratecli.tasks.parts",
    "prepare": "cratecli.runs.views",
    "TrainRecipe": "cratecli.training.recipe",
    "Trained": "cratecli.training.watch",
    "Watch": "cratecli.training.watch",
    "segment": "cratecli.tasks.segment",
    "train": "cratecli.training.train",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for, so that `import cratecli` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
