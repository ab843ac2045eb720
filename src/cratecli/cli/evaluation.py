"""The options that the commands of `crate evaluate` share, and the evaluation of one model after another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cratecli.cli import options
from cratecli.cli.console import put
from cratecli.cli.options import flag_of
from cratecli.cli.report import Report
from cratecli.cli.signals import Stop, finishing
from cratecli.cli.tables import as_json, as_markdown, as_table
from cratecli.errors import OutputError, UsageError
from cratecli.evaluation.options import PairOptions

if TYPE_CHECKING:
    from cratecli.evaluation.finished import OpenRun, RunProtocol
    from cratecli.evaluation.protocol import Judged, ModelProtocol
    from cratecli.evaluation.result import Evaluation
    from cratecli.model.engine import Model

    ChooseRun = Callable[[OpenRun], RunProtocol[Any]]
    ChooseProtocol = Callable[[Model], ModelProtocol[Any]]

Data = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the data set.")]
Runs = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Judge the masks of a finished run, and ask no model: its folder, or a .parquet or .tar of it; "
        "repeatable.",
    ),
]

OF_MODELS = ("model", "scores", "resume", "device", "dtype", "batch_size", "features_cache", "max_pixels")
"""Options that a finished run has no use for: no model is asked, and scores are not kept."""


@dataclass(frozen=True)
class EvaluationRun:
    """Which models are evaluated, how, and how the result is printed."""

    PANEL: ClassVar = "How it runs, and what is printed"

    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="A model of `crate models list`, or a checkpoint file; repeatable.",
        ),
    ] = None
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            metavar="DIR",
            file_okay=False,
            help="Write the scores of each photo into this folder; by default, into the cache.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Use the scores of an earlier run: photos that have them are not evaluated again.",
        ),
    ] = False
    resamples: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Bootstrap samples of the photos, for confidence intervals; 0 for none."
        ),
    ] = 1000
    resample_seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.")] = 0
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    batch_size: options.BatchSize = 8
    features_cache: options.FeaturesCache = None
    max_pixels: options.MaxPixels = None
    fail_fast: options.FailFast = False
    no_progress: options.NoProgress = False
    json_: Annotated[bool, typer.Option("--json", help="Print records as one JSON array, one a model.")] = (
        False
    )
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False
    quiet: options.Quiet = False

    def judge(self, runs: Sequence[str], asked: Mapping[str, Any], choose: "ChooseRun") -> None:
        """Judge every run by the protocol chosen for it, and print the results.

        Raises `UsageError` for an option that decides what a model is asked, and what opening a run, and reading the
        data set, raises.
        """
        self._refuse_both_forms()
        self._refuse_model_options(asked)
        from cratecli.evaluation.finished import judge_run, opened

        with self._report() as report, finishing() as stop, ExitStack() as open_:
            protocols = [choose(open_.enter_context(opened(run))) for run in dict.fromkeys(runs)]
            self._print(
                [
                    judge_run(
                        protocol,
                        resamples=self.resamples,
                        resample_seed=self.resample_seed,
                        note=report.note,
                        stopping=stop,
                        follow=self._follow(report, len(protocol.pairs), stop),
                    )
                    for protocol in protocols
                ]
            )

    def _refuse_model_options(self, asked: Mapping[str, Any]) -> None:
        given = [name for name in asked if name not in PairOptions.__annotations__]
        given += [
            each.name
            for each in fields(self)
            if each.name in OF_MODELS and getattr(self, each.name) != each.default
        ]
        if given:
            raise UsageError(f"{flag_of(given[0]).long} is of no use with --run: its masks are made")

    def evaluate(self, choose: "ChooseProtocol") -> None:
        """Evaluate every model by the protocol chosen for it, and print the results.

        Raises `UsageError` and `WeightsError` before any model is evaluated, and what reading the data set raises.
        """
        self._refuse_both_forms()
        from cratecli.weights.checkpoint import load_model

        names = self._names()
        with self._report() as report, finishing() as stop:
            for name in names[1:]:  # what is wrong with the last is said before the first is evaluated
                choose(load_model(name, device="cpu"))
            self._print([self._evaluate_one(name, choose, report, stop) for name in names])

    def _refuse_both_forms(self) -> None:
        if self.json_ and self.markdown:
            raise UsageError("--json and --markdown exclude each other")

    def _report(self) -> Report:
        return Report(
            json_=False,
            jsonl=False,
            quiet=self.quiet,
            progress=not self.no_progress,
            fail_fast=self.fail_fast,
        )

    def _follow(
        self, report: Report, photos: int, stop: Stop, *, passes: int = 1, resumable: bool = False
    ) -> "Callable[[Judged[Any]], Iterator[object]]":
        from cratecli.records import Record

        def follow(outcomes: "Judged[Any]") -> Iterator[object]:
            for judged in report.through(outcomes, photos, stop, resumable=resumable, passes=passes):
                report.done(Record())
                yield judged

        return follow

    def _names(self) -> Sequence[str | None]:
        """List the models, each once. Raises for one that is not on this machine."""
        from cratecli.weights.fetch import present
        from cratecli.weights.registry import load_registry

        for name in self.model or ():
            if not Path(name).is_file():
                present(load_registry().find(name))
        return list(dict.fromkeys(self.model)) if self.model else [None]

    def _evaluate_one(
        self, name: str | None, choose: "ChooseProtocol", report: Report, stop: Stop
    ) -> "Evaluation":
        from cratecli.evaluation.run import run_protocol
        from cratecli.io.opening import MAX_PIXELS
        from cratecli.runs.cache import FeatureCache
        from cratecli.runs.desk import Desk
        from cratecli.runs.views import describe
        from cratecli.weights.checkpoint import load_model

        model = load_model(name, device=self.device, dtype=self.dtype)
        protocol = choose(model)
        report.note(describe(model, protocol.summary))

        desk = Desk(
            model,
            self.batch_size,
            FeatureCache(self.features_cache, model) if self.features_cache else None,
            max_pixels=self.max_pixels or MAX_PIXELS,
            stopping=stop,
            note=report.note,
        )
        return run_protocol(
            protocol,
            desk,
            scores=self.scores or self._default_scores(report),
            resume=self.resume,
            resamples=self.resamples,
            resample_seed=self.resample_seed,
            follow=self._follow(report, len(protocol.pairs), stop, passes=protocol.passes, resumable=True),
        )

    def _default_scores(self, report: Report) -> Path | None:
        """Choose the folder of scores in the cache; none, with a note, where nothing can be written there.

        Raises `OutputError` to resume without one.
        """
        from tempfile import TemporaryFile

        from cratecli.weights.fetch import cache_folder

        folder = cache_folder() / "evaluate"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            hint = "--scores DIR, or CRATE_CACHE_DIR, names another folder"
            fault = f"{folder}: scores cannot be written: {error.strerror or error}; {hint}"
        if self.resume:
            raise OutputError(fault)
        report.note(f"{fault}; without, --resume will have none")
        return None

    def _print(self, evaluations: "Sequence[Evaluation]") -> None:
        write = as_json if self.json_ else as_markdown if self.markdown else as_table
        put([write(evaluations)])
