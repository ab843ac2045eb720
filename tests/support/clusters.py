"""A cluster of Ray with two nodes on this machine, in a process of its own, whose workers can be killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CPUS = 2
"""Processors that each node declares: with fewer, the workers that hold the model starve those that read."""
_STORE = 150_000_000  # bytes


@dataclass(frozen=True)
class TwoNodes:
    """The cluster, as programs are to find it, and its process."""

    address: str
    client: str | None
    process: "subprocess.Popen[str]"

    @property
    def environment(self) -> dict[str, str]:
        """Give the variables by which `--on ray` joins it."""
        return {"RAY_ADDRESS": self.address}

    def ask(self, what: str) -> None:
        """Have the cluster do something, and wait until it is done."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the process has no pipes")
        stdin.write(f"{what}\n")
        stdin.flush()
        assert stdout.readline() == f"{what}\n"

    def lose_node(self) -> None:
        """Kill the second node, with all that runs there, by SIGKILL, and start another."""
        self.ask("lose")

    def workers(self, title: str) -> list[int]:
        """List the processes of the cluster that run something called so."""
        return [pid for pid in descendants(self.process.pid) if title in _title(pid)]

    def kill(self, title: str) -> bool:
        """Kill one worker that runs something called so, if one does now."""
        for pid in self.workers(title):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False


def descendants(pid: int) -> Iterator[int]:
    """List the processes that a process started, and those that they did."""
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


@contextmanager
def two_nodes(environment: Mapping[str, str]) -> Iterator[TwoNodes]:
    """Run a cluster of two nodes."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.support.clusters"]
    root = Path(__file__).parents[2]
    variables = {**environment, "PYTHONPATH": str(root), "RAY_USAGE_STATS_ENABLED": "0"}
    variables.pop("PYTHONWARNINGS", None)
    with subprocess.Popen(
        program, cwd=root, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=-3, text=True
    ) as process:
        if process.stdout is None:
            raise ValueError("the process has no pipe")
        about = json.loads(process.stdout.readline())
        try:
            yield TwoNodes(about["address"], about["client"], process)
        finally:
            process.communicate("", timeout=60)


def _serve() -> None:
    """Run the cluster, and do what lines on stdin say, until there are no more."""
    from importlib.util import find_spec

    from ray.cluster_utils import Cluster

    said, sys.stdout = sys.stdout, sys.stderr
    port = None if find_spec("grpc") is None else _free_port()
    head: dict[str, Any] = {"num_cpus": CPUS, "include_dashboard": False, "object_store_memory": _STORE}
    if port is not None:
        head["ray_client_server_port"] = port
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=CPUS, object_store_memory=_STORE)
    host = cluster.address.rpartition(":")[0]
    client = None if port is None else f"ray://{host}:{port}"
    print(json.dumps({"address": cluster.address, "client": client}), file=said, flush=True)
    for line in sys.stdin:
        if line == "lose\n":
            cluster.remove_node(second, allow_graceful=False)
            second = cluster.add_node(num_cpus=CPUS, object_store_memory=_STORE)
        print(line, end="", file=said, flush=True)
    cluster.shutdown()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    _serve()
