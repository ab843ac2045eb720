"""Train a CRATE on class labels: plain supervised, exactly resumable, watched as segmentation emerges."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from cratecli.errors import UsageError
from cratecli.model.crate import Crate
from cratecli.model.device import choose_device
from cratecli.training.folder import RunFolder
from cratecli.training.recipe import TrainRecipe, read_recipe
from cratecli.training.run import Run
from cratecli.training.sources import Labelled, Source, open_source, training_source, validation_source
from cratecli.training.watch import UNWATCHED, Trained, Watch
from cratecli.weights.checkpoint import load_model

_MOST_WORKERS = 8  # that are chosen unasked
_PATIENCE = timedelta(hours=6)  # of processes that wait while the first measures and keeps


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
    told = resume or isinstance(recipe, TrainRecipe) or "classes" in changes
    source = training_source(Path(data), dataset, split)
    held = validation_source(Path(data), source, val)
    with _accelerated(device, dtype) as accelerator:
        ranks = accelerator.num_processes  # streams are dealt out by timm, to processes that know each other
        opened, validation = _open(source, held, chosen, ranks, watch)
        chosen = _with_classes(chosen, opened, told=told, asked=changes.get("classes"))
        run = Run(opened, validation, chosen, folder, accelerator, workers=_workers(workers), watch=watch)
        try:
            run.prepare(initial, resume=resume, compiled=compiled)
            return run.go()
        finally:
            folder.close()


def _with_classes(recipe: TrainRecipe, data: Labelled, *, told: bool, asked: str | None) -> TrainRecipe:
    """Give the model as many classes as the data set has. Raises `UsageError` where nobody knows, or they differ."""
    if not data.classes and not told:
        raise UsageError("how many classes the data set has, it does not tell: --set classes=N does")
    if data.classes and asked and recipe.model.classes != data.classes:
        raise UsageError(f"the data set has {data.classes} classes, not {asked}")
    return replace(recipe, model=replace(recipe.model, classes=data.classes or recipe.model.classes))


def _open(
    source: Source, held: Source | None, recipe: TrainRecipe, ranks: int, watch: Watch
) -> tuple[Labelled, Labelled | None]:
    """Open what to train and to validate on, and say what it is."""
    opened = open_source(source, recipe, training=True, ranks=ranks)
    classes = f"{opened.classes or recipe.model.classes} classes"
    left = f"; {opened.left_out} left out, which are no files or links to others" if opened.left_out else ""
    watch.noted(f"{source}: {opened.images:,} images of {classes}{left}")
    if held is None:
        watch.noted("no split to validate on, so accuracy is not measured; --val names one")
        return opened, None
    return opened, open_source(held, recipe, training=False, labels=opened.labels, ranks=ranks)


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


@contextmanager
def _accelerated(device: str, dtype: str) -> Iterator[Accelerator]:
    """Give the accelerator for a device of ours; its global state is gone afterwards."""
    if ":" in device and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"device {device}: of several processes each takes a GPU of its own; leave the number out"
        )
    place, number = choose_device(device, dtype)
    before = os.environ.get("ACCELERATE_TORCH_DEVICE")
    if place.index is not None:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(place)
    try:
        precision = "bf16" if number is torch.bfloat16 else "no"
        patience = InitProcessGroupKwargs(timeout=_PATIENCE)
        accelerator = Accelerator(
            cpu=place.type == "cpu", mixed_precision=precision, kwargs_handlers=[patience]
        )
        yield accelerator
        accelerator.end_training()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
        if before is not None:
            os.environ["ACCELERATE_TORCH_DEVICE"] = before
