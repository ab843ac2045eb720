"""Reaching a cluster, and looking it over: what is wrong there is one line. Ray is played by a few functions."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cratecli.errors import CrateError, DeviceError, UsageError
from cratecli.model.engine import DistantModel
from cratecli.ray import cluster
from cratecli.ray.cluster import connected
from cratecli.ray.parcels import ModelChoice
from cratecli.version import __version__

BUILT_IN = ModelChoice(None, "auto", "auto", "auto")


class RayError(Exception):
    pass


class GetTimeoutError(RayError):
    pass


def node(name: str = "1", /, **resources: float) -> dict[str, Any]:
    return {"Alive": True, "NodeID": name, "NodeManagerAddress": f"10.0.0.{name}", "Resources": resources}


HEAD = {"node:__internal_head__": 1.0}


class Ray(SimpleNamespace):
    """What is asked of Ray, done in this process."""

    def __init__(self, *nodes: dict[str, Any], fails: Exception | None = None) -> None:
        def init(*_arguments: object, **options: Any) -> None:
            self.options.append(options)
            if fails:
                raise fails

        def strategy(_node: str, *, soft: bool) -> None:
            assert not soft

        def get(done: Any, timeout: float) -> Any:
            if isinstance(done, Exception):
                raise done
            return done

        super().__init__(
            options=[],
            ended=0,
            init=init,
            is_initialized=lambda: False,
            nodes=lambda: list(nodes),
            remote=remote,
            get=get,
            exceptions=SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError),
            util=SimpleNamespace(
                scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=strategy)
            ),
            _private=SimpleNamespace(worker=SimpleNamespace()),
        )

    def shutdown(self) -> None:
        self.ended += 1


def remote(*functions: Callable[..., Any], **_options: Any) -> Any:
    if not functions:
        return remote
    task = SimpleNamespace(remote=functions[0])
    task.options = lambda **_more: task
    return task


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ray], Ray]:
    """Put something in Ray's place."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")

    def put(ray: Ray) -> Ray:
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", ray.util.scheduling_strategies)
        return ray

    return put


@pytest.mark.parametrize(
    ("nodes", "asked", "count", "gpus", "threads"),
    [
        ([node(CPU=8.0)], {}, 1, 0.0, 8),
        ([node(CPU=8.0), node(CPU=4.0)], {}, 2, 0.0, 4),
        ([node(CPU=8.0)], {"workers": 4}, 4, 0.0, 2),
        ([node(CPU=8.0, GPU=2.0), node(CPU=8.0)], {}, 2, 1.0, None),
        ([node(CPU=8.0, GPU=2.0)], {"gpus": 0.3}, 6, 0.3, None),
        ([node(CPU=8.0, GPU=2.0)], {"gpus": 0.5, "workers": 3}, 3, 0.5, None),
        ([node(CPU=8.0, GPU=2.0)], {"device": "cpu", "gpus": 0.0}, 1, 0.0, 8),
        ([node(GPU=1.0), node(CPU=16.0, GPU=4.0)], {"gpus": 2.0}, 2, 2.0, None),
    ],
)
def test_workers_are_one_a_gpu_or_one_a_node(
    play: Callable[[Ray], Ray],
    nodes: list[dict[str, Any]],
    asked: dict[str, Any],
    count: int,
    gpus: float,
    threads: int | None,
) -> None:
    nodes[0]["Resources"] |= HEAD
    ray = play(Ray(*nodes))
    with connected("ray", **asked) as found:
        assert (found.workers.count, found.workers.gpus, found.threads) == (count, gpus, threads)
        assert ray.ended == 0
    assert ray.ended == 1


@pytest.mark.parametrize(
    ("resources", "asked", "told"),
    [
        ({"CPU": 4.0}, {"gpus": 1.0}, "no node has a GPU"),
        ({"CPU": 4.0}, {"device": "cuda"}, "no node has a GPU"),
        (
            {"CPU": 4.0, "GPU": 2.0},
            {"workers": 3},
            "its 2 GPUs hold 2 workers of 1 each: give fewer --workers",
        ),
        ({"CPU": 4.0, "GPU": 1.0}, {"gpus": 2.0}, "its 1 GPUs hold 0 workers of 2 each"),
        ({"CPU": 4.0}, {"workers": 4}, "4 workers and what reads for them need 5 processors, and it has 4"),
        ({"CPU": 2.0, "GPU": 2.0}, {}, "2 workers and what reads for them need 3 processors, and it has 2"),
        ({"CPU": 0.0}, {}, "1 workers and what reads for them need 2 processors, and it has 0"),
        ({"CPU": 1.0}, {}, "1 workers and what reads for them need 2 processors, and it has 1"),
    ],
)
def test_a_cluster_that_is_too_small(
    play: Callable[[Ray], Ray], resources: dict[str, float], asked: dict[str, Any], told: str
) -> None:
    ray = play(Ray(node(**resources, **HEAD)))
    with pytest.raises(DeviceError, match=told), connected("ray", **asked):
        pytest.fail("it was reached")
    assert ray.ended == 1


def test_a_cluster_that_nobody_answers_for(play: Callable[[Ray], Ray]) -> None:
    play(Ray())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DeviceError) as told, connected(f"ray://127.0.0.1:{port}"):
        pytest.fail("it was reached")
    assert str(told.value).startswith(f"ray://127.0.0.1:{port}: nobody answers (")
    assert "ray start --head" in str(told.value)


def test_nobody_answers_where_the_environment_says(
    play: Callable[[Ray], Ray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would wait for minutes."""
    ray = play(Ray())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(DeviceError) as told, connected("ray"):
        pytest.fail("it was reached")
    assert str(told.value).startswith(f"RAY_ADDRESS {address}: nobody answers (")
    assert ray.ended == 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DeviceError, match=r"^ray: none of its nodes is alive$"), connected("ray"):
            pytest.fail("it has no node")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError("Python version mismatch.\nserver 3.9, client 3.11"),
            "another version of Ray or Python",
        ),
        (ValueError("Ray Client requires pip package `ray[client]`"), "pip install 'cratecli[ray]'"),
        (ConnectionError("ray client connection timeout"), "nobody answers (ray client connection timeout)"),
        (RuntimeError("a trace\\n  line 1\\nNoRoom: no room\n)"), "cannot be reached: NoRoom: no room"),
    ],
)
def test_a_cluster_that_cannot_be_used(play: Callable[[Ray], Ray], error: Exception, told: str) -> None:
    play(Ray(fails=error))
    with pytest.raises(DeviceError) as raised, connected("ray"):
        pytest.fail("it was reached")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nodes_are_looked_over(
    play: Callable[[Ray], Ray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(Ray(node("7", CPU=4.0, **HEAD)))
    here = Path("a.jpg")
    (tmp_path / here).touch()

    def refused(choice: ModelChoice, path: Path) -> CrateError:
        with connected("ray") as found, pytest.raises(CrateError) as told:
            found.refuse_unready(choice, [path], tmp_path)
        return told.value

    with connected("ray") as found:
        found.refuse_unready(BUILT_IN, [here], tmp_path)
    lacks = refused(BUILT_IN, Path("b.jpg"))
    assert isinstance(lacks, UsageError)
    assert str(lacks) == f"node 10.0.0.7 of ray: has no {tmp_path}/b.jpg"
    unknown = refused(ModelChoice("nonsense", "auto", "auto", "auto"), here)
    assert (type(unknown), "nonsense" in str(unknown)) == (UsageError, True)
    monkeypatch.setattr("cratecli.version.__version__", "0.0.1")
    assert str(refused(BUILT_IN, here)).endswith(f"has cratecli 0.0.1, and here is {__version__}")
    monkeypatch.setitem(sys.modules, "cratecli.weights.loading", None)
    lost = refused(BUILT_IN, here)
    assert isinstance(lost, DeviceError)
    assert "cannot import cratecli" in str(lost)


def test_the_model_is_described_by_a_worker(play: Callable[[Ray], Ray], tmp_path: Path) -> None:
    play(Ray(node(CPU=4.0, **HEAD)))
    with connected("ray") as found:
        known, choice = found.describe(BUILT_IN, tmp_path)
        with pytest.raises(CrateError, match="nonsense"):
            found.describe(ModelChoice("nonsense", "auto", "auto", "auto"), tmp_path)
    assert isinstance(known, DistantModel)
    assert (known.weights and known.weights.name, known.place.device) == ("crate-nano", "cpu")
    assert (choice.device, choice.threads) == ("cpu", 4)


def test_a_worker_that_gives_no_answer(play: Callable[[Ray], Ray]) -> None:
    play(Ray(node(CPU=4.0, **HEAD)))
    with connected("ray") as found:
        with pytest.raises(DeviceError, match="ray: no worker answers within 7 seconds"):
            found.get(GetTimeoutError(), 7)
        with pytest.raises(DeviceError, match=r"^ray: WorkerCrashedError: it died$"):
            found.get(RayError("a trace\n  File x\nWorkerCrashedError: it died\n"), 7)


def test_an_environment_for_the_workers_is_that_of_ray_s_own_variable(
    play: Callable[[Ray], Ray], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = play(Ray(node(CPU=4.0, **HEAD)))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON", '{"runtime_env": {"pip": ["a.whl"]}}')
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        connected(f"ray://127.0.0.1:{server.getsockname()[1]}"),
    ):
        pass
    assert ray.options[0]["runtime_env"] == {"pip": ["a.whl"]}
    for wrong in ("{", "[]"):
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON", wrong)
        with pytest.raises(UsageError, match="RAY_JOB_CONFIG_JSON is no JSON"), connected("ray"):
            pytest.fail("it was reached")
    assert cluster.in_one_line(RuntimeError()) == "RuntimeError"


def test_what_a_cluster_prints_stays_off_our_streams(capfd: pytest.CaptureFixture[str]) -> None:
    logs: Any = pytest.importorskip("ray.util.client.logsclient", reason="ray[client] is not installed")
    cluster._silence_client()
    for level in (-1, -2):  # as the client is told of stdout and stderr
        logs.LogstreamClient.stdstream(None, level=level, msg="a node says")
    logs.logger.warning("a node warns")
    assert capfd.readouterr() == ("", "")
