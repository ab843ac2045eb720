"""The ground the other tests stand on really holds."""

import socket
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from cratecli.model.blocks import split_heads
from tests.support import posix


def test_a_wrong_shape_is_an_error() -> None:
    with pytest.raises(TypeCheckError):
        split_heads(torch.zeros(5, 6), heads=3)


def test_the_network_is_barred_but_this_machine_is_not() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            pass
    for address in ("192.0.2.1", "example.org"):
        with socket.socket() as caller, pytest.raises(pytest.fail.Exception, match="barred"):
            caller.connect((address, 80))


def test_what_needs_posix_is_known(tmp_path: Path) -> None:
    """As on Windows, where `fcntl` and `resource` are not; a module's support counts too."""
    windows = frozenset({"fcntl", "resource"})
    tests = posix.ROOT / "tests"
    assert posix.lacking(tests / "test_locks.py", windows) == {"fcntl"}
    assert posix.lacking(tests / "fuzz/test_checkpoint.py", windows) == {
        "resource"
    }  # by tests.support.survival
    assert posix.lacking(tests / "test_conftest.py", windows) == frozenset()
    assert posix.lacking(tests / "test_locks.py", frozenset({"winreg"})) == frozenset()


def test_what_needs_posix_is_skipped_with_its_reason(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = tmp_path / "test_none.py"
    path.write_text("raise AssertionError('imported')")
    module = posix.skipped(path, request.node.parent.parent, "needs fcntl, which only POSIX has")
    with pytest.raises(pytest.skip.Exception, match="needs fcntl") as skipped:
        module.collect()
    assert skipped.value.allow_module_level
