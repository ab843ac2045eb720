"""The queue before the model: what goes together, what is passed over, and that no failure ends it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from threading import Event
from typing import Any

import pytest

from cratecli.errors import InputError
from cratecli.serve.queue import Photo, RequestQueue
from tests.support.waiting import PATIENCE, until


class Slow:
    """Stands in for the model: it answers with the photo, when it may, and remembers what went together."""

    def __init__(self, most: int = 3) -> None:
        self.most, self.batches = most, list[list[Any]]()
        self.begun, self.may = Event(), Event()

    def together(self, question: Any) -> int:
        return self.most

    def answer(self, question: Any, photos: Sequence[Photo]) -> Iterator[tuple[int, Any]]:
        self.batches.append([photo.content for photo in photos])
        self.begun.set()
        assert self.may.wait(PATIENCE)
        for place, photo in enumerate(photos):
            if photo.content == b"bad":
                yield place, InputError("bad")
            elif photo.content == b"broken":
                raise ZeroDivisionError
            elif photo.content != b"lost":
                yield place, (question, photo.content)


def named(content: bytes) -> Photo:
    return Photo("photo", content)


def test_what_asks_the_same_goes_together_and_the_oldest_first() -> None:
    slow = Slow()
    queue = RequestQueue(slow)
    first = queue.put("a", named(b"0"))
    assert slow.begun.wait(PATIENCE)  # and while it is answered, others come
    others = [
        queue.put(question, named(content))
        for question, content in (
            ("b", b"1"),
            ("a", b"2"),
            ("b", b"3"),
            ("b", b"4"),
            ("b", b"5"),
            ("a", b"6"),
        )
    ]
    assert queue.waiting == 6
    slow.may.set()
    assert first.result(PATIENCE) == ("a", b"0")
    assert [each.result(PATIENCE)[1] for each in others] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert slow.batches == [[b"0"], [b"1", b"3", b"4"], [b"2", b"6"], [b"5"]]
    until(lambda: queue.delay > 0)
    queue.close()
    assert not queue.alive


def test_what_nobody_waits_for_is_passed_over() -> None:
    slow = Slow()
    queue = RequestQueue(slow)
    first = queue.put("a", named(b"0"))
    assert slow.begun.wait(PATIENCE)
    left, kept = queue.put("a", named(b"1")), queue.put("a", named(b"2"))
    alone = queue.put("b", named(b"3"))
    assert left.cancel()
    assert alone.cancel()
    assert not first.cancel()
    slow.may.set()
    assert kept.result(PATIENCE) == ("a", b"2")
    queue.close()
    assert slow.batches == [[b"0"], [b"2"]]


def test_failures_are_those_of_their_photos_and_the_thread_goes_on() -> None:
    slow = Slow(most=4)
    slow.may.set()
    queue = RequestQueue(slow)
    slow.may.clear()
    held = queue.put("held", named(b"0"))
    assert slow.begun.wait(PATIENCE)
    contents = (b"1", b"bad", b"broken", b"2")
    futures = [queue.put("a", named(each)) for each in contents]
    lost = queue.put("b", named(b"lost"))
    slow.may.set()
    wait([held, *futures, lost], PATIENCE)
    assert futures[0].result() == ("a", b"1")
    assert [type(each.exception()) for each in futures[1:]] == [
        InputError,
        ZeroDivisionError,
        ZeroDivisionError,
    ]
    assert "no answer" in str(lost.exception())
    assert queue.put("a", named(b"3")).result(PATIENCE) == ("a", b"3")
    queue.close()


def test_closing_answers_what_waits() -> None:
    slow = Slow(most=1)
    slow.may.set()
    queue = RequestQueue(slow)
    futures = [queue.put("a", named(bytes([number]))) for number in range(5)]
    queue.close()
    assert [each.result()[1][0] for each in futures] == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="closed"):
        queue.put("a", named(b"0"))
