"""The queue before the model: one thread takes what waits, as many as go together, and answers them."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that came as bytes, and what it is called in answers; or the path of a file, which is allowed."""

    called: str
    content: Any


class Answering(Protocol):
    """Answers questions about photos; those that are equal go together."""

    def together(self, question: Any) -> int:
        """Tell how many photos are asked this at once, at most."""

    def answer(self, question: Any, photos: Sequence[Photo]) -> Iterable[tuple[int, Any]]:
        """Give for each photo, by its place, an answer, or the exception that stands for it, as each is done."""


@dataclass(frozen=True, eq=False)
class _Ticket:
    question: Any
    photo: Photo
    future: Future[Any] = field(default_factory=Future)


class RequestQueue:
    """Holds questions about photos until the model's thread takes them, oldest first.

    With the oldest go those that ask the same; a question whose future was cancelled meanwhile is passed over. Nothing
    waits for company: while a batch is answered the next one gathers.
    """

    def __init__(self, answering: Answering) -> None:
        """Start the thread."""
        self._answering = answering
        self._waiting: deque[_Ticket] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._pace = 0.0  # seconds a photo, lately
        self._thread = threading.Thread(target=self._run, name="crate-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Count the questions that no batch has taken."""
        with self._changed:
            return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    @property
    def delay(self) -> float:
        """Guess after how many seconds a question that is put now is answered."""
        with self._changed:
            return self._pace * (len(self._waiting) + 1)

    def put(self, question: Any, photo: Photo) -> Future[Any]:
        """Ask; the future gets the answer, or why there is none. Raises `RuntimeError` where the queue is closed."""
        ticket = _Ticket(question, photo)
        with self._changed:
            if not self._open:
                raise RuntimeError("the queue is closed")
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket.future

    def close(self) -> None:
        """Let all that waits be answered, and the thread end."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            start = time.monotonic()
            self._answer(batch)
            with self._changed:
                took = (time.monotonic() - start) / len(batch)
                self._pace = took if not self._pace else 0.8 * self._pace + 0.2 * took

    def _take(self) -> list[_Ticket]:
        """Wait for questions, and take the oldest and those that go with it; none when the queue is closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return []
                question = self._waiting[0].question
                most = self._answering.together(question)
                taken: list[_Ticket] = []
                left: deque[_Ticket] = deque()
                for ticket in self._waiting:
                    if len(taken) < most and ticket.question == question:
                        if ticket.future.set_running_or_notify_cancel():
                            taken.append(ticket)
                    else:
                        left.append(ticket)
                self._waiting = left
                if taken:
                    return taken

    def _answer(self, batch: Sequence[_Ticket]) -> None:
        """Answer a batch; what fails as a whole fails for all that have no answer yet."""
        try:
            photos = [ticket.photo for ticket in batch]
            for place, result in self._answering.answer(batch[0].question, photos):
                if isinstance(result, Exception):
                    batch[place].future.set_exception(result)
                else:
                    batch[place].future.set_result(result)
            reason: Exception = RuntimeError("the photo got no answer")
        except Exception as error:
            reason = error
        for ticket in batch:
            if not ticket.future.done():
                ticket.future.set_exception(reason)
