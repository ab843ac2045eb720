"""What one request, and all of them together, may take of the machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cratecli.errors import UsageError
from cratecli.serve.refused import RefusedError
from cratecli.tasks.answers import Asked
from cratecli.tasks.recipes import Recipe

LARGEST_SIZE = (
    480  # px of an input short side: MaskCut's in the paper; attention takes half a minute at 4 : 1
)
MOST_VIEWS = 8
MOST_CLICKS = 64
BODIES = 4  # of the largest size, that are held at once


@dataclass(frozen=True)
class Limits:
    """The limits of a server: of a body, bytes; of a photo, px; of a request, seconds, for its body and its answer.

    `requests` are in hand or wait at once; `together` go through the model at once.
    """

    bytes: int = 64 << 20
    pixels: int = 50_000_000
    seconds: float = 60
    body_seconds: float = 30
    requests: int = 64
    together: int = 8


def refuse_work(asked: Asked) -> None:
    """Raise `UsageError` for a question that would keep the model from others for too long."""
    recipe = asked.recipe
    if max(recipe.sizes) > LARGEST_SIZE:
        raise UsageError(f"sizes has {max(recipe.sizes)}, and a server takes up to {LARGEST_SIZE}")
    if len(recipe.sizes) > MOST_VIEWS:
        raise UsageError(f"sizes are {len(recipe.sizes)}, and a server takes up to {MOST_VIEWS}")
    clicks = len(recipe.at) + len(recipe.not_at) if isinstance(recipe, Recipe) else 0
    if clicks > MOST_CLICKS:
        raise UsageError(f"at and not_at are {clicks} pixels, and a server takes up to {MOST_CLICKS}")


class Room:
    """Counts what is in hand: requests, and the bytes of their bodies. For one event loop."""

    def __init__(self, limits: Limits, delay: Callable[[], float] = lambda: 1.0) -> None:
        """Start with nothing in hand; `delay` guesses after how many seconds it is worth to ask again."""
        self._limits, self._delay = limits, delay
        self.requests = self.bytes = 0

    @contextmanager
    def entered(self) -> "Iterator[Held]":
        """Count a request for the block. Raises `RefusedError`."""
        if self.requests >= self._limits.requests:
            raise self._full()
        held = Held(self)
        self.requests += 1
        try:
            yield held
        finally:
            self.requests -= 1
            self.bytes -= held.bytes

    def take(self, size: int) -> None:
        """Count bytes of a body. Raises `RefusedError`."""
        self.bytes += size
        if self.bytes > BODIES * self._limits.bytes:
            raise self._full()

    def _full(self) -> RefusedError:
        after = str(max(1, round(self._delay())))
        return RefusedError(503, "the server is busy: ask again later", {"Retry-After": after})


class Held:
    """Counts the bytes of one request's body."""

    def __init__(self, room: Room) -> None:
        """Start with none."""
        self._room, self.bytes = room, 0

    def take(self, size: int) -> None:
        """Count bytes that have come. Raises `RefusedError`."""
        self.bytes += size
        self._room.take(size)
