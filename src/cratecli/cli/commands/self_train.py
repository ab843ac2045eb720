"""`crate self-train`: a mask head from photos without a label, exactly resumable."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli import options
from cratecli.cli.commands.train import read_changes, show_trained
from cratecli.cli.console import tell
from cratecli.cli.groups import grouped
from cratecli.cli.photos import PhotoOptions
from cratecli.cli.signals import finishing
from cratecli.cli.train_progress import TrainProgress
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.training.watch import Trained


@grouped
def self_train(
    photos: PhotoOptions,
    *,
    output: options.RunFolder,
    model: options.Model = None,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="chooser|built-in|FILE",
            help="Who says what is object: what `segment` votes for, its own head, or a head of an earlier round.",
        ),
    ] = "chooser",
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            "--held-out", metavar="DIR", help="Leave out near-duplicates of the photos in here; repeatable."
        ),
    ] = None,
    set_: options.Changes = None,
    resume: options.ResumeTraining = False,
    limit_minutes: options.LimitMinutes = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    json_: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Train a mask head for a model on photos of your own, without a label or a mask.

    The model's attention says of each photo what the object is. Objects that it is sure of are cut out and pasted onto
    object-free grounds, thousands of times: of these pictures the true mask is known, and a small network learns it
    from the photo and the model's features. `crate segment --head DIR/head.safetensors` uses it.
    The folder gets the recipe, taught.jsonl, metrics.jsonl, the state to resume from, and head.safetensors. A run that
    was stopped or killed goes on with --resume, and ends with the same bytes as one that was not.
    """
    changes = read_changes(set_)
    if resume and changes:
        raise UsageError("--resume goes on with the run's own recipe: no --set")
    inputs = photos.inputs()

    from cratecli.tasks.self_train import self_train as run
    from cratecli.training.watch import Watch
    from cratecli.weights.checkpoint import load_model

    logging.getLogger("timm").setLevel(logging.ERROR)
    logging.getLogger("cratecli").setLevel(logging.ERROR if quiet else logging.WARNING)
    ready = load_model(model, device=device, dtype=dtype)
    done: Trained | None
    with finishing() as stop, TrainProgress(quiet=quiet, progress=not no_progress) as view:
        done = run(
            inputs,
            output,
            ready,
            changes=changes,
            teacher=teacher,
            held_out=held_out or (),
            resume=resume,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
            watch=Watch(
                limit_minutes=limit_minutes,
                on_row=view.row,
                on_step=view.step,
                on_note=view.note,
                stop=stop,
            ),
        )
    if done is None:
        tell("no head yet; --resume goes on from here")
    else:
        show_trained(done, json_=json_)
    if stop():
        raise SystemExit(stop.exit_code)
