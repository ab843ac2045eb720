"""A cluster of Ray: reached, or started on this machine; looked over before work is sent there."""

import json
import logging
import os
import platform
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cratecli.errors import CrateError, DeviceError, UsageError, WeightsError
from cratecli.model.engine import DistantModel
from cratecli.ray.conductor import Conductor, Workers
from cratecli.ray.parcels import ModelChoice
from cratecli.ray.stages import at_home, load_here
from cratecli.version import __version__

LOCAL, CLIENT = "ray", "ray://"
ANSWER = 10  # seconds for a cluster to answer at all,
LOOK = 300  # and for its workers: a runtime environment may have to be installed first
_JOB = "RAY_JOB_CONFIG_JSON"  # Ray's own variable: the runtime environment of what is submitted


def refuse_address(on: str) -> None:
    """Raise `UsageError` for what is no address: `ray`, or `ray://HOST:PORT` of a cluster's client server."""
    if on == LOCAL:
        return
    host, colon, port = on.removeprefix(CLIENT).rpartition(":")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not (on.startswith(CLIENT) and host and colon and 0 < number < 1 << 16):
        raise UsageError(f"--on {on}: give ray, for this machine, or ray://HOST:PORT")


def refuse_share(gpus: float | None) -> None:
    """Raise `UsageError` for GPUs of a worker that Ray cannot give: a share in ten-thousandths, or whole ones."""
    if gpus and not (1e-4 <= gpus <= 1 or gpus.is_integer()):
        raise UsageError(f"--gpus-per-worker {gpus:g}: give a whole number, or a share from 0.0001 to 1")


@dataclass(frozen=True)
class Cluster:
    """A cluster that was reached, and how many workers hold the model there."""

    on: str
    ray: Any
    head: str
    workers: Workers
    threads: int | None

    def describe(self, choice: ModelChoice, root: Path) -> tuple[DistantModel, ModelChoice]:
        """Load the model on a worker, once, and tell what is known of it, and how workers shall load it.

        Raises what `load` raises, and `DeviceError` where no worker can be had.
        """
        device = "cuda" if self.workers.gpus and choice.device == "auto" else choice.device
        device = "cpu" if not self.workers.gpus and device == "auto" else device
        choice = replace(choice, device=device, threads=self.threads)
        load = self.ray.remote(
            num_cpus=self.workers.cpus, num_gpus=self.workers.gpus, max_retries=1, max_calls=1
        )(_describe)
        found = self.get(load.remote(choice, root), LOOK)
        if isinstance(found, CrateError):
            raise found
        return found, choice

    def conduct(self, order: bytes, parcels: Sequence[bytes]) -> Any:
        """Start the pipeline; gives the actor that runs it, on the head node, without which there is no cluster."""
        return self._on(self.head, self.ray.remote(Conductor), num_cpus=0).remote(
            order, parcels, self.workers
        )

    def refuse_unready(self, choice: ModelChoice, paths: Sequence[Path], root: Path) -> None:
        """Refuse a cluster where a node lacks our package, its version, the model's file, or photos.

        Raises `DeviceError`, `UsageError` and `WeightsError`.
        """
        check = self.ray.remote(_checker())
        nodes = [each for each in self.ray.nodes() if each["Alive"]]
        asked = (__version__, choice.name_or_file, [str(root / path) for path in paths], str(root))
        refs = [self._on(each["NodeID"], check, num_cpus=0, max_retries=1).remote(*asked) for each in nodes]
        for node, ref in zip(nodes, refs, strict=True):
            kind, reason = self.get(ref, LOOK)
            if kind:
                where = f"node {node['NodeManagerAddress']} of {self.on}"
                raise _KINDS.get(kind, DeviceError)(f"{where}: {reason}")

    def get(self, ref: Any, seconds: float) -> Any:
        """Wait for an answer of the cluster. Raises `DeviceError`."""
        try:
            return self.ray.get(ref, timeout=seconds)
        except self.ray.exceptions.GetTimeoutError:
            raise DeviceError(f"{self.on}: no worker answers within {seconds:.0f} seconds") from None
        except (self.ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
            raise DeviceError(f"{self.on}: {in_one_line(error)}") from None

    def _on(self, node: str, what: Any, **options: Any) -> Any:
        """Place a task or an actor on a node."""
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        return what.options(scheduling_strategy=strategy, **options)


_KINDS: dict[str, type[CrateError]] = {each.__name__: each for each in (UsageError, WeightsError)}


def _describe(choice: ModelChoice, root: Path) -> "DistantModel | CrateError":
    """Load a model, on a worker, and note what is known of it."""
    with at_home(root):
        try:
            return DistantModel(load_here(choice))
        except CrateError as error:
            return error


def _checker() -> Callable[..., tuple[str, str]]:
    """Make what looks a node over: sent by its code, as the node may lack our package."""

    def check(version: str, model: str | None, paths: list[str], root: str) -> tuple[str, str]:
        from pathlib import Path

        try:
            from cratecli.errors import CrateError
            from cratecli.ray.stages import at_home
            from cratecli.version import __version__ as there
            from cratecli.weights.loading import find_weights
        except ImportError as error:
            return "DeviceError", f"cannot import cratecli ({error}); docs/scale.md says how it gets there"
        if there != version:
            return "DeviceError", f"has cratecli {there}, and here is {version}"
        for path in paths:
            if not Path(path).exists():
                return "UsageError", f"has no {path}"
        try:
            with at_home(Path(root)):
                find_weights(model)
        except CrateError as error:
            return type(error).__name__, str(error)
        return "", ""

    return check


def in_one_line(error: BaseException) -> str:
    """Say in one line what Ray says in many: of a trace, its last."""
    lines = [line.strip() for line in str(error).replace("\\n", "\n").splitlines() if line.strip(" )")]
    return (lines[-1] if lines else type(error).__name__)[:300]


@contextmanager
def connected(
    on: str,
    *,
    device: str = "auto",
    workers: int | None = None,
    gpus: float | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Iterator[Cluster]:
    """Reach a cluster, or start one on this machine, which is noted, and leave it, or end it, with the block.

    Raises `UsageError` where Ray is missing, and `DeviceError` where nobody answers, or the cluster is too small.
    """
    refuse_address(on)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray: Any = import_module("ray")
        import_module("ray.util.scheduling_strategies")
        if find_spec("pyarrow") is None:
            raise ImportError("no pyarrow", name="ray.data")
    except ImportError as error:
        missing = (
            "needs an extra" if (error.name or "").partition(".")[0] == "ray" else f"needs more ({error})"
        )
        raise UsageError(f"--on {on} {missing}; run: pip install 'cratecli[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        note(f"--on {on}: reaching Ray and loading the model there, which may take a minute")
        _reach(ray, on)
    try:
        if not (nodes := [each for each in ray.nodes() if each["Alive"]]):
            raise DeviceError(f"{on}: none of its nodes is alive")
        head = next((each for each in nodes if "node:__internal_head__" in each["Resources"]), nodes[0])
        shape, threads = _sized(on, nodes, device, workers, gpus)
        yield Cluster(on, ray, head["NodeID"], shape, threads)
    finally:
        if ours:
            ray.shutdown()


def _reach(ray: Any, on: str) -> None:
    """Start or join a cluster, on this machine or by Ray's client, and say nothing of it. Raises `DeviceError`."""
    for name in ("ray", "ray.client_builder"):
        logging.getLogger(name).setLevel(logging.ERROR)
    environment = _environment()
    asked = os.environ.get("RAY_ADDRESS", "") if on == LOCAL else on
    try:
        _refuse_silent(asked)
        with warnings.catch_warnings(action="ignore"):
            if on == LOCAL:
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
                if hasattr(ray._private.worker, "print_to_stdstream"):  # to stdout, of nodes that died
                    ray._private.worker.print_to_stdstream = lambda *_, **__: None
                return
            _silence_client()
            ray.init(on, log_to_driver=False, runtime_env=environment)
    except Exception as error:
        where = f"RAY_ADDRESS {asked}" if on == LOCAL and asked else on
        raise DeviceError(f"{where}: {_explained(error)}") from None


def _silence_client() -> None:
    """Keep off our streams what the cluster's processes print: Ray's client passes it on, whatever it is told."""
    with suppress(ImportError):  # without grpc there is no client, as Ray will say
        logs: Any = import_module("ray.util.client.logsclient")
        logs.logger.setLevel(logging.ERROR)
        logs.LogstreamClient.stdstream = lambda *_, **__: None


def _refuse_silent(address: str) -> None:
    """Raise `OSError` for `HOST:PORT`, of Ray or its client, where nobody listens: Ray would wait for minutes."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if host and port.isascii() and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER):
            pass


def _environment() -> Any:
    """Give the runtime environment that Ray's own variable asks for. Raises `UsageError`."""
    try:
        return json.loads(os.environ.get(_JOB) or "{}").get("runtime_env")
    except (ValueError, AttributeError):
        raise UsageError(f'{_JOB} is no JSON such as {{"runtime_env": {{"pip": ["a.whl"]}}}}') from None


def _explained(error: Exception) -> str:
    """Say why a cluster cannot be reached, and what to do."""
    reason = in_one_line(error)
    if "ray[client]" in str(error):
        return "needs Ray's client; run: pip install 'cratecli[ray]'"
    if isinstance(error, RuntimeError) and "version" in str(error).lower():
        return f"has another version of Ray or Python than here ({platform.python_version()}): {reason}"
    if isinstance(error, OSError):
        way = "ray start --head runs a cluster's head, whose client server listens on port 10001"
        return f"nobody answers ({error.strerror or reason}): {way}"
    return f"cannot be reached: {reason}"


def _sized(
    on: str, nodes: Sequence[Any], device: str, count: int | None, gpus: float | None
) -> tuple[Workers, int | None]:
    """Choose how many workers hold the model, and their shares: one a GPU, or one a node, on all its processors.

    Raises `DeviceError` for more than the cluster has.
    """
    there = sum(each["Resources"].get("GPU", 0.0) for each in nodes)
    able = [each for each in nodes if each["Resources"].get("CPU", 0.0) > 0]
    cpus = sum(each["Resources"].get("CPU", 0.0) for each in able)
    if gpus is None:
        gpus = 1.0 if device == "cuda" or (device == "auto" and there) else 0.0
    if gpus and not there:
        raise DeviceError(f"{on}: no node has a GPU: leave --gpus-per-worker and --device cuda out")
    most = sum(_fitting(each["Resources"].get("GPU", 0.0), gpus) for each in nodes) if gpus else len(able)
    if gpus and (not most or (count or 0) > most):
        held = f"its {there:g} GPUs hold {most} workers of {gpus:g} each"
        raise DeviceError(f"{on}: {held}: give fewer --workers")
    count = count or most or 1
    if count + 1 > cpus:
        need = f"{count} workers and what reads for them need {count + 1} processors, and it has {cpus:g}"
        raise DeviceError(f"{on}: {need}: give fewer --workers")
    if gpus:
        return Workers(count, gpus), None
    beside = -(-count // len(able))
    least = min(each["Resources"]["CPU"] for each in able)
    return Workers(count, 0.0), max(1, int(least) // beside)


def _fitting(gpus: float, share: float) -> int:
    """Count the workers that a node's GPUs hold; a share of less than one lies on one GPU."""
    return int(gpus // share) if share >= 1 else int(gpus) * int(1 / share + 1e-9)
