"""Pair every input photo with its output file before any is written, and refuse what would collide."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from cratecli.errors import UsageError
from cratecli.files import real_place
from cratecli.io.formats import ending_of
from cratecli.io.formats.names import common_root
from cratecli.runs.inputs import STDIN, Inputs, is_folder, refuse_no_path
from cratecli.runs.jobs import Failure, Job, stdin_stem
from cratecli.runs.manifest import BESIDE, MANIFEST
from cratecli.runs.naming import Place, name_outputs
from cratecli.runs.refusals import real_sources, refuse_collisions, refuse_ending, refuse_inputs

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
    `trees` are folders that each hold a picture of every photo, the one of the targets first. The files `whole` stand
    for the run. To `resume`, the manifest's rows of earlier runs are believed; to `prune`, those of photos that are
    gone are dropped; to `overwrite`, outputs that were edited since are made again too. `skipped` photos were left out
    because their output is there, `failed` ones because they, or their outputs, cannot be. `inputs` is what the user
    named, and `passed` what was passed over there.
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

    @cached_property
    def _places(self) -> dict[str, int]:
        return {job.name: place for place, job in reversed(list(enumerate(self.jobs)))}

    def place_of(self, done: HasJob) -> int:
        """Give the place of a job's result among the inputs: outcomes come as they are done."""
        return self._places[done.job.name]

    def files(self, job: Job) -> tuple[Path, ...]:
        """Give the files that are written of a photo alone, its target first."""
        if job.target is None:
            return ()
        if not self.trees:
            return (job.target,)
        within = job.target.relative_to(self.trees[0])
        return tuple(tree / within for tree in self.trees)

    @property
    def also(self) -> set[Path]:
        """Give the folders of the outputs beside targets."""
        return {file.parent for job in self.jobs for file in self.files(job)[1:]}

    @property
    def root(self) -> str | None:
        """Give the folder that names of photos in one file for all are relative to: the one named, or the innermost."""
        if self.inputs is not None and self.inputs.alone and self.inputs.folders:
            return str(self.inputs.folders[0])
        return common_root(job.name for job in self.jobs if job.source is not None)

    @property
    def manifest(self) -> Path | None:
        """Give where the manifest lies: in the folder, or beside the file of several photos, or of one to resume."""
        if self.place is not None:
            return self.place / MANIFEST
        folders_or_several = self.inputs is not None and (self.inputs.folders or not self.inputs.alone)
        if self.target and (folders_or_several or len(self.jobs) > 1 or self.resume or self.prune):
            return self.target.with_suffix(f".{MANIFEST}")
        return None


def plan(
    inputs: Inputs,
    output: str | None,
    kind: str,
    *,
    to_stdout: bool,
    records: bool = False,
    ending: str = "png",
    apart: Path | None = None,
) -> Plan:
    """Pair inputs with outputs; a folder stands for the photos in it, `-` for standard input.

    With `output`, one photo goes to that very file, unless it is a folder or ends with a slash; several
    photos, or a folder's, go into it as a folder. Without, one photo goes to standard output if `to_stdout`,
    else to `./STEM.KIND.png`, and a folder's go to `./FOLDER-KINDs/`. Within an output folder the tree is that of
    the inputs: below a folder named, below the working folder for a list, else below what loose photos share. Names are
    `STEM.png`, or longer: see `name_outputs`; they end as `ending` says. Of several photos in standard input the first
    counts, unless they go into a folder, or are asked for their `records` alone.

    What lies in the output folder, or in `apart`, is no input. Raises `NothingMatchedError`, and `UsageError` for
    outputs that collide or would overwrite an input.
    """
    refuse_no_path(output)
    into = None if output is None else Path(output)
    folders, loose = inputs.folders, inputs.loose
    if output is not None and not means_folder(output):
        refuse_ending(Path(output), ending, several=bool(folders) or not inputs.alone)
    fills = output is not None and (means_folder(output) or bool(folders) or not inputs.alone)
    if into is not None and fills and os.path.lexists(into) and not is_folder(str(into)):
        raise UsageError(f"{into} is a file: several photos, or a folder's, go into a folder")
    place = into
    drafts: list[tuple[Path | None, int, Place]] = []
    passed: list[Path] = []
    for folder in folders:
        name = folder.resolve().name
        if into is not None and folder.resolve() == into.resolve():
            raise UsageError(
                f"{folder} is an input: choose another output, or masks become photos of the next run"
            )
        here = Path(f"{name}-{kind}s") if into is None else into if inputs.alone else into / name
        found = inputs.photos(folder, os.path.realpath(apart or into or here))
        drafts += [
            (path, 0, Place(here / path.parent.relative_to(folder), path.name, ending))
            for path in found.photos
        ]
        passed += found.passed
        place = here if inputs.alone else into
    if place is not None and folders and os.path.lexists(place) and not is_folder(str(place)):
        raise UsageError(f"{place} is a file: a folder's pictures go into a folder: give -o FOLDER")
    one: list[Job] = []
    if loose and inputs.alone and (output is None or not means_folder(output)):
        target = into or (None if to_stdout else Path(f"{_stem(loose[0])}.{kind}.{ending}"))
        numbers = inputs.numbers(loose[0]) if records and target is None else (0,)
        one, place = [Job(_source(loose[0]), target, number) for number in numbers], None
    elif loose:
        drafts += _loose(inputs, loose, into, kind, ending)
    drafts = list(_once(drafts))
    targets = name_outputs([draft for *_, draft in drafts])
    jobs = [
        Job(source, target, number) for (source, number, _), target in zip(drafts, targets, strict=True)
    ] + one
    if not jobs:
        raise inputs.none_found(passed)
    refuse_collisions(jobs)
    return Plan(tuple(jobs), place, passed=tuple(passed))


def plan_one(inputs: Inputs, output: str | None, kind: str, *, to_stdout: bool, ending: str = "png") -> Plan:
    """Plan one output for all inputs, as a contact sheet is; the jobs have no targets.

    Without `output` it is standard output, if `to_stdout`; else `./STEM.KIND.png` for one photo or
    `./FOLDER-KIND.png` for one folder, and `./KIND.png` for several inputs. Raises what `plan` raises.
    """
    refuse_no_path(output)
    name = f"{_title(inputs, kind)}.{ending}"
    if output is None:
        target = None if to_stdout else Path(name)
    elif means_folder(output):
        target = Path(output) / name
    else:
        target = Path(output)
        if ending_of(target.name) != ending and target.suffix.lower() != f".{ending}":
            raise UsageError(f"{target}: {ending.upper()} is written: let the name end with .{ending}")
    jobs: list[Job] = []
    passed: list[Path] = []
    for each in inputs.named:
        if not is_folder(each):
            jobs += [Job(_source(each), None, number) for number in inputs.numbers(each)]
        else:
            found = inputs.photos(Path(each), None)
            jobs += [Job(path, None) for path in found.photos]
            passed += found.passed
    jobs += [Job(_source(each), None, number) for each in inputs.chosen for number in inputs.numbers(each)]
    jobs = list(_once(jobs))
    if not jobs:
        raise inputs.none_found(passed)
    if target is not None:
        refuse_inputs(target, jobs)
    whole = () if output is None or target is None else (target,)  # a file without a name may not be made
    return Plan(tuple(jobs), target=target, whole=whole, passed=tuple(passed))


def _title(inputs: Inputs, kind: str) -> str:
    """Name what stands for all inputs."""
    if not inputs.alone:
        return kind
    if inputs.folders:
        return f"{inputs.folders[0].resolve().name}-{kind}"
    return f"{_stem(inputs.named[0])}.{kind}"


def plan_parts(inputs: Inputs, output: str | None, kind: str, save: Path | None, ending: str = "png") -> Plan:
    """Plan a run of parts: the folder for everything it writes, and in it each photo's place.

    Without `output` it is `./FOLDER-parts` for one folder, else `./parts`; `save` is where a vocabulary is saved.
    Raises what `plan` raises.
    """
    refuse_no_path(output)
    alone = inputs.alone and bool(inputs.folders)
    place = Path(output or (f"{inputs.folders[0].resolve().name}-parts" if alone else "parts"))
    if place.is_file() or place.suffix.lower() in (".png", ".jpg", ".json"):
        raise UsageError(f"{place} is a file, or named like one: parts fill a folder")
    if any(Path(name).resolve() == place.resolve() for name in inputs.named):
        raise UsageError(
            f"{place} is an input: choose another output, or the sheet becomes a photo of the next run"
        )
    planned = plan(inputs, f"{place / kind}{os.sep}", kind, to_stdout=False, ending=ending, apart=place)
    trees = tuple(place / tree for tree in (kind, *BESIDE.get(kind, ())))
    planned = replace(planned, place=place, trees=trees)
    sources = real_sources(planned.jobs)
    whole = (place / SHEET_FILE, place / PARTS_FILE)
    written = [*whole, *(file for job in planned.jobs for file in planned.files(job))]
    if taken := [path for path in written if os.path.realpath(path) in sources]:
        raise UsageError(f"{taken[0]} is an input: choose another output")
    if save and os.path.realpath(save) in map(os.path.realpath, written):
        raise UsageError(f"{save} is written by this run anyway: choose another file for the vocabulary")
    return replace(planned, whole=whole if save is None else (*whole, save))


_Named = TypeVar("_Named", bound=Job | tuple[Path | None, int] | tuple[Path | None, int, Place])


def _once(named: Iterable[_Named]) -> Iterator[_Named]:
    """Take each photo once, whatever it is called: the first time that it is named."""
    taken = set[tuple[str | None, int]]()
    for each in named:
        source, number = (each.source, each.number) if isinstance(each, Job) else each[:2]
        if (photo := (None if source is None else real_place(source), number)) not in taken:
            taken.add(photo)
            yield each


def _loose(
    inputs: Inputs, loose: Sequence[str], into: Path | None, kind: str, ending: str
) -> list[tuple[Path | None, int, Place]]:
    """Place photos named one by one: into a folder as a tree, else side by side in the working folder."""
    numbered = list(_once((_source(name), number) for name in loose for number in inputs.numbers(name)))
    paths = [source or Path(stdin_stem(number)) for source, number in numbered]
    if into is None:
        within = [Path(path.name) for path in paths]
    elif inputs.listed:
        within = [_inside(path) for path in paths]
    else:
        absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links stay
        shared = os.path.commonpath([path.parent for path in absolute])
        within = [path.relative_to(shared) for path in absolute]
    ending = f"{kind}.{ending}" if into is None else ending
    return [
        (source, number, Place((into or Path()) / path.parent, path.name, ending))
        for (source, number), path in zip(numbered, within, strict=True)
    ]


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
    return stdin_stem(0) if name == STDIN else Path(name).stem


def means_folder(output: str) -> bool:
    """Tell whether an output's name is that of a folder: it is one, or ends with a slash."""
    return output.endswith(("/", os.sep)) or is_folder(output)


def numbered(target: Path, number: int) -> Path:
    """Name one of several files that stand for all inputs, from the second on.

    >>> numbered(Path("heads.png"), 2).name
    'heads-2.png'
    """
    return target.with_name(f"{target.stem}-{number}{target.suffix}")
