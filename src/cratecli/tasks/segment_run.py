"""Segment the photos of a run: what is made of each, and which files are written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cratecli.emergence.features import View
from cratecli.geometry import Box
from cratecli.io.formats.picture import encode
from cratecli.io.formats.record import Annotated, annotate
from cratecli.model.engine import Model
from cratecli.runs.batch import Outcomes
from cratecli.runs.desk import DecodedPhoto, Desk, Finished
from cratecli.runs.jobs import Job
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.runs.provenance import Provenance
from cratecli.runs.refusals import refuse_replacing
from cratecli.runs.session import Session, provenance_of
from cratecli.tasks.choices import refuse_clicks
from cratecli.tasks.combined import work_and_write
from cratecli.tasks.drawn import head_id
from cratecli.tasks.options import Combined, is_combined
from cratecli.tasks.pictures import PictureChoice, draw_picture
from cratecli.tasks.recipes import Recipe
from cratecli.tasks.segment import Segmentation, decide, question_of


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """A photo of a run: its segmentation, also as annotation, and its picture, which stands at the job's target.

    `cropped` is the box of the photo that the picture shows; `None` is the whole photo. Sent from another machine, it
    comes without the soft map. `notes`: see `DecodedPhoto`.
    """

    job: Job
    segmentation: Segmentation
    annotated: Annotated
    content: bytes
    cropped: Box | None
    notes: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel small: the mask as the run lengths that the annotation has."""
        bare = replace(self.segmentation, mask=_NOTHING, soft=_NOTHING.astype(np.float32))
        return _arrived, (self.job, bare, self.annotated, self.content, self.cropped, self.notes)


_NOTHING = np.zeros((0, 0), bool)


def _arrived(job: Job, bare: Segmentation, annotated: Annotated, *rest: Any) -> SegmentedPhoto:
    return SegmentedPhoto(job, replace(bare, mask=annotated.mask), annotated, *rest)


def segment_run(
    plan: Plan, desk: Desk, recipe: Recipe, *, picture: PictureChoice | Combined | None
) -> Outcomes[SegmentedPhoto | Written]:
    """Segment the photos of a plan, and write a picture of each, or one file of all, or nothing.

    A bad photo is a `Failure`, not the end. Raises `OutputError` when an output cannot be written, and `UsageError`
    where one would take the place of the background.
    """
    if desk.carrier is not None:
        refuse_clicks(recipe.at, "--on is for many")
    if len(plan.jobs) > 1 or plan.streams:
        refuse_clicks(recipe.at, f"here are {len(plan.jobs)}" if plan.jobs else "here may be many")
    drawn = picture if isinstance(picture, PictureChoice) else None
    if drawn and drawn.background and drawn.background.sha256:
        refuse_replacing(plan.jobs, Path(drawn.background.named))
    about = drawn.as_data() if drawn else {"as_": picture}
    asked = recipe.as_data()
    if head := head_id(recipe.head, desk.model):
        del asked["head"]
        about |= {"head": head.name, "head_sha256": head.sha256}
    made = provenance_of("segment", asked, plan, desk, several=is_combined(picture), **about)
    finish = FinishMask(recipe, desk.model, drawn, made, desk.note)
    with Session(plan, replace(desk, range=recipe.range), made) as session:
        yield from work_and_write(
            session, question_of(recipe), finish, picture, recipe=str(recipe), made=made
        )


@dataclass(frozen=True, eq=False)
class FinishMask:
    """Makes a photo's mask, annotation and picture, if one is `drawn`, of what the model saw of it.

    Of the model no pass is asked: what is known of it is enough. `made` says how, for the picture.
    `note` is told what takes long; it stays here when the rest is sent to another machine.
    """

    recipe: Recipe
    model: Model
    drawn: PictureChoice | None
    made: Provenance
    note: Callable[[str], None] = lambda _text: None

    def __reduce__(self) -> tuple[Any, ...]:
        return FinishMask, (self.recipe, self.model, self.drawn, self.made)

    def __call__(self, photo: DecodedPhoto, views: Sequence[View]) -> Finished[SegmentedPhoto]:
        """Finish a photo. Raises `InputError`."""
        result = decide(photo.rgb, views, self.recipe, self.model)
        objects = [] if result.empty else [annotate(result.mask, round(result.confidence, 4))]
        annotated = Annotated(photo.job.name, *result.size, objects)
        facts: dict[str, Any] = {
            "heads": list(result.heads),
            "threshold": round(result.threshold, 6),
            "confidence": round(result.confidence, 4),
        }
        content = cropped = None
        if (drawn := self.drawn) is not None:
            name, note = photo.job.name, self.note
            shown = draw_picture(photo.rgb, result.mask, result.soft, drawn, name, rgba=photo.rgba, note=note)
            if (cropped := shown.box) is not None:
                facts["cropped"] = list(cropped.xywh)
            text = self.made.of_photo(photo.job, photo.sha256, **facts).to_json()
            content = encode(shown.pixels, drawn.ending, text, photo.job.name)
        done = SegmentedPhoto(photo.job, result, annotated, content or b"", cropped, photo.notes)
        return Finished(done, annotated, content, facts)
