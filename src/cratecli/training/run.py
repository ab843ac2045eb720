"""A training run: step by step, from the state it is resumed from, to its end or to where it is stopped."""

import time
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from accelerate import Accelerator

from cratecli.errors import InputError
from cratecli.model.engine import out_of_memory
from cratecli.training.folder import Progress, RunFolder, RunState
from cratecli.training.lesson import InTraining, Lesson
from cratecli.training.loader import DEAD_WORKER, KILLED
from cratecli.training.records import Conditions, LastRow, LossRow, MeasuresRow, MetricsRow
from cratecli.training.watch import Trained, Watch

_ROWS = 10  # of metrics, an epoch
_SAVE_SECONDS = 300.0
_DIVERGED = "lower the learning rate, or set clip_norm; the state that was kept before is as it was"


class TrainingRun:
    """A run that takes steps, measures the model, and keeps its state and checkpoint in a folder."""

    def __init__(
        self,
        plan: Lesson,
        model: InTraining,
        folder: RunFolder,
        *,
        accelerator: Accelerator,
        conditions: Conditions,
        watch: Watch,
        state: RunState | None = None,
    ) -> None:
        """Take the parts of a run, in one process of several; without the state that it had it is a new run."""
        self.plan, self.model, self.folder, self.watch = plan, model, folder, watch
        self._accelerator, self._conditions = accelerator, conditions
        self._is_new, self._progress = state is None, state.progress if state else Progress()
        self._loss = torch.zeros((), device=accelerator.device) + self._progress.loss  # of this process
        self._began = self._saved = time.monotonic()
        self._seconds_before = self._progress.seconds
        self._sha256 = ""  # of the checkpoint, once it was stored

    @property
    def writes(self) -> bool:
        """Tell whether this process, of several, is the one that writes."""
        return bool(self._accelerator.is_main_process)

    @property
    def seconds(self) -> float:
        """Give the time spent in the run, s, without its interruptions."""
        return self._seconds_before + time.monotonic() - self._began

    def go(self) -> Trained:
        """Take every step that is left, or as many as there is time for.

        Raises `InputError` where memory ran out or a process that reads images was killed: no state is saved then, as
        either may happen in the midst of a step.
        """
        try:
            return self._go()
        except Exception as error:
            if out_of_memory(error):
                raise InputError(
                    "memory ran out: a smaller batch_size, or more processes, need less"
                ) from None
            if not str(error).startswith(DEAD_WORKER):
                raise
            raise InputError(KILLED) from None

    def _go(self) -> Trained:
        plan, progress = self.plan, self._progress
        if self._is_new:
            self._write(plan.opening(self.model.parameters, self._conditions))
            self._save()
        if progress.step == plan.steps and self.writes:
            self.watch.on_note(f"the run was finished before, with step {plan.steps}: nothing is left to do")
        row_every = max(1, plan.steps_per_epoch // _ROWS)
        measure_every = max(1, round(self.watch.every * plan.steps_per_epoch))
        left = range(progress.step, plan.steps)
        batches = plan.batches(left)
        stopped = False
        while progress.step < plan.steps and not (stopped := self._must_stop()):
            self._take_step(next(batches))
            self.watch.on_step(progress.step, plan.steps)
            last = progress.step == plan.steps
            if progress.step % row_every == 0 or last:
                self._write_loss()
            if progress.step % measure_every == 0 or last:
                self._measure()
            elif progress.step % row_every == 0 and self._any(time.monotonic() - self._saved > _SAVE_SECONDS):
                self._save()
        batches.close()
        if stopped:
            self._save()
        return self._end()

    def _must_stop(self) -> bool:
        """Tell, the same in every process, whether to stop before the next step."""
        limit = self.watch.limit_minutes
        return self._any(
            self.watch.stop() or (limit is not None and time.monotonic() - self._began > 60 * limit)
        )

    def _any(self, here: bool) -> bool:
        """Tell, the same in every process, whether something holds in one of them."""
        if self.plan.share.ranks == 1:
            return here
        flag = torch.tensor(int(here), device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag, "sum") > 0)

    def _mean_loss(self) -> torch.Tensor:
        """Give the sum of losses since the last row, a mean over processes."""
        if self.plan.share.ranks == 1:
            return self._loss
        mean: torch.Tensor = self._accelerator.reduce(self._loss, "mean")
        return mean

    def _take_step(self, batch: Any) -> None:
        model, recipe, step = self.model, self.plan.recipe, self._progress.step
        model.schedule.step_update(step)
        loss = self.plan.loss(model.forward, batch, step, self._accelerator.device)
        self._accelerator.backward(loss)
        if recipe.clip_norm:
            self._accelerator.clip_grad_norm_(model.loss.parameters(), recipe.clip_norm)
        model.optimizer.step()
        model.optimizer.zero_grad()
        if model.ema:
            model.ema.update(model.network, step=step + 1)
        self._loss += loss.detach()
        self._progress.losses += 1
        self._progress.step += 1

    def _place(self) -> dict[str, Any]:
        """Give the fields that rows of metrics have in common."""
        step, seconds = self._progress.step, self.seconds
        return {
            "step": step,
            "epoch": round(step / self.plan.steps_per_epoch, 4),
            "seconds": round(seconds, 2),
            "images_per_second": round(step * self.plan.recipe.batch_size / seconds, 1),
        }

    def _write(self, row: MetricsRow) -> None:
        if self.writes:
            self._progress.metrics = self.folder.append(row)
            self.watch.on_row(row)

    def _write_loss(self) -> None:
        """Write the mean loss since the last such row. Raises `InputError` for one that is no finite number."""
        mean = float(self._mean_loss()) / max(1, self._progress.losses)
        if not isfinite(mean):
            raise InputError(f"the loss is no number after step {self._progress.step}: {_DIVERGED}")
        self._loss, self._progress.losses = torch.zeros_like(self._loss), 0
        self._write(LossRow(**self._place(), loss=round(mean, 6), learning_rate=self.model.learning_rate))

    def _measure(self) -> None:
        """Measure the model, write the measures, and save the state."""
        began = time.monotonic()
        try:
            measures = self._measures()
        except InputError:
            if self.plan.share.ranks == 1:
                self._save()  # the steps are sound: what could not be measured does not undo them
            raise
        if not isfinite(measures.get("validation_loss", 0.0)):
            raise InputError(
                f"the validation loss is no number after step {self._progress.step}: {_DIVERGED}"
            )
        self._accelerator.wait_for_everyone()
        if measures:
            self._progress.measures = measures
            rounded = {name: round(value, 6) for name, value in measures.items()}
            took = round(time.monotonic() - began, 2)
            self._write(MeasuresRow.model_validate(self._place() | rounded | {"judged_in": took}))
        self._save()

    def _measures(self) -> dict[str, float]:
        """Measure what is held out, and what the watch measures."""
        measures = self.plan.measures(self.model, self._accelerator, first=not self._progress.measures)
        if self.watch.measure and self.writes:
            network = self.plan.watched(self.model)
            measures |= self.watch.measure(
                network.cpu() if self._accelerator.device.type == "mps" else network
            )
        return {name: float(value) for name, value in measures.items()}

    def _save(self) -> None:
        """Save the state and the checkpoint. Raises `InputError` for weights that are no finite numbers."""
        loss = float(self._mean_loss())
        if self.writes:
            if not self.model.finite():
                raise InputError(f"the weights are no numbers after step {self._progress.step}: {_DIVERGED}")
            self._sha256 = self._store()
            self.folder.save(
                RunState(
                    progress=replace(self._progress, seconds=self.seconds, loss=loss),
                    data=self.plan.identity,
                    recipe=self.plan.recipe.to_toml(),
                    conditions=self._conditions.model_dump(),
                    workers=self.plan.workers,
                    **self.model.state_dicts(),
                )
            )
        self._saved = time.monotonic()

    def _store(self) -> str:
        """Write the checkpoint, and give its SHA-256."""
        return self.plan.store(self.folder.checkpoint, self.model)

    def _end(self) -> Trained:
        """Write the last row of metrics when the run is finished, unless that was done before."""
        if self.writes and not self._sha256:  # it was all done before
            self._sha256 = self._store()
        step, steps, file = self._progress.step, self.plan.steps, self.folder.checkpoint
        if step == steps and self._any(self.writes and not isinstance(self.folder.last_row(), LastRow)):
            self._write(
                LastRow(step=step, seconds=round(self.seconds, 2), file=file.name, sha256=self._sha256)
            )
            self._save()  # in every process: the loss is a mean over them
        return Trained(file, self._sha256, step, steps, self.seconds, self._progress.measures)
