"""Self-training: from photos without a label to a mask head that fits them, by what the model is sure of."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.io import images
from cratecli.io.urls import refuse_url
from cratecli.model.head_inputs import MaskHeadConfig
from cratecli.model.unroll import WhiteBox
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import STDIN, Inputs, name_some
from cratecli.runs.tensors import white_box
from cratecli.runs.views import as_model
from cratecli.tasks.recipes import defaults
from cratecli.tasks.school import Lessons, School, choose_lessons
from cratecli.training.duplicates import thumbprint
from cratecli.training.folder import STATE, RunFolder
from cratecli.training.head_lesson import HeadLesson
from cratecli.training.head_recipe import GIVEN, HeadRecipe, read_head_recipe
from cratecli.training.material import gather
from cratecli.training.pool import clear_pool
from cratecli.training.records import LastRow
from cratecli.training.taught import TAUGHT, TaughtFile, TaughtPhoto, digest
from cratecli.training.train_head import CHECKPOINT, train_head
from cratecli.training.watch import UNWATCHED, Trained, Watch

_WHAT = dict(zip(GIVEN, ("teacher is", "model is", "photos are", "photos held out are"), strict=True))
POOL = "pool"
"""The folder, in a run's, of pictures as the head reads them; it is removed when the head is done."""


def self_train(
    photos: str | Path | Sequence[str | Path] | Inputs,
    output: str | Path,
    model: WhiteBox | str | Path | None = None,
    *,
    changes: Mapping[str, str] = MappingProxyType({}),
    teacher: str | Path = "chooser",
    held_out: Sequence[str | Path] = (),
    resume: bool = False,
    recursive: bool = True,
    batch_size: int = 8,
    device: str = "auto",
    dtype: str = "auto",
    watch: Watch = UNWATCHED,
) -> Trained | None:
    """Train a mask head for a model on photos without a label, and write it into the folder `output`.

    `photos` are files and folders; `model` is what `load_model` gave, a name or a file. `changes` replace settings of
    `HeadRecipe`, as text, by name. `teacher` is `chooser`, what the candidates of `segment` vote for; `built-in`, the
    model's own mask head; or the file of a head of an earlier round. Near-duplicates of the photos in the folders
    `held_out` are left out. A run that was stopped goes on with `resume`, and ends with
    the bytes of one that was not; `None` stands for one that was stopped before every photo was taught.

    Raises `UsageError` for what makes no sense or does not fit the run in the folder, `NothingMatchedError` where no
    photos are or too few objects are sure, `InputError` for a photo that is not what it was, `OutputError`, and what
    `load_model` and `load_head` raise.
    """
    ready, began = white_box(as_model(model)), time.monotonic()
    inputs = photos if isinstance(photos, Inputs) else _inputs(photos, recursive=recursive)
    folder = RunFolder(Path(output), CHECKPOINT, begun=TAUGHT)
    paths = _paths(inputs, folder.path)
    seen = defaults(ready).segment
    lessons = choose_lessons(ready, teacher)
    prints = _thumbprints(held_out)
    given = _given(ready, lessons, paths, prints[1])
    recipe = _recipe(ready, given, changes, folder if resume else None)
    config = _config(ready, recipe, seen.layers, seen.sizes)
    file = TaughtFile(folder.path)
    try:
        if resume:
            folder.hold()
        else:
            _refuse_others(folder)
            folder.begin(recipe)
            file.start()
        if finished := _finished(folder):
            watch.on_note(f"the run was finished before, with step {finished.steps}: nothing is left to do")
            clear_pool(folder.path / POOL)  # where it was killed before that was done
            return finished
        rows = file.read(len(paths))
        watched = replace(watch, stop=_stopping(watch, began), limit_minutes=None)
        desk = Desk(ready, batch_size, stopping=watched.stop, note=watch.on_note)
        watch.on_note(f"{inputs}: {len(paths):,} photos")
        school = School(
            lessons,
            config,
            desk,
            folder.path / POOL,
            seed=recipe.seed,
            held_out=prints,
            watch=watched,
        )
        if not school.teach(paths, rows, file):
            watch.on_note(f"stopped after {len(rows):,} of {len(paths):,} photos were taught")
            return None
        _tell(rows, watch)
        material = gather(rows, recipe.sure, note=watch.on_note)
        count = round(recipe.composites * material.photos)
        watch.on_note(f"making {count:,} composites")
        if (made := school.compose(material, count)) < count:
            watch.on_note(f"stopped after {made:,} of {count:,} composites were made")
            return None
        together = f"{digest(rows)} {config.to_dict()} {school.pool.projection.digest()}"
        identity = hashlib.sha256(together.encode()).hexdigest()
        left = None if watch.limit_minutes is None else watch.limit_minutes - (time.monotonic() - began) / 60
        lesson = HeadLesson(recipe, ready.weights, school.pool, material, identity)
        watch.on_note(f"learning in {lesson.steps:,} steps")
        trained = train_head(
            folder, lesson, device=device, dtype=dtype, watch=replace(watch, limit_minutes=left)
        )
        if trained.done:
            clear_pool(folder.path / POOL)
        return trained
    finally:
        folder.close()


def _finished(folder: RunFolder) -> Trained | None:
    """Give what a run made that is done: its last row names the head; its pool may be gone.

    Raises `InputError` where the head is gone, or another file stands in its place.
    """
    if not (folder.path / STATE).exists():
        return None
    row, made = folder.last_row(), folder.checkpoint
    if not isinstance(row, LastRow):
        return None
    if not made.is_file() or hashlib.sha256(made.read_bytes()).hexdigest() != row.sha256:
        raise InputError(f"{made}: is not the head that the finished run made: begin again elsewhere")
    return Trained(made, row.sha256, row.step, row.step, row.seconds, {})


def _refuse_others(folder: RunFolder) -> None:
    """Refuse a folder with what is not of a run of this kind: it would be written over, or removed at the end."""
    if folder.begun.exists():
        return  # which `begin` refuses
    if (folder.path / STATE).exists():
        raise UsageError(f"{folder.path}: holds another run: name another folder")
    if (folder.path / POOL).exists():
        raise UsageError(f"{folder.path / POOL}: is in the way of the run's own: name another folder")


def _config(
    model: WhiteBox, recipe: HeadRecipe, layers: tuple[int, ...], sizes: tuple[int, ...]
) -> MaskHeadConfig:
    """Describe the head of a run. Raises `UsageError` for a size at which the model does not see photos."""
    if recipe.size not in sizes:
        listed = ", ".join(map(str, sizes))
        raise UsageError(
            f"size is {recipe.size}: the model sees photos at {listed} px, and a head works on one"
        )
    return MaskHeadConfig(
        model_sha256=recipe.model_sha256,
        layers=layers,
        heads=model.heads,
        token_width=_token_width(model),
        sizes=sizes,
        size=recipe.size,
        width=recipe.width,
        reads=recipe.reads,
    )


def _inputs(photos: str | Path | Sequence[str | Path], *, recursive: bool) -> Inputs:
    named = [photos] if isinstance(photos, str | Path) else photos
    return Inputs(tuple(map(str, named)), recursive=recursive)


def _paths(inputs: Inputs, output: Path) -> list[Path]:
    """List the photos, those of folders first.

    Raises `NothingMatchedError` where none is, `InputError` where none is there, `UsageError` for standard input.
    """
    for name in (*inputs.named, *inputs.listed):
        refuse_url(name, piped="")
    if packed := inputs.packed:
        raise UsageError(f"{packed[0].name}: photos to learn from are files: unpack it first")
    if STDIN in inputs.loose:
        raise UsageError("photos to learn from are files: standard input cannot be read twice")
    passed: list[Path] = []
    paths = [Path(name) for name in inputs.loose]
    for folder in reversed(inputs.folders):
        found = inputs.photos(folder, os.path.realpath(output))
        passed += found.passed
        paths = [*found.photos, *paths]
    if not paths:
        raise inputs.none_found(passed)
    if not any(path.exists() for path in paths):
        images.refuse_missing(paths[0], str(paths[0]))
    return list(dict.fromkeys(paths))


def _recipe(
    model: WhiteBox, given: dict[str, str], changes: Mapping[str, str], folder: RunFolder | None
) -> HeadRecipe:
    """Make the recipe of a new run, or check the one of the run in the folder. Raises `UsageError`."""
    if folder is None:
        size = min(defaults(model).segment.sizes, key=lambda side: abs(side - model.image_size))
        return HeadRecipe(**(HeadRecipe(size=size).changed(changes).to_dict() | given))
    if changes:
        raise UsageError("a run is resumed with its own recipe: nothing in it can be changed")
    recipe = folder.recipe(read_head_recipe)
    for name, value in given.items():
        if getattr(recipe, name) != value:
            raise UsageError(f"the {_WHAT[name]} not what the run in {folder.path} was started with")
    return recipe


def _given(
    model: WhiteBox, lessons: Lessons, paths: Sequence[Path], prints: Sequence[np.ndarray]
) -> dict[str, str]:
    """Give the settings that the arguments of a run decide."""
    names = "\0".join(map(str, paths)).encode("utf-8", "surrogateescape")
    held_out = hashlib.sha256(b"".join(each.tobytes() for each in prints)).hexdigest() if prints else ""
    values = lessons.name, model.weights_digest(), hashlib.sha256(names).hexdigest(), held_out
    return dict(zip(GIVEN, values, strict=True))


def _token_width(model: WhiteBox) -> int:
    """Give the channels of a layer's subspace tokens."""
    import torch

    with torch.inference_mode():
        side = model.patch_size
        parameter = next(model.parameters())
        state = next(
            model.unroll(torch.zeros(1, 3, side, side, device=parameter.device, dtype=parameter.dtype))
        )
        subspaces = state.subspaces
    return int(subspaces.shape[1] * subspaces.shape[3])


def _thumbprints(folders: Sequence[str | Path]) -> tuple[list[str], list[np.ndarray]]:
    """Describe the photos that are held out. Raises `InputError` for one that cannot be read."""
    paths = [path for folder in folders for path in _paths(_inputs(folder, recursive=True), Path(os.devnull))]
    return [str(path) for path in paths], [thumbprint(images.read(path)) for path in paths]


def _stopping(watch: Watch, began: float) -> Callable[[], bool]:
    def stop() -> bool:
        limit = watch.limit_minutes
        return watch.stop() or (limit is not None and time.monotonic() - began > 60 * limit)

    return stop


def _tell(rows: Sequence[TaughtPhoto], watch: Watch) -> None:
    """Say what was left out. Raises `NothingMatchedError` where nothing could be read."""
    bad = [row.photo for row in rows if row.error is not None]
    alike = [row.photo for row in rows if row.duplicate_of is not None]
    if bad:
        watch.on_note(f"passed over, as they cannot be used: {name_some(bad)}")
    if alike:
        watch.on_note(f"left out, near-duplicates of photos held out: {name_some(alike)}")
    if len(bad) + len(alike) == len(rows):
        raise NothingMatchedError("no photo is left to learn from")
