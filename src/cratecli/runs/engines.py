"""Which engine runs the model of a run: the one that began it, or the one that suits how many photos there are."""

from pathlib import Path

from cratecli.model.engine import Model
from cratecli.runs.manifest import engine_in
from cratecli.runs.plan import Plan
from cratecli.weights.loading import EngineChoice, load


def load_for(
    plan: Plan | None,
    name_or_file: str | Path | None = None,
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    dtype: str = "auto",
) -> Model:
    """Load a model for an engine; `auto` resumes a plan with the one that began it, else goes by its photos' number.

    Without a plan there may be any number. Raises what `loading.load` raises.
    """
    if engine == "auto" and plan and plan.resume and plan.manifest and device in ("auto", "cpu"):
        engine = engine_in(plan.manifest) or engine
    photos = None if plan is None else len(plan.jobs)
    return load(name_or_file, engine=engine, device=device, dtype=dtype, photos=photos)
