"""Which engine runs the model of a run: a run that was stopped goes on with the one that began it."""

from pathlib import Path

from cratecli.model.engine import Model
from cratecli.runs.manifest import engine_in
from cratecli.runs.planned import Plan
from cratecli.weights import loading
from cratecli.weights.loading import EngineChoice


def load_for(
    plan: Plan,
    name_or_file: str | Path | None = None,
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    dtype: str = "auto",
) -> Model:
    """Load a model for an engine; see `engine_for`. Raises what `load` raises."""
    engine = engine_for(plan, name_or_file, engine, device, dtype)
    return loading.load(name_or_file, engine=engine, device=device, dtype=dtype)


def engine_for(
    plan: Plan, name_or_file: str | Path | None, engine: EngineChoice, device: str, dtype: str
) -> EngineChoice:
    """Choose the engine: `auto` resumes a plan with the one that began it."""
    if engine == "auto" and plan.resume and plan.manifest and device in ("auto", "cpu"):
        began = engine_in(plan.manifest)
        if began and loading.can_run(
            began, name_or_file, dtype=dtype
        ):  # the run may have asked another model
            return began
    return engine
