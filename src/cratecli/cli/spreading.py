"""Which machines a run is spread over: this one, or those of a cluster of Ray."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cratecli.cli import options
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.model.engine import Model
    from cratecli.runs.carrier import Carrier
    from cratecli.runs.planned import Plan
    from cratecli.weights.loading import EngineChoice


@dataclass(frozen=True)
class Spreading:
    """Whether, and how, a run is spread over a cluster."""

    PANEL: ClassVar = "On many machines"

    on: options.On = None
    workers: options.Workers = None
    gpus_per_worker: options.GpusPerWorker = None

    def refuse(self, device: str, features_cache: Path | None, *, piped: bool) -> None:
        """Raise `UsageError` for what makes no sense on a cluster, or without one."""
        if self.on is None:
            of_cluster = {"--workers": self.workers, "--gpus-per-worker": self.gpus_per_worker}
            if flag := next((each for each, value in of_cluster.items() if value is not None), None):
                raise UsageError(f"{flag} is of a cluster: give --on ray too")
            return
        from cratecli.ray.cluster import refuse_address, refuse_share

        refuse_address(self.on)
        refuse_share(self.gpus_per_worker)
        if features_cache is not None:
            raise UsageError("--features-cache is a folder of this machine: leave it out, or --on")
        if piped:
            raise UsageError("--on takes no photos from standard input: name them")
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device {device}: with --on give cpu or cuda; Ray says which GPU")
        if device == "cpu" and self.gpus_per_worker:
            raise UsageError("--gpus-per-worker is of GPUs: leave --device cpu out")

    @contextmanager
    def reached(
        self,
        plan: "Plan",
        engine: "EngineChoice",
        model: str | None,
        device: str,
        dtype: str,
        *,
        note: Callable[[str], None],
    ) -> "Iterator[tuple[Model, Carrier]]":
        """Reach the cluster, which is noted, and load the model on one of its workers.

        Raises `UsageError`, `WeightsError` and `DeviceError`.
        """
        from cratecli.ray.carrier import RayCarrier
        from cratecli.ray.cluster import connected
        from cratecli.ray.parcels import ModelChoice

        choice, root = ModelChoice(model, engine, device, dtype), Path.cwd()
        gpus = 0.0 if device == "cpu" else self.gpus_per_worker
        with connected(self.on or "", device=device, workers=self.workers, gpus=gpus, note=note) as cluster:
            cluster.refuse_unready(choice, plan.read_here, root)
            known, choice = cluster.describe(choice, root)
            yield known, RayCarrier(cluster, choice)
