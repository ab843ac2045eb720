"""`crate train`: supervised training on class labels, exactly resumable."""

import json
import logging
from collections.abc import Callable
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli import options
from cratecli.cli.console import put, shown, tell
from cratecli.cli.signals import finishing
from cratecli.cli.train_progress import TrainProgress
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.model.crate import Crate
    from cratecli.training.watch import Trained

_MEASURES = ("saliency",)


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A folder or tar of classes, or of `train` and `val`; see --dataset."
        ),
    ],
    *,
    output: options.RunFolder,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="in1k, in21k, nano, finetune, or a TOML file.  [default: in1k]",
        ),
    ] = None,
    set_: options.Changes = None,
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
    resume: options.ResumeTraining = False,
    limit_minutes: options.LimitMinutes = None,
    evaluate: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="saliency PATH", help="Measure saliency from attention on these photos, on the way."
        ),
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            min=0.001, metavar="EPOCHS", help="How often to validate, evaluate and save the checkpoint."
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
    was not. Several processes: `torchrun --nproc-per-node N -m cratecli train …`.
    """
    changes = read_changes(set_)
    if resume and (recipe or changes or init):
        raise UsageError("--resume goes on with the run's own recipe: no --recipe, --set or --init")

    from cratecli.training.train import train as run
    from cratecli.training.watch import Watch

    logging.getLogger("timm").setLevel(logging.ERROR)
    logging.getLogger("cratecli").setLevel(logging.ERROR if quiet else logging.WARNING)
    measure = _measure(evaluate)
    first = environ.get("RANK", "0") == "0"  # of the processes that `torchrun` started
    with finishing() as stop, TrainProgress(quiet=quiet or not first, progress=not no_progress) as view:
        done = run(
            data,
            output,
            recipe,
            changes=changes,
            init=init,
            dataset=dataset,
            split=split,
            val=val,
            resume=resume,
            workers=workers,
            device=device,
            dtype=dtype,
            compiled=compile_,
            watch=Watch(
                measure=measure,
                every=every,
                limit_minutes=limit_minutes,
                on_row=view.row,
                on_step=view.step,
                on_note=view.note,
                stop=stop,
            ),
        )
    if first:
        show_trained(done, json_=json_)
    if stop():
        raise SystemExit(stop.exit_code)


def show_trained(done: "Trained", *, json_: bool) -> None:
    """Write the checkpoint's path, or the record of the run, to stdout."""
    if json_:
        from cratecli.training.records import TrainedRecord

        record = TrainedRecord(
            checkpoint=str(done.checkpoint),
            sha256=done.sha256,
            done=done.done,
            step=done.step,
            steps=done.steps,
            seconds=round(done.seconds, 1),
            **{name: round(value, 6) for name, value in done.measures.items()},
        )
        put([json.dumps([record.model_dump(mode="json")], indent=2)])
    else:
        put(shown([str(done.checkpoint)]))
    if not done.done:
        tell(f"stopped after step {done.step} of {done.steps}; --resume goes on from here")


def read_changes(given: list[str] | None) -> dict[str, str]:
    """Split every NAME=VALUE. Raises `UsageError`."""
    changes = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise UsageError(f"--set {each!r} is not NAME=VALUE")
        changes[name.strip().replace("-", "_")] = value.strip()
    return changes


def _measure(evaluate: tuple[str, Path] | None) -> Callable[["Crate"], dict[str, float]] | None:
    """Give the function that measures saliency from attention. Raises what `crate evaluate` raises for the photos."""
    if evaluate is None:
        return None
    kind, path = evaluate
    if kind not in _MEASURES:
        raise UsageError(f"--evaluate {kind!r} is not one of {', '.join(_MEASURES)}")
    from cratecli.evaluation.saliency import evaluate_saliency
    from cratecli.io.datasets import SALIENCY, paired

    paired(path, SALIENCY)

    def measure(model: "Crate") -> dict[str, float]:
        rows = evaluate_saliency(
            path, model, heads="agree", refine="none", mean_of_heads=True, oracle=True, resamples=0
        )
        return {f"{name} IoU": rows[name]["IoU"] for name in ("agree", "mean of heads", "oracle")}

    return measure
