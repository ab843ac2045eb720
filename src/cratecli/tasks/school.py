"""The school of self-training: photos and composites are shown to the model and to who teaches, and kept for a head."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence.chooser import Judged
from cratecli.emergence.features import View
from cratecli.emergence.mask_head import head_inputs, resampled
from cratecli.emergence.rules import NO_HEAD
from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.geometry import Grid, Size
from cratecli.model.head_inputs import HeadInputs, MaskHeadConfig
from cratecli.model.unroll import WhiteBox
from cratecli.runs.batch import WORKERS, work_through
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.tensors import white_box
from cratecli.runs.views import Question, views_of
from cratecli.tasks.drawn import check_head, find_head
from cratecli.tasks.ranker import confidence_weights, ranker
from cratecli.tasks.recipes import defaults
from cratecli.training.composites import Composite, compose
from cratecli.training.duplicates import ALIKE, likeness, thumbprint
from cratecli.training.head_lesson import COMPOSITES, PHOTOS
from cratecli.training.material import Material
from cratecli.training.pool import Pool, frame_grid, frame_size, opinions
from cratecli.training.projection import Projection
from cratecli.training.taught import CHUNK, TaughtFile, TaughtPhoto
from cratecli.training.teacher import (
    Teacher,
    Voting,
    judge,
    teach_by_choice,
    teach_by_head,
)
from cratecli.training.watch import Watch

CHOOSER = "chooser"
"""The teacher that is no head: the vote of the candidates."""


@dataclass(frozen=True)
class Lessons:
    """Who teaches, and what of each photo is shown to the teacher."""

    name: str
    question: Question
    teach: Teacher
    voting: Voting


def choose_lessons(model: WhiteBox, teacher: str | Path) -> Lessons:
    """Choose who teaches: `chooser`, or a mask head, `built-in` or by its file. Raises what `find_head` raises."""
    recipe = defaults(model).segment
    question = Question(recipe.layers, recipe.sizes)
    voting = Voting(ranker(frame=True), ranker(frame=False), confidence_weights(model.learned, frame=True))
    if teacher == CHOOSER:
        return Lessons(CHOOSER, question, partial(teach_by_choice, voting), voting)
    head = find_head(str(teacher), model)
    if head is None:
        raise UsageError(f"teacher {NO_HEAD} is nobody: leave --teacher out")
    check_head(model, vars(recipe) | {"head": str(teacher)}, vars(recipe))
    return Lessons(head.sha256, question, partial(teach_by_head, head, voting), voting)


class School:
    """Shows photos, and the composites made of them, to the model and the teacher, and keeps what a head will read."""

    def __init__(
        self,
        lessons: Lessons,
        config: MaskHeadConfig,
        desk: Desk,
        folder: Path,
        *,
        seed: int,
        held_out: tuple[list[str], list[np.ndarray]],
        watch: Watch,
    ) -> None:
        """Take who teaches, for which head, by which model, and where pictures are kept.

        `held_out` are names and thumbprints of photos whose near-duplicates are left out.
        """
        self._lessons, self._config, self._desk, self._folder = lessons, config, desk, folder
        self._seed, self._held_out, self._watch = seed, held_out, watch
        self._model = white_box(desk.model)
        self._pool = self._opened(Projection.load(folder, len(config.layers) * config.token_width))

    @property
    def pool(self) -> Pool:
        """Give the pictures. Raises `NothingMatchedError` before any was kept."""
        if self._pool is None:
            raise NothingMatchedError("no photo shows the model anything to learn from")
        return self._pool

    def _opened(self, projection: Projection | None) -> Pool | None:
        if projection is None:
            return None
        return Pool(self._folder, self._config, self._model.patch_size, projection)

    def teach(self, paths: Sequence[Path], rows: list[TaughtPhoto], file: TaughtFile) -> bool:
        """Teach the photos behind those of `rows`, chunk by chunk; tell whether all are.

        Raises `InputError` where pictures of `rows` were lost.
        """
        kept = Counter(Grid(*row.grid) for row in rows if row.grid and row.pooled)
        if self._pool:
            self._pool.cut(PHOTOS, kept)
        elif kept:
            raise InputError(
                f"{self._folder}: has lost pictures: remove {self._folder.parent} to begin again"
            )
        while len(rows) < len(paths) and not self._watch.stop():
            chunk = self._teach(paths[len(rows) : len(rows) + CHUNK], len(rows))
            if chunk is None:
                break
            file.append(chunk)
            rows += chunk
            self._watch.on_step(len(rows), len(paths))
        return len(rows) == len(paths)

    def _teach(self, paths: Sequence[Path], first: int) -> list[TaughtPhoto] | None:
        """Show a chunk of photos to the teacher; nothing where the run was stopped before all of it was."""
        names, others = self._held_out
        lessons, squeeze = self._lessons, _Squeeze(self._config.size, self._model.patch_size)

        def finish(photo: DecodedPhoto, views: Sequence[View]) -> tuple[int, TaughtPhoto, _Seen | None]:
            job = photo.job
            if others:
                (alike,), (which,) = likeness([thumbprint(photo.rgb)], others)
                if alike > ALIKE:
                    return job.number, TaughtPhoto(job.name, photo.sha256, duplicate_of=names[which]), None
            judged = judge(photo.rgb, views)
            taught = lessons.teach(photo.rgb, views, judged)
            useful = taught.weight > 0
            told = taught.mask, taught.weight
            seen = self._seen(photo.rgb, views, judged, told, seed=(first + job.number, 1))
            row = TaughtPhoto.of(
                job.name, photo.sha256, taught, views[self._config.place].grid, pooled=useful
            )
            return job.number, row, seen if useful else None

        rows: dict[int, TaughtPhoto] = {}
        seen: dict[int, _Seen] = {}
        jobs = [Job(path, None, number) for number, path in enumerate(paths)]
        with closing(work_through(jobs, self._desk, lessons.question, finish, squeeze)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Failure):
                    self._watch.on_note(f"{outcome.error}: passed over")
                    rows[outcome.job.number] = TaughtPhoto(outcome.job.name, error=str(outcome.error))
                elif isinstance(outcome, tuple):
                    number, rows[number], picture = outcome
                    if picture:
                        seen[number] = picture
        if len(rows) < len(paths):
            return None
        self._keep(PHOTOS, [seen[number] for number in sorted(seen)])
        return [rows[number] for number in range(len(paths))]

    def compose(self, material: Material, count: int) -> int:
        """Make composites up to so many, behind those that are kept, and give how many there are now."""
        pool, question = self.pool, self._lessons.question
        chunks = [(start, pool.grids[start // CHUNK % len(pool.grids)]) for start in range(0, count, CHUNK)]
        held, expected, done = pool.count(COMPOSITES), Counter[Grid](), 0
        for start, grid in chunks:
            many = min(CHUNK, count - start)
            if held[grid] < expected[grid] + many:
                break
            expected[grid] += many
            done = start + many
        pool.cut(COMPOSITES, expected)
        for start, grid in chunks:
            if start < done:
                continue
            frame = frame_size(grid)
            made = [
                compose(material.objects, material.grounds, frame, seed=self._seed, number=number)
                for number in range(start, min(start + CHUNK, count))
            ]
            with ThreadPoolExecutor(WORKERS, thread_name_prefix="crate-composer") as finishers:
                shown: list[Future[_Seen]] = []
                for few in (
                    made[at : at + self._desk.batch_size] for at in range(0, len(made), self._desk.batch_size)
                ):
                    if self._watch.stop():
                        return done
                    views = views_of(
                        [each.rgb for each in few], self._model, question, note=self._watch.on_note
                    )
                    shown += [
                        finishers.submit(self._see_composite, each, its, number)
                        for number, (each, its) in enumerate(zip(few, views, strict=True), start + len(shown))
                    ]
                seen = [each.result() for each in shown]
            self._keep(COMPOSITES, seen)
            done = start + len(made)
            self._watch.on_step(done, count)
        return done

    def _see_composite(self, composite: Composite, views: Sequence[View], number: int) -> "_Seen":
        judged = judge(composite.rgb, views)
        return self._seen(composite.rgb, views, judged, (composite.mask, 1.0), seed=(number, 2))

    def _seen(
        self,
        rgb: RGB,
        views: Sequence[View],
        judged: Judged,
        taught: tuple[Mask, float],
        *,
        seed: Sequence[int],
    ) -> "_Seen":
        voting = self._lessons.voting
        votes = opinions(
            judged, voting.with_frame, voting.without_frame, np.random.default_rng([self._seed, *seed])
        )
        return _Seen(head_inputs(rgb, views, None, self._config), votes, *taught)

    def _keep(self, kind: str, pictures: Sequence["_Seen"]) -> None:
        """Append pictures to the pool; the first decide what of their tokens is kept."""
        if not pictures:
            return
        if self._pool is None:
            projection = Projection.of([each.inputs for each in pictures])
            projection.store(self._folder)
            self._pool = self._opened(projection)
        records: dict[Grid, list[np.ndarray]] = {}
        for each in pictures:
            grid, record = self.pool.squeeze(*each)
            records.setdefault(grid, []).append(record)
        self.pool.append(kind, records)


class _Seen(NamedTuple):
    """What the model and its chooser saw of one picture, its mask and how much it counts, over 0 to 1."""

    inputs: HeadInputs
    votes: list[Soft]
    mask: Mask
    weight: float


@dataclass(frozen=True)
class _Squeeze:
    """Squeezes a photo that was read into the frame nearest to its aspect."""

    size: int
    patch_size: int

    def __call__(self, _job: Job, rgb: RGB) -> RGB:
        """Squeeze it."""
        grid = frame_grid(Size(*rgb.shape[:2]), self.size, self.patch_size)
        return resampled(rgb, frame_size(grid))
