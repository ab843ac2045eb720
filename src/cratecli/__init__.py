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

if TYPE_CHECKING:
    from cratecli.model.unroll import LayerState
    from cratecli.tasks.evaluate_coco import evaluate_coco
    from cratecli.tasks.evaluate_parts import evaluate_parts
    from cratecli.tasks.evaluate_saliency import evaluate_saliency
    from cratecli.tasks.evaluate_voc import evaluate_voc
    from cratecli.tasks.evaluation import Evaluation
    from cratecli.tasks.features import prepare
    from cratecli.tasks.heads import HeadMaps, heads
    from cratecli.tasks.layers import LayerTrace, layers
    from cratecli.tasks.objects import Object, objects
    from cratecli.tasks.parts import PartMap, parts
    from cratecli.tasks.segment import Segmentation, segment
    from cratecli.tasks.train import train
    from cratecli.tasks.train_recipe import TrainRecipe
    from cratecli.tasks.train_watch import Trained, Watch
    from cratecli.weights.checkpoint import load_model

__version__ = "0.1.0"
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
    "Evaluation": "cratecli.tasks.evaluation",
    "HeadMaps": "cratecli.tasks.heads",
    "LayerState": "cratecli.model.unroll",
    "LayerTrace": "cratecli.tasks.layers",
    "Object": "cratecli.tasks.objects",
    "PartMap": "cratecli.tasks.parts",
    "Segmentation": "cratecli.tasks.segment",
    "evaluate_coco": "cratecli.tasks.evaluate_coco",
    "evaluate_parts": "cratecli.tasks.evaluate_parts",
    "evaluate_saliency": "cratecli.tasks.evaluate_saliency",
    "evaluate_voc": "cratecli.tasks.evaluate_voc",
    "heads": "cratecli.tasks.heads",
    "layers": "cratecli.tasks.layers",
    "load_model": "cratecli.weights.checkpoint",
    "objects": "cratecli.tasks.objects",
    "parts": "cratecli.tasks.parts",
    "prepare": "cratecli.tasks.features",
    "TrainRecipe": "cratecli.tasks.train_recipe",
    "Trained": "cratecli.tasks.train_watch",
    "Watch": "cratecli.tasks.train_watch",
    "segment": "cratecli.tasks.segment",
    "train": "cratecli.tasks.train",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for, so that `import cratecli` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
