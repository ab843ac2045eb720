"""What a run does, as it was planned: its photos, where their outputs go, and what is known of them beforehand."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cratecli.io.formats.names import common_root
from cratecli.io.sources.stores import Destination
from cratecli.runs.gone import key_of
from cratecli.runs.inputs import Inputs
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.manifest import MANIFEST
from cratecli.runs.streams import Stream


class HasJob(Protocol):
    """The result of a job."""

    @property
    def job(self) -> Job:
        """Give the job."""


@dataclass(frozen=True)
class Plan:
    """What a run does: its jobs, the folder that its outputs fill, and the one file that stands for all.

    Without a `target` there is a file a job; with neither, or with a `target` that is not named, standard output.
    `trees` are folders that each hold a picture of every photo, the one of the targets first. The files `whole` stand
    for the run. To `resume`, the manifest's rows of earlier runs are believed; to `prune`, those of photos that are
    gone are dropped; to `overwrite`, outputs that were edited since are made again too. `skipped` photos were left out
    because their output is there, `failed` ones because they, or their outputs, cannot be. `inputs` is what the user
    named, and `passed` what was passed over there. Photos of `streams` are known as they come. Outputs may go to a
    `destination`, a URL, which target and place then begin with.
    """

    jobs: tuple[Job, ...]
    place: Path | None = None
    target: Path | None = None
    trees: tuple[Path, ...] = ()
    whole: tuple[Path, ...] = ()
    resume: bool = False
    prune: bool = False
    overwrite: bool = False
    skipped: int = 0
    failed: tuple[Failure, ...] = ()
    inputs: Inputs | None = None
    passed: tuple[Path, ...] = ()
    streams: tuple[Stream, ...] = ()
    destination: Destination | None = None

    @cached_property
    def total(self) -> int | None:
        """Count the photos, if that is known before they are read."""
        counts = [stream.packed.count() for stream in self.streams]
        return None if None in counts else len(self.jobs) + sum(filter(None, counts))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {job.name: place for place, job in reversed(list(enumerate(self.jobs)))}

    def place_of(self, done: HasJob) -> int:
        """Give the place of a job's result among the inputs: outcomes come as they are done."""
        return self._places[done.job.name]

    @cached_property
    def _order(self) -> dict[Job, int]:
        return {job: place for place, job in enumerate(self.jobs)}

    @cached_property
    def _stream_order(self) -> dict[str, int]:
        return {stream.title: place for place, stream in enumerate(self.streams, len(self.jobs))}

    def order_of(self, job: Job) -> tuple[int, int]:
        """Give the place of a job's photo, or of the source that it came from, among the inputs, and within that."""
        if job in self._order or job.entry is None:
            return self._order.get(job, 0), 0
        title = job.entry.title.removesuffix(f"/{job.entry.member}")
        return self._stream_order.get(title, len(self.jobs) + len(self.streams)), job.number

    def files(self, job: Job) -> tuple[Path, ...]:
        """Give the files that are written of a photo alone, its target first."""
        if job.target is None:
            return ()
        return job.target, *self.beside(job.target)

    def beside(self, path: Path) -> tuple[Path, ...]:
        """Give the places, in the other trees, of a file or folder of the first."""
        return tuple(tree / path.relative_to(self.trees[0]) for tree in self.trees[1:])

    @property
    def read_here(self) -> list[Path]:
        """Name the first photo, and the first stream, that lie on this machine's disk, if any are there."""
        photos = (job.source for job in self.jobs if job.source is not None)
        streams = (stream.packed.path for stream in self.streams if stream.packed.path is not None)
        return [each for some in (photos, streams) if (each := next(some, None)) and each.exists()]

    @property
    def also(self) -> set[Path]:
        """Give the folders of the outputs beside targets, and those of streams."""
        beside = {file.parent for job in self.jobs for file in self.files(job)[1:]}
        folders = [each.folder for each in self.streams if each.folder and each.destination is None]
        tops = {*folders, *(place for folder in folders for place in self.beside(folder))}
        return beside | {Path(folder) for top in tops for folder, _, _ in os.walk(top)}

    @property
    def tops(self) -> list[str]:
        """Give the beginnings of the keys of the outputs of streams, in the manifest."""
        folders = [(stream.folder, stream.output) for stream in self.streams]
        if self.manifest is None or self.destination is not None:
            return [output for folder, output in folders if folder and output]
        return [f"{key_of(self.manifest, folder)}/" for folder, _ in folders if folder]

    @property
    def root(self) -> str | None:
        """Give the folder that names of photos in one file for all are relative to: the one named, or the innermost."""
        if self.inputs is not None and self.inputs.alone and self.inputs.folders:
            return str(self.inputs.folders[0])
        return common_root(job.name for job in self.jobs if job.source is not None)

    @property
    def manifest(self) -> Path | None:
        """Give where the manifest lies: in the folder, or beside the file of several photos, or of one to resume.

        That of outputs in a store is in the working folder, and named after the parts of their URL.
        """
        shared = self.place or self.target
        if self.destination is not None and shared is not None:
            return Path("-".join(shared.parts[1:])).with_suffix(f".{MANIFEST}")
        if self.place is not None:
            return self.place / MANIFEST
        several = len(self.jobs) > 1 or self.streams or self.resume or self.prune
        folders = self.inputs is not None and (self.inputs.folders or not self.inputs.alone)
        if self.target is not None and (several or folders):
            return self.target.with_suffix(f".{MANIFEST}")
        return None
