"""What was learned from composites, tables in the package: what ranks candidates, and what says how good a mask is."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from cratecli.emergence.chooser import Ranker
from cratecli.emergence.confidence import Signs
from cratecli.model.engine import WeightsId


@cache
def ranker(*, frame: bool) -> Ranker:
    """Read the weights, of all cues or of those that do not look at the frame; `benchmarks/ranker.py` learned them."""
    weights: Ranker = _learned("ranker")[_way(frame=frame)]
    return weights


@cache
def confidence_weights(model: WeightsId | None, *, frame: bool) -> Signs:
    """Read what the signs of a good mask weigh, of a vote by either ranker; `benchmarks/confidence.py` learned it.

    How alike tokens are differs from model to model: of another than the one that it was learned with, masks alone
    count.
    """
    learned = _learned("confidence")
    known = model is not None and model.sha256 == learned["model_sha256"]
    weights: Signs = learned["tokens_and_masks" if known else "masks"][_way(frame=frame)]
    return weights


@cache
def piece_ranker() -> Ranker:
    """Read the weights that make the score of an object in `crate objects` (`benchmarks/pieces.py`)."""
    weights: Ranker = _learned("pieces")
    return weights


def _way(*, frame: bool) -> str:
    return "frame" if frame else "no_frame"


def _learned(name: str) -> dict[str, Any]:
    return tomllib.loads(files("cratecli").joinpath(f"data/{name}.toml").read_text(encoding="utf-8"))
