"""Run an evaluation protocol from its first photo to its result."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from cratecli.evaluation.intervals import RESAMPLES
from cratecli.evaluation.options import RunOptions
from cratecli.evaluation.protocol import Judged, JudgedPhoto, ModelProtocol
from cratecli.evaluation.result import Evaluation
from cratecli.evaluation.scores import Scores
from cratecli.model.engine import Model
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure
from cratecli.runs.views import as_model
from cratecli.wording import count_of


def first_failure_ends(outcomes: Judged[Scores]) -> Iterator[object]:
    """Follow an evaluation. Raises the error of the first bad photo."""
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                raise outcome.error
            yield outcome


def run_protocol(
    protocol: ModelProtocol[Scores],
    desk: Desk,
    *,
    scores: Path | None = None,
    resume: bool = False,
    resamples: int = RESAMPLES,
    resample_seed: int = 0,
    follow: Callable[[Judged[Scores]], Iterable[object]] = first_failure_ends,
) -> Evaluation:
    """Judge all photos of a protocol, and compute the measures; see `RunOptions`.

    `follow` hands on the outcomes, and decides what becomes of failures.
    Raises `InputError` where no photo could be judged, `OutputError` where scores cannot be written.
    """
    judged: dict[str, JudgedPhoto[Scores]] = {}
    desk = replace(desk, range=protocol.settings["range"])
    with protocol.open_store(scores, resume=resume) as store:
        for outcome in follow(protocol.judge_all(desk, store)):
            if isinstance(outcome, JudgedPhoto):
                judged[outcome.name] = outcome
    if known := sum(each.known for each in judged.values()):
        desk.note(f"{count_of(known, 'photo', ('was', 'were'))} evaluated before")
    by_name = {name: each.scores for name, each in judged.items()}
    return protocol.conclude(by_name, resamples=resamples, resample_seed=resample_seed)


def evaluate(
    choose_protocol: Callable[..., ModelProtocol[Any]],
    path: str | Path,
    model: Model | str | Path | None,
    *,
    batch_size: int = 8,
    **asked: Any,
) -> Evaluation:
    """Evaluate a model on a data set, as the `evaluate_…` functions do; what is no `RunOptions` is the protocol's."""
    running = {name: asked.pop(name) for name in RunOptions.__annotations__ if name in asked}
    protocol = choose_protocol(Path(path), as_model(model), **asked)
    return run_protocol(protocol, Desk(protocol.model, batch_size), **running)
