"""Locks on bytes: they hold between processes, and end with them."""

import errno
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import NoReturn

import pytest

from cratecli.locks import ByteLocks
from tests.support.processes import Other, another

OTHER = """
from pathlib import Path
from cratecli.locks import ByteLocks
locks = ByteLocks(Path(sys.argv[1]))
"""


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[ByteLocks]:
    locks = ByteLocks(tmp_path / "lock")
    yield locks
    locks.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    with another(OTHER, tmp_path / "lock") as other:
        yield other


def test_a_byte_is_taken_once(locks: ByteLocks, other: Other) -> None:
    assert other("locks.take(7)") == "True"
    assert not locks.take(7)
    assert locks.take(8)
    assert other("locks.take(8)") == "False"
    other("locks.release(7)")
    assert locks.take(7)


def test_a_byte_far_out_is_a_byte(locks: ByteLocks, other: Other) -> None:
    assert other(f"locks.take({2**56 + 1})") == "True"
    assert not locks.take(2**56 + 1)
    assert locks.take(2**56)


def test_a_killed_process_holds_nothing(locks: ByteLocks, other: Other) -> None:
    other("locks.take(7)")
    assert not locks.take(7)
    other.kill()
    assert locks.take(7)


def test_what_is_shared_cannot_be_taken_until_the_last_lets_go(locks: ByteLocks, other: Other) -> None:
    locks.share(0)
    other("locks.share(0)")
    assert not locks.take(0)
    assert other("locks.take(0)") == "False"
    other("locks.release(0)")
    assert locks.take(0)


def test_a_turn_is_waited_for(locks: ByteLocks, other: Other) -> None:
    had = Event()

    def wait() -> None:
        with locks.turn(1):
            had.set()

    other("locks.take(1)")
    thread = Thread(target=wait)
    thread.start()
    assert not had.wait(0.2)
    other("locks.release(1)")
    assert had.wait(10)
    thread.join()
    assert other("locks.take(1)") == "True"


def test_a_note_is_read_by_others(locks: ByteLocks, other: Other) -> None:
    assert other("locks.read_note()") == "0"
    locks.write_note(12_345_678_901)
    locks.write_note(42)
    assert other("locks.read_note()") == "42"


def failing(code: int) -> Callable[..., NoReturn]:
    def fail(*_arguments: object) -> NoReturn:
        raise OSError(code, "no")

    return fail


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_nothing_is_held(
    locks: ByteLocks, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Some network file systems: better alone than never."""
    monkeypatch.setattr(fcntl, "lockf", failing(code))
    assert locks.take(7)
    with locks.turn(1):
        locks.share(0)


def test_other_errors_are_not_taken_for_a_lock(locks: ByteLocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "lockf", failing(errno.EIO))
    with pytest.raises(OSError, match="no"):
        locks.take(7)
