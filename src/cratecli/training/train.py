"""Train a CRATE on class labels: supervised, exactly resumable, and measured for segmentation on the way."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from accelerate import Accelerator

from cratecli.errors import UsageError
from cratecli.model.crate import Crate
from cratecli.training.accelerated import accelerated
from cratecli.training.batches import Share
from cratecli.training.folder import RunFolder
from cratecli.training.recipe import TrainRecipe, read_recipe
from cratecli.training.run import TrainingRun
from cratecli.training.setup import RunPlan, build_model, conditions_here, load_state, plan_run
from cratecli.training.sources import OpenedDataset, Source, open_source, training_source, validation_source
from cratecli.training.watch import UNWATCHED, Trained, Watch
from cratecli.weights.checkpoint import load_model
from cratecli.wording import count_of

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
    """Train from random weights, or fine-tune the model `init`, and write a checkpoint into the folder `output`.

    `data` is a folder or tar of classes, or a folder that holds `train` and `val`; with `dataset`, timm's name for a
    kind of data set, it is the root of one. `recipe` is a recipe, the name of one, or a TOML file; the default is the
    paper's `in1k`, or `finetune` with `init`. `changes` replace its settings, as text, by name. `split` and `val`
    name other splits to train and validate on. `workers` are processes that read images. A run that was stopped goes
    on with `resume`, and ends with the bits of an uninterrupted one, on the same machine with as many threads and
    processes. Under `torchrun` it is one of several processes, of which the first writes.

    Raises `UsageError` for arguments that make no sense or do not fit the run in the folder, `NothingMatchedError`
    where no images are, `InputError` for broken data or a loss that is no finite number, `OutputError`,
    `DeviceError`, and what `load_model` raises.
    """
    folder = RunFolder(Path(output))
    initial = None
    if resume:
        if recipe or changes or init:
            raise UsageError("a run is resumed with its own recipe: nothing in it can be changed")
        chosen = folder.recipe(read_recipe)
    else:
        named = recipe or ("finetune" if init else "in1k")
        chosen = named if isinstance(named, TrainRecipe) else read_recipe(named)
        if init:
            initial = _initial_model(init)
            chosen = replace(chosen, model=initial.config)
        chosen = chosen.changed(changes)
        if initial:
            _check_fits(initial, chosen)
    classes_given = resume or isinstance(recipe, TrainRecipe) or "classes" in changes
    source = training_source(Path(data), dataset, split)
    held = validation_source(Path(data), source, val)
    with accelerated(device, dtype) as accelerator:
        share = Share(accelerator.process_index, accelerator.num_processes)
        opened, validation = _open(source, held, chosen, share.ranks, watch)
        if not opened.classes and not classes_given:
            raise UsageError("the data set does not say how many classes it has: --set classes=N does")
        if opened.classes and "classes" in changes and chosen.model.classes != opened.classes:
            raise UsageError(
                f"the data set has {count_of(opened.classes, 'class')}, not {changes['classes']}"
            )
        if opened.classes:
            chosen = chosen.changed({"classes": str(opened.classes)})
        plan = plan_run(opened, validation, chosen, share, _count_workers(workers))
        try:
            run = _set_up(plan, initial, folder, accelerator, watch, resume=resume, compiled=compiled)
            return run.go()
        finally:
            folder.close()


def _set_up(
    plan: RunPlan,
    initial: Crate | None,
    folder: RunFolder,
    accelerator: Accelerator,
    watch: Watch,
    *,
    resume: bool,
    compiled: bool,
) -> TrainingRun:
    """Begin a run in its folder, or load its state, and build its model."""
    conditions = conditions_here(accelerator, compiled=compiled)
    plan = replace(plan, init=initial.weights if initial else None)
    writes, state = bool(accelerator.is_main_process), None
    if resume:
        state = load_state(plan, folder, conditions, watch, writes=writes)
        plan = replace(plan, workers=state.workers) if plan.data.streamed else plan
    elif writes:
        folder.begin(plan.recipe)
    accelerator.wait_for_everyone()
    model = build_model(plan, initial, state, accelerator, compiled=compiled)
    return TrainingRun(
        plan, model, folder, accelerator=accelerator, conditions=conditions, watch=watch, state=state
    )


def _open(
    source: Source, held: Source | None, recipe: TrainRecipe, ranks: int, watch: Watch
) -> tuple[OpenedDataset, OpenedDataset | None]:
    """Open the data to train and to validate on, and say in a line what it is."""
    opened = open_source(source, recipe, training=True, ranks=ranks)
    classes = count_of(opened.classes or recipe.model.classes, "class")
    left = f"; {opened.left_out} left out, which are no files or links to others" if opened.left_out else ""
    watch.on_note(f"{source}: {count_of(opened.images, 'image')} of {classes}{left}")
    if held is None:
        watch.on_note("no split to validate on, so accuracy is not measured; --val names one")
        return opened, None
    return opened, open_source(held, recipe, training=False, labels=opened.labels, ranks=ranks)


def _initial_model(init: Crate | str | Path) -> Crate:
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


def _count_workers(asked: int | None) -> int:
    """Take as many as asked for, or half the cores."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores // 2))
