"""`crate train`: supervised training on class labels, exactly resumable."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli import options
from cratecli.cli.options import put, tell
from cratecli.cli.signals import finishing
from cratecli.cli.trainview import TrainView
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.model.crate import Crate
    from cratecli.tasks.train_recipe import TrainRecipe

_JUDGES = ("saliency",)


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A folder or tar of classes, or of `train` and `val`; see --dataset."
        ),
    ],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", file_okay=False, help="The run's folder.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="in1k, in21k, nano, finetune, or a TOML file.  [default: in1k]",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Replace a value of the recipe or its model; repeatable."
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option("--init", metavar="NAME|FILE", help="Fine-tune this model, instead of random weights."),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option("--val", metavar="NAME|PATH", help="The split, folder or tar to validate on."),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="timm's name of the kind of data set: wds/, hfds/USER/NAME, torch/cifar10."
        ),
    ] = "",
    split: Annotated[str | None, typer.Option(metavar="NAME", help="The split to train on.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    limit_minutes: Annotated[
        float | None, typer.Option(min=0.0, metavar="N", help="Stop after this time, to be resumed later.")
    ] = None,
    evaluate: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="saliency PATH", help="Measure what attention finds in these photos, on the way."
        ),
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            min=0.001, metavar="EPOCHS", help="How often to validate, evaluate and keep the checkpoint."
        ),
    ] = 1.0,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=256, help="Processes that read images.  [default: half the cores]"),
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the step with torch.compile.")] = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Train a CRATE on class labels alone, or fine-tune one.

    The folder gets the recipe, metrics.jsonl, the state to resume from, and model.safetensors, which every command
    takes with -m. A run that was stopped or killed goes on with --resume, and ends with the same weights as one that
    was not. Several processes: `accelerate launch -m cratecli train …`.
    """
    from cratecli.tasks.train_recipe import read_recipe
    from cratecli.tasks.train_state import RunFolder

    folder = RunFolder(output)
    changes = _changes(set_)
    if resume:
        if recipe or set_ or init:
            raise UsageError("--resume goes on with the run's own recipe: no --recipe, --set or --init")
        chosen, initial = folder.recipe(), None
    else:
        chosen = read_recipe(recipe or ("finetune" if init else "in1k"))
        initial = _load(init) if init else None
        if initial:
            chosen = replace(chosen, model=replace(initial.config))
        chosen = chosen.changed(changes)
        if initial:
            _check_kept(initial, chosen)
    judge = _judge(evaluate)

    from cratecli.tasks.train import Watch
    from cratecli.tasks.train import train as run
    from cratecli.tasks.train_data import find_source, open_source

    training = find_source(data, dataset, "train", split)
    assert training is not None  # `data` itself can train
    opened = open_source(training, chosen, training=True)
    if not opened.classes and "classes" in changes:
        opened = replace(opened, classes=chosen.model.classes)
    held = find_source(data, dataset, "val", val)
    validation = open_source(held, chosen, training=False, labels=opened.labels) if held else None
    first = int(os.environ.get("RANK", "0")) == 0
    view = TrainView(quiet=quiet or not first, progress=not no_progress)
    if not validation:
        view.note(f"{data}: no split to validate on: accuracy is not measured")
    with finishing() as stop, view:
        view.opening(opened.images, opened.classes or chosen.model.classes, str(training))
        done = run(
            opened,
            validation,
            chosen,
            folder,
            init=initial,
            resume=resume,
            workers=_workers(workers),
            device=device,
            dtype=dtype,
            compiled=compile_,
            watch=Watch(judge, every, limit_minutes, view.row, view.step, stop),
        )
    if not first:
        return
    if json_:
        record = {
            "checkpoint": str(done.checkpoint),
            "sha256": done.sha256,
            "done": done.done,
            "step": done.step,
        }
        put([json.dumps(record | {"steps": done.steps, "seconds": round(done.seconds, 1), **done.measures})])
    else:
        put(options.shown([str(done.checkpoint)]))
    if not done.done:
        tell(f"stopped after step {done.step} of {done.steps}; --resume goes on from here")
    if stop():
        raise SystemExit(stop.exit_code)


def _changes(given: list[str] | None) -> dict[str, str]:
    changes = {}
    for each in given or ():
        name, found, value = each.partition("=")
        if not found:
            raise UsageError(f"--set {each!r} is not NAME=VALUE")
        changes[name.strip().replace("-", "_")] = value.strip()
    return changes


def _workers(asked: int | None) -> int:
    return (
        asked
        if asked is not None
        else max(
            1,
            min(
                8,
                len(os.sched_getaffinity(0)) // 2
                if hasattr(os, "sched_getaffinity")
                else (os.cpu_count() or 2) // 2,
            ),
        )
    )


def _load(init: str) -> "Crate":
    from cratecli.model.crate import Crate
    from cratecli.weights.checkpoint import load_model

    model = load_model(init, device="cpu", dtype="float32")
    if not isinstance(model, Crate):
        raise UsageError(f"{init} is a ViT from timm: only a CRATE can be fine-tuned here")
    return model


def _check_kept(initial: "Crate", recipe: "TrainRecipe") -> None:
    """Raise `UsageError` where the recipe asks for another model than the one that is fine-tuned."""
    ours = recipe.model.to_dict() | {"image_size": 0, "classes": 0}
    theirs = initial.config.to_dict() | {"image_size": 0, "classes": 0}
    if differs := [name for name in ours if ours[name] != theirs[name]]:
        raise UsageError(f"{', '.join(differs)} of the model that is fine-tuned cannot be changed")


def _judge(asked: tuple[str, Path] | None) -> Callable[["Crate"], dict[str, float]] | None:
    """Give the measure of what attention finds. Raises what `crate evaluate` raises, before anything is trained."""
    if asked is None:
        return None
    kind, path = asked
    if kind not in _JUDGES:
        raise UsageError(f"--evaluate {kind!r} is not one of {', '.join(_JUDGES)}")
    from cratecli.io.datasets import paired
    from cratecli.tasks.evaluate_saliency import evaluate_saliency

    paired(path, "masks")

    def judge(model: "Crate") -> dict[str, float]:
        rows = evaluate_saliency(path, model, refine="none", mean_of_heads=True, oracle=True, resamples=0)
        return {f"{name} IoU": rows[name]["IoU"] for name in ("auto", "mean of heads", "oracle")}

    return judge
