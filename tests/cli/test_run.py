"""What all commands over photos share: what is missing is said at once, and what was not meant literally is said."""

import json

import pytest

from tests.cli.conftest import Here, Machine, failed

COMMANDS = ("segment", "objects", "parts", "heads", "layers")
NOWHERE = ("-m", "crate-mae-b16")
"""A model that is not on this machine, as is told by code 4 where one is asked for."""


@pytest.mark.parametrize("command", COMMANDS)
def test_where_no_photo_is_there_no_model_is_asked_for(machine: Machine, here: Here, command: str) -> None:
    (machine.desk / "broken.jpg").symlink_to("gone.jpg")
    done = here(command, "gone.jpg", "broken.jpg", *NOWHERE)
    assert (done.code, done.out) == (1, b"")
    assert done.err.splitlines() == [
        "crate: gone.jpg: no such file",
        "crate: broken.jpg: a broken link",
        "crate: 2 of 2 photos failed",
    ]
    assert machine.files() == []
    machine.photo("photo.png")
    assert here(command, "gone.jpg", "photo.png", *NOWHERE).code == 4
    assert here(command, "gone.jpg", "-", *NOWHERE, stdin=b"").code == 4


def test_missing_photos_are_on_record(here: Here) -> None:
    done = here("segment", "a.jpg", "b.jpg", "--jsonl", "--fail-fast", "-q")
    assert list(map(json.loads, done.lines)) == [{"input": "a.jpg", "error": "a.jpg: no such file"}]
    assert (done.code, done.err) == (1, "crate: a.jpg: no such file\n")
    assert here("segment", "a.jpg", "--json", "-q").out == b"[]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_size_that_is_not_whole_patches_is_said_once(machine: Machine, here: Here, command: str) -> None:
    machine.photo("in/a.png")
    machine.photo("in/b.png", seed=1)
    told = "crate: size 65 is rounded to 64: whole patches of 8 px"
    assert here(command, "in", "--size", "65").err.splitlines().count(told) == 1
    assert "rounded" not in here(command, "in", "--size", "64").err


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--min-confidence", "abc"], "--min-confidence is 'abc', not a number"),
        (["--margin", "wide", "--crop"], "--margin is 'wide', not a number"),
        (["--batch-size", "1.5"], "--batch-size is '1.5', not a whole number"),
        (["--batch-size", "0"], "--batch-size is '0', not greater than or equal to 1"),
        (["--min-confidence", "3"], "--min-confidence is 3.0, not less than or equal to 1"),
    ],
)
def test_values_of_another_kind_are_told_in_the_words_of_options(
    here: Here, asked: list[str], told: str
) -> None:
    failed(here("segment", "photo.png", *asked), 2, told)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_system_that_gives_no_more(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """FAULTS 14: as in a container that allows few processes; what is on record stays there."""

    def refused(*_: object) -> None:
        raise error

    machine.photo("in/a.png")
    monkeypatch.setattr("threading.Thread.start", refused)
    failed(
        here("segment", "in", "-o", "out", "-q"), 1, "out of memory, or of threads: the system gives no more"
    )
