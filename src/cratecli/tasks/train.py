"""Train a CRATE on class labels: plain supervised, exactly resumable, watched as segmentation emerges."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from cratecli.errors import UsageError
from cratecli.model.crate import Crate
from cratecli.tasks.train_recipe import TrainRecipe, read_recipe
from cratecli.tasks.train_run import UNWATCHED, Run, Trained, Watch, accelerated
from cratecli.tasks.train_sources import Labelled, open_source, training_source, validation_source
from cratecli.tasks.train_state import RunFolder
from cratecli.weights.checkpoint import load_model

_MOST_WORKERS = 8  # that are chosen unasked


def train(
    data: str | Path,
    output: str | Path,
    recipe: TrainRecipe | str | None = None,
    *,
    changes: Mapping[str, str] = MappingProxyType({}),
    init: Crate | str | Path | None = None,
    dataset: str = "",
    split: str | None = None,
    val: str | None = None,
    resume: bool = False,
    workers: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    compiled: bool = False,
    watch: Watch = UNWATCHED,
) -> Trained:
    """Train from random weights, or from the model `init`, and leave a checkpoint in the folder `output`.

    `data` is a folder or tar of classes, or a folder of such `train` and `val`; with `dataset`, timm's name of a kind
    of data set, it is that kind's root. `recipe` is a recipe, the name of one, or a TOML file; none is the paper's
    `in1k`, or `finetune` with `init`; `changes` replace its values, as text, by name. `val` and `split` name other
    splits. `workers` are processes that read images. A run that was stopped goes on with `resume`, and ends with the
    bits of an unbroken one, on the same machine with as many threads and processes. Started by `torchrun`,
    it is one of several processes, of which the first writes.
    Raises `UsageError` for what makes no sense or does not fit the run in the folder, `NothingMatchedError` where no
    images are, `InputError` for broken data or a loss that is no number, `OutputError`, `DeviceError`, and what
    `load_model` raises.
    """
    folder = RunFolder(Path(output))
    initial = None
    if resume:
        if recipe or changes or init:
            raise UsageError("a run is resumed with its own recipe: nothing in it can be changed")
        chosen = folder.recipe()
    else:
        named = recipe or ("finetune" if init else "in1k")
        chosen = named if isinstance(named, TrainRecipe) else read_recipe(named)
        if init:
            initial = _starting_point(init)
            chosen = replace(chosen, model=initial.config)
        chosen = chosen.changed(changes)
        if initial:
            _check_fits(initial, chosen)
    opened, validation = _open(Path(data), chosen, dataset=dataset, split=split, val=val, watch=watch)
    if opened.classes:
        chosen = replace(chosen, model=replace(chosen.model, classes=opened.classes))
    with accelerated(device, dtype) as accelerator:
        run = Run(opened, validation, chosen, folder, accelerator, workers=_workers(workers), watch=watch)
        run.prepare(initial, resume=resume, compiled=compiled)
        return run.go()


def _open(
    data: Path, recipe: TrainRecipe, *, dataset: str, split: str | None, val: str | None, watch: Watch
) -> tuple[Labelled, Labelled | None]:
    """Open what to train and to validate on, and say what it is."""
    source = training_source(data, dataset, split)
    opened = open_source(source, recipe, training=True)
    classes = f"{opened.classes or recipe.model.classes} classes"
    watch.noted(f"{source}: {opened.images:,} images of {classes}")
    held = validation_source(data, dataset, val)
    if held is None:
        watch.noted(f"{data}: no split to validate on, so accuracy is not measured; --val names one")
        return opened, None
    return opened, open_source(held, recipe, training=False, labels=opened.labels)


def _starting_point(init: Crate | str | Path) -> Crate:
    model = init if isinstance(init, Crate) else load_model(init, device="cpu", dtype="float32")
    if not isinstance(model, Crate):
        raise UsageError(f"{init} is a ViT from timm: only a CRATE can be trained")
    return model


def _check_fits(initial: Crate, recipe: TrainRecipe) -> None:
    """Raise `UsageError` where the recipe asks for another model than the one to start from."""
    free = {"image_size": 0, "classes": 0}
    ours, theirs = recipe.model.to_dict() | free, initial.config.to_dict() | free
    if differs := [name for name in ours if ours[name] != theirs[name]]:
        raise UsageError(f"{', '.join(differs)} of the model to start from cannot be changed")


def _workers(asked: int | None) -> int:
    """Take as many as asked for, or half the cores."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores // 2))
