"""Which engine runs the model of a run: a run that was stopped goes on with the one that began it."""

from pathlib import Path

from cratecli.errors import WeightsError
from cratecli.model.engine import Model
from cratecli.runs.manifest import engine_in
from cratecli.runs.planned import Plan
from cratecli.weights import loading
from cratecli.weights.graphs import runtime_here
from cratecli.weights.loading import EngineChoice


def load_for(
    plan: Plan,
    name_or_file: str | Path | None = None,
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    dtype: str = "auto",
) -> Model:
    """Load a model for an engine; see `engine_for`. Raises what that and `load` raise."""
    engine = engine_for(plan, name_or_file, engine, device, dtype)
    return loading.load(name_or_file, engine=engine, device=device, dtype=dtype)


def engine_for(
    plan: Plan, name_or_file: str | Path | None, engine: EngineChoice, device: str, dtype: str
) -> EngineChoice:
    """Choose the engine: `auto` resumes a plan with the one that began it.

    Raises `WeightsError` where that one is not installed.
    """
    if engine == "auto" and plan.resume and plan.manifest and device in ("auto", "cpu"):
        began = engine_in(plan.manifest)
        if began and loading.can_run(
            began, name_or_file, dtype=dtype
        ):  # the run may have asked another model
            if began == "onnx" and not runtime_here() and loading.can_run("torch", name_or_file):
                raise WeightsError(
                    f"{plan.manifest}: onnxruntime began this run, and is not installed; run: pip install onnxruntime, "
                    "or give --engine torch, which does all photos again"
                )
            return began
    return engine
