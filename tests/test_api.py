"""The public Python API is what `cratecli` names, and asking for it costs nothing until it is used."""

import builtins
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cratecli

CHELSEA = Path(__file__).parents[1] / "examples/chelsea.jpg"


def test_the_public_surface() -> None:
    """A name more or less is a decision, made here."""
    assert cratecli.__all__ == sorted(cratecli.__all__)
    assert set(cratecli.__all__) == {
        *("CrateError", "InputError", "OutputError", "UsageError", "RegistryError"),
        *("NothingMatchedError", "WeightsError", "DeviceError"),
        *("load_model", "load_graph", "Model", "WhiteBox", "GraphModel", "LayerState", "WeightsId"),
        *("prepare", "look", "Look"),
        *("segment", "segment_many", "Segmentation", "SegmentOptions", "Recipe", "Keep"),
        *("draw", "PictureOptions"),
        *("objects", "objects_many", "Object", "ObjectOptions", "CutOptions", "ObjectRecipe", "Box", "Size"),
        *("defaults", "Defaults"),
        *("parts", "PartMap", "Part", "PartOptions", "PartRecipe"),
        *("heads", "HeadMaps", "ViewOptions", "ViewRecipe"),
        *("layers", "LayerTrace", "LayerOptions", "LayerRecipe"),
        *("explore", "OneSizeOptions"),
        *("evaluate_coco", "evaluate_parts", "evaluate_saliency", "evaluate_voc", "Evaluation"),
        *("EvaluationOptions", "CocoOptions", "PartsOptions", "SaliencyOptions", "VocOptions"),
        *("train", "TrainRecipe", "Trained", "Watch", "self_train", "HeadRecipe"),
        "__version__",
    }
    assert dir(cratecli) == cratecli.__all__


@pytest.mark.parametrize("name", [name for name in cratecli.__all__ if name != "__version__"])
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(cratecli, name)
    assert thing.__name__ == name
    assert inspect.getdoc(thing)


def test_what_public_docstrings_name_is_public() -> None:
    known = {*cratecli.__all__, *dir(builtins)}
    for name in cratecli.__all__:
        thing = getattr(cratecli, name)
        members = vars(thing).values() if inspect.isclass(thing) else ()
        for page in (
            thing,
            *(each for each in members if inspect.isfunction(each) or isinstance(each, property)),
        ):
            named = set(re.findall(r"`([A-Z][a-z]\w+)(?:\.\w+)?`", inspect.getdoc(page) or ""))
            assert named <= known, f"{name} names {named - known}"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cratecli' has no attribute 'segmentation'"):
        _ = cratecli.segmentation


def test_every_error_is_a_crate_error() -> None:
    errors = [getattr(cratecli, name) for name in cratecli.__all__ if name.endswith("Error")]
    assert all(issubclass(error, cratecli.CrateError) for error in errors)
    assert {error.__name__: error.exit_code for error in errors} == {
        "CrateError": 1,
        "InputError": 1,
        "OutputError": 1,
        "UsageError": 2,
        "RegistryError": 2,
        "NothingMatchedError": 3,
        "WeightsError": 4,
        "DeviceError": 5,
    }


def test_importing_is_light(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, cratecli; print(*sys.modules, cratecli.__version__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *loaded, version = done.stdout.split()
    assert version == cratecli.__version__
    assert "cratecli.errors" in loaded
    assert not {"torch", "numpy", "PIL", "cv2", "timm", "scipy", "typer", "rich", "pydantic"} & set(loaded)


def test_how_a_model_is_loaded_and_unrolled() -> None:
    model = cratecli.load_model("crate-nano", heads=None, device="cpu", dtype="auto")
    images = cratecli.prepare(CHELSEA, model)
    assert images.shape == (1, 3, 96, 144)
    with torch.inference_mode():
        states = list(model.unroll(images))
        assert model(images).shape == (1, 120)
    assert [state.index for state in states] == list(range(9))
    tokens = 1 + 12 * 18
    for state in states:
        assert isinstance(state, cratecli.LayerState)
        assert state.tokens.shape == (1, tokens, 192)
    for state in states[:-1]:
        assert state.subspaces.shape == (1, 6, tokens, 32)
        assert state.class_attention().shape == (1, 6, 216)
    with pytest.raises(ValueError, match="final tokens only"):
        states[-1].class_attention()
