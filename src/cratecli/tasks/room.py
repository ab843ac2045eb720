"""How much may be held in memory at once, among threads."""

from threading import Condition


class Room:
    """Bytes of decoded photos: who would come when it is full waits, but for the one that everybody waits for.

    Photos are numbered from 0, as they are wanted. What is let in late may overfill the room by what a few threads
    decode at once.
    """

    def __init__(self, most: int) -> None:
        """Make an empty room."""
        self._most, self._held, self._awaited = most, 0, -1
        self._open, self._changed = True, Condition()

    def enter(self, number: int) -> bool:
        """Wait until there is room for a photo, or it is awaited; tell whether there still is a room."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._held < self._most or number <= self._awaited or not self._open
            )
            return self._open

    def wait_for(self, number: int) -> None:
        """Let a photo in, whatever is held, for the others wait for it."""
        with self._changed:
            self._awaited = number
            self._changed.notify_all()

    def take(self, size: int) -> None:
        """Hold some bytes."""
        with self._changed:
            self._held += size

    def give(self, size: int) -> None:
        """Hold some bytes no longer."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Tell whether no more should be held."""
        with self._changed:
            return self._held >= self._most

    def close(self) -> None:
        """Send away whoever waits."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
