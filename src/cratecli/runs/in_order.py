"""Photos of a Python caller through the batch engine, their results in the order of the photos."""

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from reprlib import repr as short
from typing import Literal

from cratecli.emergence.features import View
from cratecli.errors import CrateError, UsageError
from cratecli.io import images
from cratecli.io.sources.entry import is_entry
from cratecli.io.sources.packed import entry_at
from cratecli.runs.batch import work
from cratecli.runs.desk import DecodedPhoto, Desk, Result
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.views import Question


def work_in_order(
    photos: Iterable[images.PhotoLike],
    desk: Desk,
    question: Question,
    finish: Callable[[DecodedPhoto, list[View]], Result],
    errors: Literal["raise", "return"],
) -> Generator[Result | CrateError, None, None]:
    """Show photos of a Python caller to the model, and give a result for each, in their order.

    Photos are taken as they are needed: paths, Pillow images or upright RGB arrays (0–255). A bad photo raises its
    error, or with `errors` "return" gives it as its result. Raises `UsageError` for other `errors`, and for `photos`
    that are one.
    """
    if errors not in ("raise", "return"):
        raise UsageError(f"errors is {errors!r}, not 'raise' or 'return'")
    if isinstance(photos, str | Path | bytes):
        raise UsageError(f"photos is {short(photos)}, not a list of photos")
    jobs = (_job(photo, number) for number, photo in enumerate(photos))
    waiting: dict[int, Result | CrateError] = {}
    due = 0

    def numbered(photo: DecodedPhoto, views: list[View]) -> tuple[int, Result]:
        return photo.job.number, finish(photo, views)

    with closing(work(jobs, desk, question, numbered)) as outcomes:
        for outcome in outcomes:
            match outcome:
                case Failure():
                    waiting[outcome.job.number] = outcome.error
                case Skipped():
                    raise ValueError("nothing is skipped without a ledger")
                case (number, done):
                    waiting[number] = done
            while due in waiting:
                result = waiting.pop(due)
                if isinstance(result, CrateError) and errors == "raise":
                    raise result
                yield result
                due += 1


def _job(photo: images.PhotoLike, number: int) -> Job:
    """Make a job of a path, a URL or what is in memory. Raises `UsageError` for a URL that cannot be read."""
    if not isinstance(photo, str | Path):
        return Job(None, None, number, photo)
    if is_entry(str(photo)) and not os.path.lexists(photo):
        return Job(None, None, number, entry=entry_at(str(photo)))
    return Job(Path(photo), None, number)
