"""A cluster that is none: the stages of its pipeline run in this process, and lose what a test says."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cratecli.model.engine import DistantModel
from cratecli.ray import stages
from cratecli.ray.parcels import Item, ModelChoice, pack, unpack

Fate = Callable[[int, list[Item]], Sequence[list[Item]]]
"""What becomes of a row of finished photos, in a round counted from 1: it comes once, or twice, or not at all."""


class EndedError(Exception):
    """What Ray raises where a pipeline ends early."""


class NoConductor:
    """The pipeline, in this process."""

    def __init__(self, order: bytes, parcels: Sequence[bytes], fate: Fate, round_: int) -> None:
        self._rows = self._run(order, parcels, fate, round_)
        self.take = SimpleNamespace(remote=lambda: self._rows)

    @staticmethod
    def _run(order: bytes, parcels: Sequence[bytes], fate: Fate, round_: int) -> Iterator[list[bytes]]:
        look = stages.Look(order)
        for parcel in parcels:
            for read in stages.read({"parcel": parcel}, order=order):
                for decoded in stages.decode(read, order=order):
                    done = unpack(stages.finish(look(decoded), order=order))
                    yield [pack(each)["items"] for each in fate(round_, done)]


@dataclass
class NoCluster:
    """Stands in for a `Cluster`; `rounds` counts the pipelines that were started."""

    on: str = "ray"
    fate: Fate = field(default=lambda _round, items: [items])
    rounds: int = 0
    asked: list[Any] = field(default_factory=list)
    ray: Any = field(
        default_factory=lambda: SimpleNamespace(
            exceptions=SimpleNamespace(RayError=EndedError),
            wait=lambda refs, timeout: (refs, []),
            get=lambda rows: next(rows, None),
            kill=lambda _conductor: None,
        )
    )

    def refuse_unready(self, choice: ModelChoice, paths: Sequence[Path], root: Path) -> None:
        self.asked += [choice, list(paths), root]

    def describe(self, choice: ModelChoice, root: Path) -> tuple[DistantModel, ModelChoice]:
        choice = replace(choice, device="cpu")
        return DistantModel(stages.load_here(choice)), choice

    def conduct(self, order: bytes, parcels: Sequence[bytes]) -> NoConductor:
        self.rounds += 1
        return NoConductor(order, parcels, self.fate, self.rounds)


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> NoCluster:
    """Let `--on ray` reach a cluster that is none."""
    cluster = NoCluster()

    @contextmanager
    def connected(on: str, **asked: Any) -> Iterator[NoCluster]:
        cluster.asked.append((on, asked))
        yield cluster

    monkeypatch.setattr("cratecli.ray.cluster.connected", connected)
    return cluster
