"""Numbers of each photo as files of arrays, for research: what `--as npz` and `--as safetensors` write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cratecli.emergence.features import View
from cratecli.io.formats import ArrayEnding
from cratecli.io.formats.record import Annotated
from cratecli.io.formats.tensors import Arrays, encode
from cratecli.runs.batch import Outcomes
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.planned import Plan
from cratecli.runs.provenance import Command
from cratecli.runs.session import Session, provenance_of
from cratecli.runs.views import Question
from cratecli.tasks.recipes import ViewRecipe

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ArraysPhoto(Generic[Result]):
    """What became of a photo of a run, and its arrays as they stand at the job's target."""

    done: Result
    content: bytes


def arrays_run(
    command: Command,
    plan: Plan,
    desk: Desk,
    recipe: ViewRecipe,
    question: Question,
    *,
    ending: ArrayEnding,
    measure: Callable[[DecodedPhoto, Sequence[View]], tuple[Result, Arrays]],
) -> Outcomes[ArraysPhoto[Result]]:
    """Measure the photos of a plan, and write a file of arrays for each, with a manifest in an output folder.

    A bad photo is a `Failure`, not the end. Raises `OutputError` when an output cannot be written.
    """
    made = provenance_of(command, recipe.as_data(), plan, desk, several=False, as_=ending)
    with Session(plan, desk, made) as session:

        def finish(photo: DecodedPhoto, views: Sequence[View]) -> ArraysPhoto[Result]:
            done, arrays = measure(photo, views)
            content = encode(arrays, ending, made.of_photo(photo.job, photo.sha256).to_json())
            height, width = photo.rgb.shape[:2]
            session.hand_over(photo.job, photo.sha256, content, Annotated(photo.job.name, height, width, ()))
            return ArraysPhoto(done, content)

        yield from session.work(question, finish)
