"""The weights by which candidate masks are ranked: tables that `benchmarks/` learned."""

import tomllib
from functools import cache
from importlib.resources import files

from cratecli.emergence.chooser import Ranker


@cache
def ranker(*, frame: bool) -> Ranker:
    """Read the weights of `--heads auto` (`benchmarks/ranker.py`), of all cues or of those that know of no frame."""
    weights: Ranker = tomllib.loads(_data("ranker.toml"))["frame" if frame else "no_frame"]
    return weights


@cache
def piece_ranker() -> Ranker:
    """Read the weights that make the score of an object in `crate objects` (`benchmarks/pieces.py`)."""
    weights: Ranker = tomllib.loads(_data("pieces.toml"))
    return weights


def _data(name: str) -> str:
    return files("cratecli").joinpath("data", name).read_text(encoding="utf-8")
