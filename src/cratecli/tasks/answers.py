"""Answer requests, whichever way they came: what is asked is settled once, and photos asked the same go together."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from cratecli.errors import UsageError
from cratecli.io.formats import Ending
from cratecli.io.formats.picture import KINDS
from cratecli.model.engine import Model
from cratecli.records import Record
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.planned import Plan
from cratecli.tasks.object_recipes import choose_object_recipe
from cratecli.tasks.objects import PICTURES, ObjectsPhoto, Picture, objects_run
from cratecli.tasks.options import PictureOptions, SegmentOptions
from cratecli.tasks.pictures import PictureChoice, choose_ending, choose_picture
from cratecli.tasks.recipes import ObjectRecipe, Recipe, ViewRecipe, choose_recipe
from cratecli.tasks.records import objects_record, segment_record
from cratecli.tasks.requests import Request
from cratecli.tasks.segment_run import SegmentedPhoto, segment_run


@dataclass(frozen=True, eq=False)
class Answer:
    """What is said of one photo: its record, and its picture if one was asked for."""

    job: Job
    record: Record
    picture: bytes = b""


Answers = Generator[Answer | Failure, None, None]


class Asked(Protocol):
    """What is asked of photos: those asked the same, which are equal, are shown to the model together."""

    @property
    def ending(self) -> Ending:
        """Give the format of the picture."""

    @property
    def recipe(self) -> ViewRecipe:
        """Give how the question is asked."""

    @property
    def alone(self) -> bool:
        """Tell whether a photo is asked by itself."""

    def answers(self, plan: Plan, desk: Desk) -> Answers:
        """Answer for each photo of a plan, as it is done; a bad photo is a `Failure`. Raises `OutputError`."""


@dataclass(frozen=True)
class AskedMask:
    """A mask is asked for: how it is made, what is drawn of it, if it is `drawn`, and whether records hold it."""

    recipe: Recipe
    picture: PictureChoice
    drawn: bool
    rle: bool

    @property
    def ending(self) -> Ending:
        """Give the format of the picture."""
        return self.picture.ending

    @property
    def alone(self) -> bool:
        """Tell whether a photo is asked by itself: a click is on one."""
        return self.recipe.clicks is not None

    def answers(self, plan: Plan, desk: Desk) -> Answers:
        """Answer for each photo; see `Asked`."""
        picture = self.picture if self.drawn else None
        for done in segment_run(plan, desk, self.recipe, picture=picture):
            match done:
                case SegmentedPhoto():
                    record = segment_record(done, self.recipe, self.picture.kind, rle=self.rle)
                    yield Answer(done.job, record, done.content)
                case Failure():
                    yield done
                case _:
                    raise ValueError(_NO_RUN)


@dataclass(frozen=True)
class AskedObjects:
    """Objects are asked for: how they are found, and what is drawn of them, if they are `drawn`."""

    recipe: ObjectRecipe
    kind: Picture
    ending: Ending
    drawn: bool
    alone: bool = False

    def answers(self, plan: Plan, desk: Desk) -> Answers:
        """Answer for each photo; see `Asked`."""
        kind = self.kind if self.drawn else None
        for done in objects_run(plan, desk, self.recipe, kind=kind, ending=self.ending):
            match done:
                case ObjectsPhoto():
                    yield Answer(done.job, objects_record(done, self.recipe, desk.model), done.content)
                case Failure():
                    yield done
                case _:
                    raise ValueError(_NO_RUN)


_NO_RUN = "nothing is skipped, or combined, without a manifest"


def settle(request: Request, model: Model) -> AskedMask | AskedObjects:
    """Settle what a request asks of a model. Raises `UsageError` for what makes no sense."""
    if request.command == "objects":
        recipe = choose_object_recipe(model, **request.asked)
        kind = request.picture(PICTURES) or PICTURES[0]
        return AskedObjects(recipe, kind, choose_ending(request.output, None, kind), request.drawn)
    asked = choose_recipe(model, **request.of(SegmentOptions))
    shown: PictureOptions = request.of(PictureOptions)
    if shown and not request.drawn:
        raise UsageError(f"{next(iter(shown))} is of pictures: ask for one by output, or png")
    picture = choose_picture(request.picture(KINDS), shown, request.output)
    return AskedMask(asked, picture, request.drawn, request.with_rle)


def only(answers: Iterable[Answer | Failure]) -> Answer:
    """Take the answer for the one photo of a plan. Raises what failed."""
    (answer,) = answers
    if isinstance(answer, Failure):
        raise answer.error
    return answer
