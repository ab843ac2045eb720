"""What every test stands on: shapes checked, no network, nobody's settings, the same numbers each time."""

import gc
import os
import socket
import sys
from collections.abc import Generator, Iterator
from ipaddress import ip_address
from pathlib import Path

import jaxtyping
import pytest

from tests.support import posix, sizes
from tests.support.environment import forget_variables, inheriting_nothing
from tests.support.server import Server, serving

forget_variables()  # before NumPy and torch start their threads, and pytest-xdist its workers

# Before any test module imports them: from here on a wrong shape or type is an error, where `shapes_checked` says so.
# `model.config` is left out: it checks its own fields, and is tested for what it says of wrong ones.
_TENSORS = [f"cratecli.model.{name}" for name in ("blocks", "crate", "unroll", "vit", "zoo")]
jaxtyping.install_import_hook([*_TENSORS, "cratecli.emergence"], "beartype.beartype")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only in what tests make: never, for seconds, through all that was imported for them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip, with the reason, a module of tests that needs modules of POSIX where there are none: on Windows."""
    if lacking := posix.lacking(module_path):
        return posix.skipped(module_path, parent, f"needs {', '.join(sorted(lacking))}, which only POSIX has")
    return None


@pytest.fixture(scope="session")
def golden() -> Path:
    """Give the folder of parity arrays: weights in the released layouts, and what the released code made."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session", autouse=True)
def nothing_inherited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set what tests, and the programs they start, inherit: it is the same whoever runs pytest, and how."""
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    with inheriting_nothing():
        yield


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Start every test from the same random state, on one thread: what is tested is small."""
    if torch := sys.modules.get("torch"):  # as it is when it is imported
        torch.default_generator.manual_seed(
            0
        )  # `torch.manual_seed` takes milliseconds to remember it for all devices
        torch.set_num_threads(1)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Keep the few numbers of a test from waiting for threads of NumPy's and scikit-learn's that they do not need."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def shapes_checked(request: pytest.FixtureRequest) -> None:
    """Check shapes and types, but where a whole question, command or benchmark runs: parts have tests of their own."""
    whole = request.path.parent.name in ("cli", "serve", "tasks") or request.path.name == "test_benchmarks.py"
    jaxtyping.config.update("jaxtyping_disable", whole)


@pytest.fixture(scope="session", autouse=True)
def small_sizes() -> None:
    """Show photos to the built-in model, in this process, at small sizes by default."""
    sizes.ask_at_small_sizes()


@pytest.fixture
def shipped_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show photos to the built-in model, in this process, at the sizes that users get: where quality is tested."""
    monkeypatch.setattr("cratecli.tasks.recipes.BASE", sizes.SHIPPED)


@pytest.fixture(autouse=True)
def nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine. Subprocesses are on their own."""

    def only_here(connect: str) -> None:
        original = getattr(socket.socket, connect)

        def guarded(self: socket.socket, address: object) -> object:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address):
                pytest.fail(f"the network is barred: {address}")
            return original(self, address)

        monkeypatch.setattr(socket.socket, connect, guarded)

    only_here("connect")
    only_here("connect_ex")


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve, on this machine, what a test says."""
    with serving() as server:
        yield server


def _is_loopback(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
