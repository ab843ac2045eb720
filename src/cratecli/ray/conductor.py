"""The pipeline of Ray Data, in a process of the cluster: parcels go in, finished photos are taken out as they come."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from cratecli.ray import stages

RETRIES = 3  # of a task whose worker died; what is lost for good is dealt out again

READING = 0.25  # processors that are counted for a task that reads: it waits, most of the time
WORKING = 1.0


@dataclass(frozen=True)
class Workers:
    """How many workers hold a model, and the GPUs and processors that each is given."""

    count: int
    gpus: float
    cpus: float = 1.0


class Conductor:
    """Runs the pipeline: read and decode (tasks), show to the model (actors), finish (tasks).

    Ray's client cannot run one from outside the cluster (2.60); and what Ray Data says stays in this process.
    """

    def __init__(self, order: bytes, parcels: Sequence[bytes], workers: Workers) -> None:
        """Prepare it; nothing is read before the first photos are taken."""
        ray: Any = import_module("ray")
        import_module("ray.data")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # photos that no worker survives are told from the others afterwards
        context.target_max_block_size = 1  # a row is a parcel of photos, and travels by itself
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        asked: Any = {"fn_kwargs": {"order": order}, "max_retries": RETRIES}
        rows = (
            ray.data.from_items([{"parcel": each} for each in parcels], override_num_blocks=len(parcels))
            .flat_map(stages.read, num_cpus=READING, **asked)
            .flat_map(stages.decode, num_cpus=WORKING, **asked)
            .map(
                stages.Look,
                fn_constructor_kwargs={"order": order},
                compute=ray.data.ActorPoolStrategy(size=workers.count),
                num_cpus=workers.cpus,
                num_gpus=workers.gpus or None,
                max_task_retries=RETRIES,
            )
            .map(stages.finish, num_cpus=WORKING, **asked)
        )
        self._rows: Iterator[Any] = iter(rows.iter_batches(batch_size=None, batch_format="pyarrow"))

    def take(self) -> list[bytes] | None:
        """Give the next rows of finished photos; nothing more says that all are done."""
        batch = next(self._rows, None)
        return None if batch is None else batch["items"].to_pylist()
