"""Train a mask head on composites of what a teacher is sure of: begun, resumed and logged as any run is."""

import torch

from cratecli.errors import UsageError
from cratecli.training.accelerated import accelerated
from cratecli.training.folder import STATE, RunFolder
from cratecli.training.head_lesson import HeadLesson, HeadWithLoss
from cratecli.training.run import TrainingRun
from cratecli.training.setup import conditions_here, load_state, prepare
from cratecli.training.watch import UNWATCHED, Trained, Watch

CHECKPOINT = "head.safetensors"


def train_head(
    folder: RunFolder,
    lesson: HeadLesson,
    *,
    device: str = "auto",
    dtype: str = "auto",
    watch: Watch = UNWATCHED,
) -> Trained:
    """Train a head in a run's folder, which this process holds, from the state in it if there is one.

    Raises `UsageError` for a state of another run, and under `torchrun`; `InputError` for a loss that is no finite
    number, `OutputError`, `DeviceError`.
    """
    with accelerated(device, dtype) as accelerator:
        if accelerator.num_processes > 1:
            raise UsageError("a head is trained by one process: leave torchrun out")
        conditions = conditions_here(accelerator, compiled=False)
        state = None
        if (folder.path / STATE).exists():
            state = load_state(lesson, folder, conditions, watch, writes=True)
        else:
            folder.start_metrics()  # of a run that was killed before its first state
        torch.manual_seed(lesson.recipe.seed)
        head = lesson.network()
        if state:
            head.load_state_dict(state.model)
        loss = HeadWithLoss(head).to(accelerator.device).to(memory_format=torch.channels_last)
        model = prepare(lesson, head, loss, state, accelerator, compiled=False)
        run = TrainingRun(
            lesson, model, folder, accelerator=accelerator, conditions=conditions, watch=watch, state=state
        )
        return run.go()
