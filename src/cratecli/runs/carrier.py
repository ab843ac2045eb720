"""What carries the photos of a run to other machines, and brings back what was made of them."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol

from cratecli.emergence.features import View
from cratecli.runs.desk import DecodedPhoto, Finished, Result
from cratecli.runs.jobs import Failure, Skipped
from cratecli.runs.portions import Portion
from cratecli.runs.session import Session
from cratecli.runs.views import Question


class Carrier(Protocol):
    """Works through a run elsewhere: there photos are read, shown to the model and finished; here they are recorded."""

    def work(
        self,
        session: Session,
        portions: Iterable[Portion],
        question: Question,
        finish: Callable[[DecodedPhoto, list[View]], Finished[Result]],
    ) -> Generator[tuple[Portion, Result | Failure | Skipped | None], None, None]:
        """Give what becomes of each photo, with its portion, in any order; nothing more says that a portion is done.

        `finish` goes to other machines. Raises `OutputError`, and `DeviceError` where those machines are lost.
        """
