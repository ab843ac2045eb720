"""Many photos in one run: find them, pair each with an output before any is written, outlive bad ones."""

import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cratecli.errors import CrateError, InputError, NothingMatchedError, OutputError, UsageError
from cratecli.files import replacing
from cratecli.io import images

STDIN = "-"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """One input and where its output goes. No source is standard input, no target standard output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """Name the input as the user would."""
        return "standard input" if self.source is None else str(self.source)


def plan(inputs: Sequence[str], output: str | None, kind: str, *, to_stdout: bool) -> list[Job]:
    """Pair inputs with outputs; a folder stands for the photos in it, `-` for standard input.

    With `output`, one photo goes to that very file, unless it is a folder or ends with a slash; several
    photos, or a folder's, go into it as a folder. Without, one photo goes to standard output if `to_stdout`,
    else to `./STEM.KIND.png`, and a folder's go to `./FOLDER-KINDs/`. Within an output folder, names are
    `STEM.png`; inputs that share a stem, whatever the case, keep their extension.

    Raises `NothingMatchedError`, and `UsageError` for outputs that collide or would overwrite an input.
    """
    _refuse_odd(inputs, output)
    into = None if output is None else Path(output)
    if output is not None and not _means_folder(output):
        _refuse_ending(Path(output), several=len(inputs) > 1 or _is_folder(inputs[0]))
    jobs: list[Job] = []
    alone = len(inputs) == 1
    loose = [name for name in inputs if not _is_folder(name)]
    for folder in (Path(name) for name in inputs if _is_folder(name)):
        found = sorted(_photos(folder))
        if into is not None and alone and folder.resolve() == into.resolve():
            raise UsageError(
                f"{folder} is an input: choose another output, or masks become photos of the next run"
            )
        place = Path(f"{folder.resolve().name}-{kind}s") if into is None else into
        place = place if alone or into is None else place / folder.resolve().name
        jobs += [Job(path, target) for path, target in _named(found, place, "png")]
    if loose and alone and (output is None or not _means_folder(output)):
        source = _source(loose[0])
        target = into or (None if to_stdout else Path(f"{_stem(loose[0])}.{kind}.png"))
        jobs.append(Job(source, target))
    elif loose:
        paths = [Path("stdin" if name == STDIN else name) for name in loose]
        ending = "png" if into else f"{kind}.png"
        pairs = _named(paths, into or Path(), ending)
        jobs += [Job(_source(name), target) for name, (_, target) in zip(loose, pairs, strict=True)]
    if not jobs:
        raise NothingMatchedError(f"no photo in {', '.join(inputs)}")
    _refuse_collisions(jobs)
    return jobs


def plan_one(
    inputs: Sequence[str], output: str | None, kind: str, *, to_stdout: bool, ending: str = "png"
) -> tuple[list[Job], Path | None]:
    """Plan one output for all inputs, as a contact sheet is; gives the jobs, without targets, and its path.

    Without `output` it is `None`, standard output, if `to_stdout`; else `./STEM.KIND.png` for one photo or
    `./FOLDER-KIND.png` for one folder, and `./KIND.png` for several inputs. Raises what `plan` raises.
    """
    _refuse_odd(inputs, output)
    if len(inputs) > 1:
        name = f"{kind}.{ending}"
    elif _is_folder(inputs[0]):
        name = f"{Path(inputs[0]).resolve().name}-{kind}.{ending}"
    else:
        name = f"{_stem(inputs[0])}.{kind}.{ending}"
    if output is None:
        target = None if to_stdout else Path(name)
    elif _means_folder(output):
        target = Path(output) / name
    else:
        target = Path(output)
        if target.suffix.lower() != f".{ending}":
            raise UsageError(f"{target}: {ending.upper()} is written: let the name end with .{ending}")
    earlier = os.path.realpath(name) if output is None else None  # what the last run wrote here is no photo
    jobs: list[Job] = []
    for each in inputs:
        if not _is_folder(each):
            jobs.append(Job(_source(each), None))
        else:
            found = sorted(_photos(Path(each)))
            jobs += [Job(path, None) for path in found if os.path.realpath(path) != earlier]
    if not jobs:
        raise NothingMatchedError(f"no photo in {', '.join(inputs)}")
    if target is not None:
        _refuse_inputs(target, {os.path.realpath(job.source) for job in jobs if job.source is not None})
    return jobs, target


def _refuse_odd(inputs: Sequence[str], output: str | None) -> None:
    if inputs.count(STDIN) > 1:
        raise UsageError("standard input can be read only once")
    if output == "" or "" in inputs:
        raise UsageError("a path is empty")
    if addresses := [name for name in inputs if re.match(r"(?:https?|ftp)://", name)]:
        raise UsageError(f"addresses are not read; try: curl -s {addresses[0]} | crate segment -")


def _source(name: str) -> Path | None:
    return None if name == STDIN else Path(name)


def _stem(name: str) -> str:
    return "stdin" if name == STDIN else Path(name).stem


def _is_folder(name: str) -> bool:
    return name != STDIN and os.path.isdir(name)  # noqa: PTH112 - Path.is_dir raises for a name too long


def _means_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or _is_folder(output)


def _photos(folder: Path) -> Iterator[Path]:
    try:
        for path in folder.iterdir():
            if path.suffix.lower() in images.EXTENSIONS and not path.name.startswith("."):
                yield path
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from None


def _named(paths: Sequence[Path], place: Path, ending: str) -> list[tuple[Path, Path]]:
    """Give each path its file in `place`; a stem that is not its own keeps the extension."""
    stems = Counter(path.stem.casefold() for path in paths)
    return [
        (path, place / f"{path.stem if stems[path.stem.casefold()] == 1 else path.name}.{ending}")
        for path in paths
    ]


def _refuse_ending(output: Path, *, several: bool) -> None:
    """Refuse a file name that says something else than what will be written there."""
    ending = output.suffix.lower()
    if ending in images.EXTENSIONS and several:
        raise UsageError(f"{output} is one picture, and there are several: give a folder")
    if ending in {*images.EXTENSIONS, ".json"} - {".png"}:
        raise UsageError(f"{output}: only PNG is written: let the name end with .png")


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source) for job in jobs if job.source is not None}
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


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    error: CrateError


def work_through(
    jobs: Sequence[Job], size: int, stdin: bytes, work: Callable[[list[images.RGB]], list[Result]]
) -> Iterator[tuple[Job, images.RGB, Result] | Failure]:
    """Read photos and work on them `size` at a time; what cannot be read or worked on is a `Failure`, not the end."""
    for photos, failures in read_in_batches(jobs, size, stdin):
        yield from failures
        yield from outlive(photos, work)


def read_job(job: Job, stdin: bytes) -> images.RGB:
    """Read a job's photo, from its file or from what standard input held. Raises `InputError`."""
    return images.read_bytes(stdin, job.name) if job.source is None else images.read(job.source)


def read_in_batches(
    jobs: Sequence[Job], size: int, stdin: bytes
) -> Iterator[tuple[list[tuple[Job, images.RGB]], list[Failure]]]:
    """Read photos `size` at a time; those that cannot be read come beside them, as failures."""
    for start in range(0, len(jobs), size):
        photos: list[tuple[Job, images.RGB]] = []
        failures: list[Failure] = []
        for job in jobs[start : start + size]:
            try:
                photos.append((job, read_job(job, stdin)))
            except CrateError as error:
                failures.append(Failure(job, error))
        yield photos, failures


def outlive(
    photos: Sequence[tuple[Job, images.RGB]], work: Callable[[list[images.RGB]], list[Result]]
) -> Iterator[tuple[Job, images.RGB, Result] | Failure]:
    """Work on photos together, and where that fails one by one, so that only the bad ones fail."""
    try:
        results = work([rgb for _, rgb in photos])
    except InputError as error:
        for photo in photos if len(photos) > 1 else ():
            yield from outlive([photo], work)
        if len(photos) == 1:
            yield Failure(photos[0][0], InputError(f"{photos[0][0].name}: {error}"))
    else:
        yield from ((job, rgb, result) for (job, rgb), result in zip(photos, results, strict=True))


def deliver(target: Path | None, content: bytes) -> None:
    """Write an output whole or not at all, making its folder; standard output is left to the caller.

    Raises `OutputError`; what was there before is then still there.
    """
    if target is None:
        return
    try:
        with replacing(target) as stream:
            stream.write(content)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from None
