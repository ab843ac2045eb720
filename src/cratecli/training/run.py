"""A training run in hand: from where it stood, step by step, to its end or to where it is told to stop."""

import time
from copy import deepcopy
from dataclasses import asdict
from importlib import metadata
from math import isfinite
from typing import Any

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3

from cratecli.errors import InputError, UsageError
from cratecli.model.crate import Crate
from cratecli.model.device import out_of_memory
from cratecli.training.batches import (
    DEAD_WORKER,
    KILLED,
    Share,
    augmentation,
    steps_in_pass,
    training_batches,
)
from cratecli.training.folder import RunFolder, State
from cratecli.training.recipe import TrainRecipe
from cratecli.training.sources import Labelled
from cratecli.training.step import Chance, Learner, accuracy, make_optimizer, make_schedule
from cratecli.training.watch import Row, Trained, Watch
from cratecli.weights.store import store_model

_ROWS = 10  # of metrics, a pass
_SAVE_SECONDS = 300.0
_DIVERGED = "lower the learning rate, or set clip_norm; the state that was kept before is as it was"
_EMA_RISE = 9  # after t updates the average remembers t / (t + 9), until its decay is reached


class Run:
    """A run in hand: its model, optimiser and averaged weights, and where it stands."""

    def __init__(
        self,
        data: Labelled,
        validation: Labelled | None,
        recipe: TrainRecipe,
        folder: RunFolder,
        accelerator: Accelerator,
        *,
        workers: int,
        watch: Watch,
    ) -> None:
        """Count what there is to do. Raises `UsageError` for a batch that cannot be filled or shared out."""
        self.data, self.validation, self.recipe, self.folder = data, validation, recipe, folder
        self.accelerator, self.workers, self.watch = accelerator, workers, watch
        self.share = Share(accelerator.process_index, accelerator.num_processes)
        if recipe.batch_size % self.share.ranks:
            raise UsageError(
                f"a batch of {recipe.batch_size} cannot be dealt to {self.share.ranks} processes"
            )
        if (recipe.mixup or recipe.cutmix) and recipe.batch_size // self.share.ranks % 2:
            raise UsageError("mixup and cutmix pair the images of a process: their number must be even")
        if recipe.model.classes < 2:
            raise UsageError("one class alone leaves nothing to tell apart: classes are folders of photos")
        if data.streamed:  # always by processes of their own, as timm's shuffling outlives a pass in this one
            most = data.shards // self.share.ranks if data.shards else workers
            self.workers = max(1, min(workers, most))
        augmentation(recipe, training=True)  # an `auto_augment` that is none is said now
        self.in_pass = steps_in_pass(data, recipe)
        self.steps = max(1, round(recipe.epochs * self.in_pass))
        self.chance = Chance(recipe, self.steps, self.in_pass, self.share)
        self.begun = self.saved = time.monotonic()
        self.before = 0.0  # seconds, of earlier sittings
        self.step = self.metrics = 0
        self.losses = 0
        self.loss = torch.zeros((), device=accelerator.device)
        self.measures: dict[str, float] = {}
        self.digest = ""  # of the checkpoint, as it was stored last
        self.how: dict[str, Any] = {}

    @property
    def writes(self) -> bool:
        """Tell whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.begun

    def prepare(self, init: Crate | None, *, resume: bool, compiled: bool) -> None:
        """Make or take the model, and put everything where it was."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        model = _fresh(init, recipe)
        if self.writes and not resume:
            self.folder.begin(recipe)
        self.how = {
            "dtype": self.accelerator.mixed_precision,
            "compiled": compiled,
            "device": self.accelerator.device.type,
            "processes": self.share.ranks,
            "threads": torch.get_num_threads(),
        }
        self.accelerator.wait_for_everyone()
        state = self.folder.load(writes=self.writes) if resume else None
        if state:
            state.fits(recipe, self.data.identity)
            self._compare(state)
            model.load_state_dict(state.model)
        model.to(self.accelerator.device)
        self.learner = Learner(model, 0.0 if recipe.mixup or recipe.cutmix else recipe.label_smoothing)
        self.learner.to(self.accelerator.device)
        self.ema = None
        if recipe.ema:
            self.ema = ModelEmaV3(
                model, decay=recipe.ema, use_warmup=True, warmup_gamma=_EMA_RISE, warmup_power=1.0
            )
        optimizer = make_optimizer(model, recipe)
        self.schedule = make_schedule(optimizer, recipe, self.steps, self.in_pass)
        self.stepping, self.optimizer = self.accelerator.prepare(self.learner, optimizer)
        self.learner.train()
        if compiled:
            self.stepping = torch.compile(self.stepping)
        if state:
            optimizer.load_state_dict(state.optimizer)
            if self.ema and state.ema:
                self.ema.module.load_state_dict(state.ema)
            self.step, self.metrics, self.before = state.step, state.metrics, state.seconds
            self.loss, self.losses = self.loss + state.loss, state.losses
            self.measures = state.measures
        else:
            self.note(self._opening(init))
            self._save()

    def _compare(self, state: State) -> None:
        """Say what makes the end of a resumed run another than that of an unbroken one."""
        if self.data.streamed:
            self.workers = state.how["workers"]
        for name, now in self.how.items():
            if state.how[name] != now and self.writes:
                self.watch.noted(
                    f"resumed with {name} {now}, not {state.how[name]}: not the bits of an unbroken run"
                )

    def _opening(self, init: Crate | None) -> Row:
        """Say what the run is, in the first row."""
        packages = ("cratecli", "torch", "timm", "accelerate")
        return {
            "recipe": asdict(self.recipe),
            "left_out": self.data.left_out,
            "images": self.data.images,
            "classes": self.recipe.model.classes,
            "data": self.data.identity,
            "init": asdict(init.weights) if init and init.weights else None,
            "parameters": sum(each.numel() for each in self.learner.model.parameters()),
            "steps": self.steps,
            **self.how,
            "versions": {name: metadata.version(name) for name in packages},
        }

    def go(self) -> Trained:
        """Take every step that is left, or as many as there is time for.

        Raises `InputError` where a process that reads images was killed: nothing is kept then, as it may be raised
        in the midst of a step.
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
        if self.step == self.steps and self.writes:
            self.watch.noted(f"the run was finished before, with step {self.steps}: nothing is left to do")
        row_every = max(1, self.in_pass // _ROWS)
        judge_every = max(1, round(self.watch.every * self.in_pass))
        left = range(self.step, self.steps)
        batches = training_batches(self.data, self.recipe, left, workers=self.workers, share=self.share)
        stopped = False
        while self.step < self.steps and not (stopped := self._asked_to_stop()):
            self._take(next(batches))
            self.watch.stepped(self.step, self.steps)
            last = self.step == self.steps
            if self.step % row_every == 0 or last:
                self._tell_loss()
            if self.step % judge_every == 0 or last:
                self._judge()
            elif self.step % row_every == 0 and self._any(time.monotonic() - self.saved > _SAVE_SECONDS):
                self._save()
        batches.close()
        if stopped:
            self._save()
        return self._end()

    def _asked_to_stop(self) -> bool:
        """Tell, the same in every process, whether to end here."""
        limit = self.watch.limit_minutes
        return self._any(
            self.watch.stop() or (limit is not None and time.monotonic() - self.begun > 60 * limit)
        )

    def _any(self, here: bool) -> bool:
        """Tell, the same in every process, whether something holds in one of them."""
        if self.share.ranks == 1:
            return here
        flag = torch.tensor(int(here), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _take(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Take one step."""
        device = self.accelerator.device
        images, targets = (each.to(device, non_blocking=True) for each in batch)
        kept = self.chance.kept(self.step, len(images))
        images, targets = self.chance.mixed(self.step, (images, targets))
        self.schedule.step_update(self.step)
        loss = self.stepping(images, targets, None if kept is None else kept.to(device))
        self.accelerator.backward(loss)
        if self.recipe.clip_norm:
            self.accelerator.clip_grad_norm_(self.learner.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.ema:
            self.ema.update(self.learner.model, step=self.step)
        self.loss += loss.detach()
        self.losses += 1

    def _tell_loss(self) -> None:
        """Write a row of what the last steps came to. Raises `InputError` where the loss is no number."""
        loss = self.loss / max(1, self.losses)
        if self.share.ranks > 1:
            loss = self.accelerator.reduce(loss, "mean")
        mean = float(loss)
        if not isfinite(mean):
            raise InputError(f"the loss is no number after step {self.step}: {_DIVERGED}")
        self.loss, self.losses = torch.zeros_like(self.loss), 0
        self.note(self._where() | {"loss": round(mean, 6), "learning_rate": self._learning_rate()})

    def _where(self) -> Row:
        seconds = self.seconds
        return {
            "step": self.step,
            "epoch": round(self.step / self.in_pass, 4),
            "seconds": round(seconds, 2),
            "images_per_second": round(self.step * self.recipe.batch_size / seconds, 1),
        }

    def _learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def note(self, row: Row) -> None:
        """Write a row of metrics."""
        if self.writes:
            self.metrics = self.folder.note(row)
            self.watch.told(row)

    def _judge(self) -> None:
        """Measure what the model can do now, and keep it."""
        began = time.monotonic()
        try:
            measures = self._measured()
        except InputError:
            if self.share.ranks == 1:
                self._save()  # the steps are sound: what could not be measured does not undo them
            raise
        if not isfinite(measures.get("validation_loss", 0.0)):
            raise InputError(f"the loss in validation is no number after step {self.step}: {_DIVERGED}")
        self.accelerator.wait_for_everyone()
        if measures:
            self.measures = {name: float(value) for name, value in measures.items()}
            took = {"judged_in": round(time.monotonic() - began, 2)}
            self.note(self._where() | {name: round(value, 6) for name, value in measures.items()} | took)
        self._save()

    def _measured(self) -> dict[str, float]:
        """Measure accuracy where there is something to validate on, and what is watched."""
        measures: dict[str, float] = {}
        model, tell = self.seen(), not self.measures
        if held := self.validation:
            measures |= accuracy(model, held, self.recipe, self.accelerator, workers=self.workers, tell=tell)
        if self.watch.judge and self.writes:
            measures |= self.watch.judge(model.cpu() if self.accelerator.device.type == "mps" else model)
        return measures

    def seen(self) -> Crate:
        """Give what is judged and kept: a copy of the averaged model, or of the model, for inference."""
        source = self.ema.module if self.ema else self.learner.model
        model = deepcopy(source).requires_grad_(False)
        return model.float().fold()

    def _save(self) -> None:
        """Keep the state, and the checkpoint as it is now. Raises `InputError` for weights that are no numbers."""
        loss = self.loss if self.share.ranks == 1 else self.accelerator.reduce(self.loss, "mean")
        if self.writes:
            if not all(bool(each.isfinite().all()) for each in self.learner.parameters()):
                raise InputError(f"the weights are no numbers after step {self.step}: {_DIVERGED}")
            self.digest = self._store()
            self.folder.save(
                State(
                    step=self.step,
                    metrics=self.metrics,
                    seconds=self.seconds,
                    loss=float(loss),
                    losses=self.losses,
                    measures=self.measures,
                    data=self.data.identity,
                    recipe=self.recipe.to_toml(),
                    model=self.learner.model.state_dict(),
                    ema=self.ema.module.state_dict() if self.ema else None,
                    optimizer=self.optimizer.state_dict(),
                    how=self.how | {"workers": self.workers},
                )
            )
        self.saved = time.monotonic()

    def _store(self) -> str:
        source = self.ema.module if self.ema else self.learner.model
        return store_model(
            self.folder.checkpoint,
            self.recipe.model,
            source.state_dict(),
            labels=self.data.labels,
            dtype=self.recipe.stored,
        )

    def _end(self) -> Trained:
        """Say in the last row which checkpoint it came to, unless an earlier sitting said it."""
        if self.writes and not self.digest:  # it was all done before
            self.digest = self._store()
        if self.step == self.steps and self._any(self.writes and "sha256" not in self.folder.rows()[-1]):
            where = {"step": self.step, "seconds": round(self.seconds, 2)}
            self.note(where | {"file": self.folder.checkpoint.name, "sha256": self.digest})
            self._save()  # in every process: they agree on what is kept
        return Trained(
            self.folder.checkpoint, self.digest, self.step, self.steps, self.seconds, self.measures
        )


def _fresh(init: Crate | None, recipe: TrainRecipe) -> Crate:
    """Make a model with random weights, or take one, with a new classifier where the number of classes differs."""
    if init is None:
        return Crate(recipe.model)
    model = deepcopy(init).float()
    if model.image_size != recipe.model.image_size:
        model.reset_image_size(recipe.model.image_size)
    if model.config.classes != recipe.model.classes:
        model.reset_classifier(recipe.model.classes)
    return model.requires_grad_(True)
