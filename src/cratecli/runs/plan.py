"""Pair every input photo with its output file before any is written, and refuse what would collide."""

import os
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cratecli.errors import NothingMatchedError, UsageError
from cratecli.io import images
from cratecli.io.formats.names import common_root
from cratecli.runs.inputs import STDIN, Inputs, is_folder
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.manifest import MANIFEST

PARTS_FILE, SHEET_FILE = "parts.json", "sheet.png"  # what a run of parts writes beside its pictures


class HasJob(Protocol):
    """The result of a job."""

    @property
    def job(self) -> Job:
        """Give the job."""


@dataclass(frozen=True)
class Plan:
    """What a run does: its jobs, the folder that its outputs fill, and the one file that stands for all.

    Without a `target` there is a file a job; with neither, or with a `target` that is not named, standard output.
    In the folders `also` there are outputs beside those of jobs. To `resume`, the manifest's rows of earlier runs are
    believed; `skipped` photos were left out because their output is there. Where no photo is there at all, `missing`
    says so of each. `inputs` is what the user named.
    """

    jobs: tuple[Job, ...]
    place: Path | None = None
    target: Path | None = None
    also: tuple[Path, ...] = ()
    resume: bool = False
    skipped: int = 0
    missing: tuple[Failure, ...] = ()
    inputs: Inputs | None = None

    @cached_property
    def _places(self) -> dict[str, int]:
        return {job.name: place for place, job in reversed(list(enumerate(self.jobs)))}

    def place_of(self, done: HasJob) -> int:
        """Give the place of a job's result among the inputs: outcomes come as they are done."""
        return self._places[done.job.name]

    @property
    def root(self) -> str | None:
        """Give the folder that names of photos in one file for all are relative to: the one named, or the innermost."""
        if self.inputs is not None and self.inputs.alone and self.inputs.folders:
            return str(self.inputs.folders[0])
        return common_root(job.name for job in self.jobs if job.source is not None)

    @property
    def manifest(self) -> Path | None:
        """Give where the run's manifest lies: in the folder, or beside the one file that several photos share."""
        if self.place is not None:
            return self.place / MANIFEST
        if self.target is not None and len(self.jobs) > 1:
            return self.target.with_suffix(f".{MANIFEST}")
        return None


def plan(
    inputs: Inputs, output: str | None, kind: str, *, to_stdout: bool, apart: Path | None = None
) -> Plan:
    """Pair inputs with outputs; a folder stands for the photos in it, `-` for standard input.

    With `output`, one photo goes to that very file, unless it is a folder or ends with a slash; several
    photos, or a folder's, go into it as a folder. Without, one photo goes to standard output if `to_stdout`,
    else to `./STEM.KIND.png`, and a folder's go to `./FOLDER-KINDs/`. Within an output folder the tree is that of
    the inputs: below a folder named, below the working folder for a list, else below what loose photos share. Names are
    `STEM.png`; inputs of one folder that share a stem, whatever the case, keep their extension.

    What lies in the output folder, or in `apart`, is no input. Raises `NothingMatchedError`, and `UsageError` for
    outputs that collide or would overwrite an input.
    """
    if output == "":
        raise UsageError("a path is empty")
    into = None if output is None else Path(output)
    folders, loose = inputs.folders, inputs.loose
    if output is not None and not _means_folder(output):
        _refuse_ending(Path(output), several=bool(folders) or not inputs.alone)
    fills = output is not None and (_means_folder(output) or bool(folders) or not inputs.alone)
    if into is not None and fills and os.path.lexists(into) and not is_folder(str(into)):
        raise UsageError(f"{into} is a file: several photos, or a folder's, go into a folder")
    place = into
    jobs: list[Job] = []
    for folder in folders:
        name = folder.resolve().name
        if into is not None and folder.resolve() == into.resolve():
            raise UsageError(
                f"{folder} is an input: choose another output, or masks become photos of the next run"
            )
        here = Path(f"{name}-{kind}s") if into is None else into if inputs.alone else into / name
        photos = inputs.photos(folder, os.path.realpath(apart or into or here))
        jobs += [Job(path, target) for path, target in _named(photos, folder, here, "png")]
        place = here if inputs.alone else into
    if loose and inputs.alone and (output is None or not _means_folder(output)):
        target = into or (None if to_stdout else Path(f"{_stem(loose[0])}.{kind}.png"))
        jobs.append(Job(_source(loose[0]), target))
        place = None
    elif loose:
        jobs += _loose(inputs, loose, into, kind)
    if not jobs:
        raise NothingMatchedError(f"no photo in {inputs}")
    _refuse_collisions(jobs)
    return Plan(tuple(jobs), place)


def plan_one(inputs: Inputs, output: str | None, kind: str, *, to_stdout: bool, ending: str = "png") -> Plan:
    """Plan one output for all inputs, as a contact sheet is; the jobs have no targets.

    Without `output` it is standard output, if `to_stdout`; else `./STEM.KIND.png` for one photo or
    `./FOLDER-KIND.png` for one folder, and `./KIND.png` for several inputs. Raises what `plan` raises.
    """
    if output == "":
        raise UsageError("a path is empty")
    name = f"{_title(inputs, kind)}.{ending}"
    if output is None:
        target = None if to_stdout else Path(name)
    elif _means_folder(output):
        target = Path(output) / name
    else:
        target = Path(output)
        if target.suffix.lower() != f".{ending}":
            raise UsageError(f"{target}: {ending.upper()} is written: let the name end with .{ending}")
    own = os.path.realpath(name)
    earlier = own if target is None or os.path.realpath(target) == own else None  # the last run's is no photo
    jobs: list[Job] = []
    for each in inputs.named:
        if not is_folder(each):
            jobs.append(Job(_source(each), None))
        else:
            photos = inputs.photos(Path(each), None)
            jobs += [Job(path, None) for path in photos if os.path.realpath(path) != earlier]
    jobs += [Job(_source(each), None) for each in inputs.chosen]
    if not jobs:
        raise NothingMatchedError(f"no photo in {inputs}")
    if target is not None:
        _refuse_inputs(target, {os.path.realpath(job.source) for job in jobs if job.source is not None})
    return Plan(tuple(jobs), target=target)


def _title(inputs: Inputs, kind: str) -> str:
    """Name what stands for all inputs."""
    if not inputs.alone:
        return kind
    if inputs.folders:
        return f"{inputs.folders[0].resolve().name}-{kind}"
    return f"{_stem(inputs.named[0])}.{kind}"


def plan_parts(inputs: Inputs, output: str | None, kind: str, save: Path | None) -> Plan:
    """Plan a run of parts: the folder for everything it writes, and in it each photo's place.

    Without `output` it is `./FOLDER-parts` for one folder, else `./parts`; `save` is where a vocabulary is saved.
    Raises what `plan` raises.
    """
    if output == "":
        raise UsageError("a path is empty")
    alone = inputs.alone and bool(inputs.folders)
    place = Path(output or (f"{inputs.folders[0].resolve().name}-parts" if alone else "parts"))
    if output == "-":
        raise UsageError("parts fill a folder: give -o DIR")
    if place.is_file() or place.suffix.lower() in (".png", ".jpg", ".json"):
        raise UsageError(f"{place} is a file, or named like one: parts fill a folder")
    if any(Path(name).resolve() == place.resolve() for name in inputs.named):
        raise UsageError(
            f"{place} is an input: choose another output, or the sheet becomes a photo of the next run"
        )
    planned = plan(inputs, f"{place / kind}{os.sep}", kind, to_stdout=False, apart=place)
    sources = {os.path.realpath(job.source) for job in planned.jobs if job.source is not None}
    written = [place / SHEET_FILE, place / PARTS_FILE]
    within = [job.target.relative_to(place / kind) for job in planned.jobs if job.target is not None]
    written += [place / folder / each for each in within for folder in {kind, "overlays"}]
    if taken := [path for path in written if os.path.realpath(path) in sources]:
        raise UsageError(f"{taken[0]} is an input: choose another output")
    if save and os.path.realpath(save) in map(os.path.realpath, written):
        raise UsageError(f"{save} is written by this run anyway: choose another file for the vocabulary")
    return replace(planned, place=place, also=tuple({place / "overlays" / each.parent for each in within}))


def _loose(inputs: Inputs, loose: Sequence[str], into: Path | None, kind: str) -> list[Job]:
    """Pair photos named one by one: into a folder as a tree, else side by side in the working folder."""
    paths = [Path("stdin" if name == STDIN else name) for name in loose]
    if into is None:
        stems = _named([Path(path.name) for path in paths], Path(), Path(), f"{kind}.png")
    else:
        if inputs.listed:
            within = [_inside(path) for path in paths]
        else:
            absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links stay
            shared = os.path.commonpath([path.parent for path in absolute])
            within = [path.relative_to(shared) for path in absolute]
        stems = _named(within, Path(), into, "png")
    return [Job(_source(name), target) for name, (_, target) in zip(loose, stems, strict=True)]


def _inside(path: Path) -> Path:
    """Keep of a listed photo's path what cannot lead out of a folder.

    >>> [_inside(Path(name)).as_posix() for name in ("./a/b.jpg", "../../x.jpg", "/abs/x.jpg")]
    ['a/b.jpg', 'x.jpg', 'abs/x.jpg']
    """
    parts = Path(os.path.normpath(path)).parts
    return Path(*(part for part in parts if part not in ("..", path.anchor)))


def _source(name: str) -> Path | None:
    return None if name == STDIN else Path(name)


def _stem(name: str) -> str:
    return "stdin" if name == STDIN else Path(name).stem


def _means_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or is_folder(output)


def _named(paths: Sequence[Path], top: Path, place: Path, ending: str) -> list[tuple[Path, Path]]:
    """Give each path its file below `place`, as it lies below `top`.

    A stem that a path shares with another of its folder, whatever the case, keeps the extension.
    """
    stems = Counter((path.parent, path.stem.casefold()) for path in paths)
    named = []
    for path in paths:
        stem = path.stem if stems[path.parent, path.stem.casefold()] == 1 else path.name
        named.append((path, place / path.parent.relative_to(top) / f"{stem}.{ending}"))
    return named


def _refuse_ending(output: Path, *, several: bool) -> None:
    """Refuse a file name that says something else than what will be written there."""
    ending = output.suffix.lower()
    if ending in images.EXTENSIONS and several:
        raise UsageError(f"{output} is one picture, and there are several: give a folder")
    if ending in {*images.EXTENSIONS, ".json"} - {".png"}:
        raise UsageError(f"{output}: only PNG is written: let the name end with .png")


def refuse_output(target: Path, source: Path | None) -> None:
    """Raise `UsageError` for an output that is its own input, or whose name says something else than PNG."""
    _refuse_ending(target, several=False)
    _refuse_inputs(target, () if source is None else (os.path.realpath(source),))


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
