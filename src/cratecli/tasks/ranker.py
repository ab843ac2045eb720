"""What the chooser learned, tables in the package: what ranks candidate masks, and what says how good the vote is."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from cratecli.emergence.chooser import Ranker
from cratecli.emergence.confidence import Signs


@cache
def ranker(*, frame: bool) -> Ranker:
    """Read the weights, of all cues or of those that do not look at the frame; `benchmarks/ranker.py` learned them."""
    return _table("ranker", frame=frame)


@cache
def confidence_weights(*, frame: bool) -> Signs:
    """Read what the signs of a good mask weigh, of a vote by either ranker; `benchmarks/confidence.py` learned it."""
    return _table("confidence", frame=frame)


def _table(name: str, *, frame: bool) -> Mapping[str, float]:
    text = files("cratecli").joinpath(f"data/{name}.toml").read_text(encoding="utf-8")
    weights: Mapping[str, float] = tomllib.loads(text)["frame" if frame else "no_frame"]
    return weights
