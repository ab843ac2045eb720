"""What the commands of `crate evaluate` share: which models, where scores are kept, and the run over photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cratecli.cli import options
from cratecli.cli.console import put
from cratecli.cli.report import Report, what_runs
from cratecli.cli.signals import Stop, finishing
from cratecli.cli.tables import as_json, as_markdown, as_table
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.evaluation.protocol import Trial
    from cratecli.evaluation.result import Evaluation
    from cratecli.model.unroll import WhiteBox

    Prepared = Callable[[WhiteBox], Trial]

Data = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the data set.")]


@dataclass(frozen=True)
class Judging:
    """Which models are judged, on what, and how it is told."""

    PANEL: ClassVar = "How it runs, and what is told"

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
            help="Keep what is found out of each photo in this folder; else among what is cached.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Believe the scores that are kept: such photos are not judged again."),
    ] = False
    resamples: Annotated[
        int,
        typer.Option(min=0, max=100_000, help="How often photos are drawn again for intervals; 0 for none."),
    ] = 1000
    seed: Annotated[int, typer.Option(min=0, help="Decides which photos are drawn.")] = 0
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

    def judge(self, prepare: "Prepared") -> None:
        """Judge every model by what `prepare` makes for it, and print the numbers.

        Raises `UsageError` and `WeightsError` before anything is judged, and what reading the data set raises.
        """
        if self.json_ and self.markdown:
            raise UsageError("--json and --markdown exclude each other")
        from cratecli.weights.checkpoint import load_model

        names = self._names()
        report = Report(
            json_=False,
            jsonl=False,
            quiet=self.quiet,
            progress=not self.no_progress,
            fail_fast=self.fail_fast,
        )
        with report, finishing() as stop:
            for name in names[1:]:  # what is wrong with the last is said before the first is judged
                prepare(load_model(name, device="cpu"))
            found = [self._one(name, prepare, report, stop) for name in names]
            self._print(found)

    def _names(self) -> Sequence[str | None]:
        """List the models, each once. Raises for one that is not on this machine."""
        from cratecli.weights.fetch import present
        from cratecli.weights.registry import load_registry

        for name in self.model or ():
            if not Path(name).is_file():
                present(load_registry().find(name))
        return list(dict.fromkeys(self.model)) if self.model else [None]

    def _one(self, name: str | None, prepare: "Prepared", report: Report, stop: Stop) -> "Evaluation":
        """Judge one model."""
        from cratecli.evaluation.protocol import Judged
        from cratecli.evaluation.result import Resampling
        from cratecli.io.opening import MAX_PIXELS
        from cratecli.runs.batch import Desk
        from cratecli.runs.cache import FeatureCache
        from cratecli.weights.checkpoint import load_model
        from cratecli.weights.fetch import cache_folder

        model = load_model(name, device=self.device, dtype=self.dtype)
        trial = prepare(model)
        report.note(what_runs(model, trial.recipe_told))
        desk = Desk(
            model,
            self.batch_size,
            FeatureCache(self.features_cache, model) if self.features_cache else None,
            max_pixels=self.max_pixels or MAX_PIXELS,
            stopping=stop,
            note=report.note,
        )
        judged: dict[str, Judged] = {}
        folder = self.scores or cache_folder() / "evaluate"
        with trial.scores(folder, resume=self.resume) as scores:
            for stage in trial.stages(desk, scores):
                for outcome in report.through(stage, len(trial.pairs), stop, resumable=True):
                    if isinstance(outcome, Judged):
                        judged[outcome.name] = outcome
                        report.done({})
        if known := sum(each.known for each in judged.values()):
            report.note(f"{known} photos were judged before")
        found = {name: each.found for name, each in judged.items()}
        return trial.conclude(found, Resampling(self.resamples, self.seed))

    def _print(self, found: "Sequence[Evaluation]") -> None:
        if self.json_:
            put([as_json(found)])
        else:
            put([as_markdown(found) if self.markdown else as_table(found)])
