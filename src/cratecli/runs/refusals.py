"""Refuse outputs that would replace an input or one another, or whose names say something else than is written."""

import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from cratecli.errors import UsageError
from cratecli.io import images
from cratecli.io.formats import ENDINGS, ending_of
from cratecli.runs.jobs import Job


def real_sources(jobs: Sequence[Job]) -> set[str]:
    """Give the real paths of the inputs, but for standard input."""
    return {os.path.realpath(job.source) for job in jobs if job.source is not None}


def refuse_ending(output: Path, ending: str, *, several: bool) -> None:
    """Raise `UsageError` for a file name that says something else than what will be written there."""
    named = output.suffix.lower()
    if several and named in {*images.EXTENSIONS, f".{ending}"}:
        what = "picture" if ending in ENDINGS else "file"
        raise UsageError(f"{output} is one {what}, and there are several: give a folder")
    known = ending_of(output.name)
    if known == ending or named == f".{ending}":
        return
    if known or (ending not in ENDINGS and named and not several):
        raise UsageError(f"{output}: {ending.upper()} is written: let the name end with .{ending}")
    if named in {*images.EXTENSIONS, ".json"}:
        endings = " or ".join(f".{each}" for each in ENDINGS)
        raise UsageError(f"{output}: only pictures that end with {endings} are written")


def refuse_output(target: Path, source: Path | None, ending: str = "png") -> None:
    """Raise `UsageError` for an output that is its own input, or whose name says something else than is written."""
    refuse_ending(target, ending, several=False)
    _refuse_inputs(target, () if source is None else (os.path.realpath(source),))


def refuse_inputs(target: Path, jobs: Sequence[Job]) -> None:
    """Raise `UsageError` for an output that is one of the inputs."""
    _refuse_inputs(target, real_sources(jobs))


def refuse_replacing(jobs: Sequence[Job], read: Path) -> None:
    """Raise `UsageError` for an output that would replace a file that the run reads beside its photos."""
    place = os.path.realpath(read)
    if taken := [job.target for job in jobs if job.target and os.path.realpath(job.target) == place]:
        raise UsageError(f"{taken[0]} is read by this run: choose another output")


def refuse_reading(targets: Iterable[Path | None], sources: Iterable[Path | None]) -> None:
    """Raise `UsageError` for an output that is one of the shards or tables that photos come from."""
    read = {os.path.realpath(each) for each in sources if each is not None}
    if taken := [each for each in targets if each is not None and os.path.realpath(each) in read]:
        raise UsageError(f"{taken[0]} is an input: choose another output")


def refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raise `UsageError` for two jobs with one output, or an output that is an input."""
    sources = real_sources(jobs)
    taken: dict[str, Job] = {}
    for job in jobs:
        if job.target is None:
            continue
        place = _refuse_inputs(job.target, sources)
        first = taken.setdefault(os.path.normcase(place), job)
        if first is not job:
            raise UsageError(
                f"{first.name} and {job.name} would both be written to {job.target}: give them apart"
            )


def _refuse_inputs(target: Path, sources: Container[str]) -> str:
    place = os.path.realpath(target)
    if place in sources:
        raise UsageError(f"{target} is an input: choose another output")
    return place
