"""The weights by which `--heads auto` ranks candidate masks: a table that `benchmarks/ranker.py` learned."""

import tomllib
from functools import cache
from importlib.resources import files

from cratecli.emergence.chooser import Ranker


@cache
def ranker(*, frame: bool) -> Ranker:
    """Read the weights, of all cues or of those that do not look at the frame."""
    text = files("cratecli").joinpath("data/ranker.toml").read_text(encoding="utf-8")
    weights: Ranker = tomllib.loads(text)["frame" if frame else "no_frame"]
    return weights
