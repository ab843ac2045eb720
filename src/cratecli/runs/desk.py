"""What the engine works with, and what becomes of one photo: read, decoded, finished, handed over. Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import CrateError, InputError, OutputError, UsageError
from cratecli.io import images
from cratecli.io.formats.record import Annotated
from cratecli.io.opening import MAX_PIXELS
from cratecli.model.engine import Model, out_of_memory
from cratecli.runs.cache import ViewCache
from cratecli.runs.jobs import Failure, Job, deliver
from cratecli.runs.ledger import Ledger

if TYPE_CHECKING:
    from cratecli.runs.carrier import Carrier

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)


@dataclass(frozen=True)
class Desk:
    """What the engine works with: the model, how much it is given at once, and where results are recorded.

    `stdin` holds the bytes of each photo on standard input; `range` says which numbers of photos are black and white.
    `stopping` is asked between batches whether to end early; `note` gets lines that users should read. With a `carrier`
    the model runs on other machines, and `model` says what is known of it.
    """

    model: Model
    batch_size: int = 8
    cache: ViewCache | None = None
    ledger: Ledger | None = None
    stdin: Sequence[bytes] = ()
    max_pixels: int = MAX_PIXELS
    range: str = "auto"
    stopping: Callable[[], bool] = field(default=lambda: False)
    note: Callable[[str], None] = field(default=lambda _text: None)
    carrier: "Carrier | None" = None

    def __post_init__(self) -> None:
        """Check the batch size."""
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size!r}, not a whole number above 0")

    def done_before(self, job: Job, sha256: str) -> bool:
        """Tell whether a photo in hand, known by its bytes, is done already, and let go of it if it is.

        Raises what `Ledger.done` raises.
        """
        if self.ledger is None:
            return False
        if self.ledger.done(job, sha256):
            self.ledger.give_back(job)
            return True
        if other := self.ledger.replaced(job):
            self.note(f"{job.name}: takes the place of what was made from {other}")
        return False

    def failed(self, job: Job, error: CrateError) -> Failure:
        """Let go of a photo in hand that could not be worked on."""
        if self.ledger:
            self.ledger.give_back(job)
        return Failure(job, error)

    def hand_over(self, job: Job, sha256: str, done: "Finished[Any]") -> None:
        """Write a photo's output, if it has one of its own, what is beside it first, and last its row.

        Raises `OutputError`; of a photo whose outputs alone cannot be written nothing stays.
        """
        written: list[Path] = []
        try:
            for path, content in done.beside.items():
                deliver(path, content)
                written.append(path)
            if done.content is not None:
                job.deliver(done.content)
            if self.ledger:
                self.ledger.record(job, sha256, done.content, done.annotated, done.beside, **done.facts)
        except OutputError as error:
            for path in written if error.alone else ():
                with suppress(OSError):
                    path.unlink()
            raise


@dataclass(frozen=True, eq=False)
class DecodedPhoto:
    """A job's photo: upright RGB, 0–255, and the SHA-256, in hexadecimal, of its file (or of its pixels, held).

    `rgba` are its own colours, and alpha, where it has some; `notes` say how it was read, where that is in doubt.
    """

    job: Job
    rgb: RGB
    sha256: str
    rgba: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Count the bytes that it holds in memory."""
        return self.rgb.nbytes + (0 if self.rgba is None else self.rgba.nbytes)


@dataclass(frozen=True, eq=False)
class Finished(Generic[Made_co]):
    """What was made of a photo, and is to be recorded: its picture's file, if it has one, its objects, and the facts.

    Files `beside` are written too. `result` is what callers get.
    """

    result: Made_co
    annotated: Annotated
    content: bytes | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[Path, bytes] = field(default_factory=dict)


def content_of(job: Job, max_pixels: int, stdin: Sequence[bytes] = ()) -> bytes:
    """Read the bytes of a photo, from wherever it is. Raises `InputError`."""
    if job.entry is not None:
        return job.entry.read(images.BYTES_A_PIXEL * max_pixels)
    if job.source is not None:
        return images.content(job.source, job.name, max_pixels=max_pixels)
    if not stdin:
        raise InputError("a photo is None: neither a path, a Pillow image nor an array")
    content = stdin[max(job.number - 1, 0)]
    images.refuse_large(len(content), job.name, max_pixels)
    return content


def decoded(job: Job, content: bytes, sha256: str, desk: Desk) -> DecodedPhoto:
    """Decode a photo that was read, within the limits of a desk. Raises `InputError`."""
    found = images.decode(content, job.name, max_pixels=desk.max_pixels, range=desk.range)
    for note in found.notes:
        desk.note(note)
    return DecodedPhoto(job, found.rgb, sha256, found.rgba, tuple(found.notes))


def finished(
    finish: Callable[[DecodedPhoto, list[View]], Result], photo: DecodedPhoto, views: list[View]
) -> Result | Failure:
    """Finish a photo; one that cannot be, or whose output alone cannot be written, is a `Failure`.

    Raises `OutputError` when no output can be written any more.
    """
    try:
        return finish(photo, views)
    except CrateError as error:
        if isinstance(error, OutputError) and not error.alone:
            raise
        return Failure(photo.job, error)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return Failure(photo.job, InputError(f"{photo.job.name}: needs more memory than there is"))
