"""What the model's thread does with photos that are asked the same: one run of the engine, as for files."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cratecli.explorer.run import ExploredPhoto, explore_run
from cratecli.io.formats.pages import as_json
from cratecli.model.unroll import WhiteBox
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.planned import Plan
from cratecli.serve.limits import Limits
from cratecli.serve.queue import Photo
from cratecli.tasks.answers import Answer, AskedMask, AskedObjects
from cratecli.tasks.recipes import ViewRecipe


@dataclass(frozen=True, eq=False)
class Shown:
    """What the page gets of a photo: JSON, its `card` and its `data`."""

    job: Job
    text: str


@dataclass(frozen=True)
class AskedPage:
    """A photo is to be explored in the page."""

    recipe: ViewRecipe
    alone: bool = False

    def answers(self, plan: Plan, desk: Desk) -> Generator[Shown | Failure, None, None]:
        """Look into each photo, as `crate explore` does."""
        for done in explore_run(plan, desk, self.recipe, drawn=False):
            match done:
                case ExploredPhoto():
                    card = as_json(done.card.model_dump())
                    yield Shown(done.job, f'{{"card":{card},"data":{done.data}}}')
                case Failure():
                    yield done
                case _:
                    raise ValueError("a page of photos that were sent is not written")


AskedOfModel = AskedMask | AskedObjects | AskedPage


class Answerer:
    """Asks one model questions about photos that were sent."""

    def __init__(self, model: WhiteBox, limits: Limits) -> None:
        """Take a model that is loaded."""
        self.model, self._limits = model, limits

    def together(self, question: AskedOfModel) -> int:
        """Tell how many photos are asked this at once, at most."""
        return 1 if question.alone else self._limits.together

    def answer(
        self, question: AskedOfModel, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Answer | Shown | Exception]]:
        """Answer for each photo, by its place. Raises what has nothing to do with one photo."""
        sent = [photo.content if isinstance(photo.content, bytes) else b"" for photo in photos]
        desk = Desk(self.model, self._limits.together, stdin=sent, max_pixels=self._limits.pixels)
        jobs = tuple(_job(place, photo) for place, photo in enumerate(photos))
        with closing(question.answers(Plan(jobs), desk)) as outcomes:
            for outcome in outcomes:
                result = outcome.error if isinstance(outcome, Failure) else outcome
                yield outcome.job.number - 1, result


def _job(place: int, photo: Photo) -> Job:
    source = photo.content if isinstance(photo.content, Path) else None
    return Job(source, None, place + 1, called=photo.called)
