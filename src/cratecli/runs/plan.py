"""Pair every input photo with its output file before any is written, and refuse what would collide."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cratecli.errors import UsageError
from cratecli.files import real_place
from cratecli.io.formats import ending_of
from cratecli.io.sources.entry import Entry, is_inside
from cratecli.io.sources.packed import Packed, entry_at, packed_kind
from cratecli.io.sources.stores import Destination, photo_at
from cratecli.io.urls import is_url, path_of, shown
from cratecli.runs.inputs import STDIN, Inputs, is_folder, refuse_no_path
from cratecli.runs.jobs import Job, stdin_stem
from cratecli.runs.naming import Place, name_outputs
from cratecli.runs.planned import Plan
from cratecli.runs.refusals import refuse_collisions, refuse_ending, refuse_inputs, refuse_reading
from cratecli.runs.streams import streams_of


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
    destination = Destination.of(output) if output is not None and is_url(output) else None
    into = None if output is None else Path(output if destination is None else destination.url)
    folders, loose = inputs.folders, inputs.loose
    many = not inputs.alone or bool(folders or inputs.prefixes or inputs.packed)
    if output is not None and not means_folder(output):
        refuse_ending(Path(output), ending, several=many)
    fills = output is not None and (means_folder(output) or many)
    if into is not None and fills and os.path.lexists(into) and not is_folder(str(into)):
        raise UsageError(f"{into} is a file: several photos, or a folder's, go into a folder")
    place = into
    drafts: list[tuple[Job, Place]] = []
    passed: list[Path] = []
    packed = list(inputs.packed)

    def filled(name: str) -> Path:
        """Choose the folder for the outputs of a folder called so."""
        return Path(f"{name}-{kind}s") if into is None else into if inputs.alone else into / name

    for folder in folders:
        if into is not None and folder.resolve() == into.resolve():
            raise UsageError(
                f"{folder} is an input: choose another output, or masks become photos of the next run"
            )
        here = filled(folder.resolve().name)
        found = inputs.photos(folder, os.path.realpath(apart or into or here))
        packed += [] if found.photos or found.passed else inputs.shards(folder)
        drafts += [
            (Job(path, None), Place(here / path.parent.relative_to(folder), path.name, ending))
            for path in found.photos
        ]
        passed += found.passed
        place = here if inputs.alone else into
    for url in inputs.prefixes:
        here = filled(path_of(url).name)
        photos, shards = _below(inputs, url, destination)
        packed += shards
        for entry, within in photos:
            drafts.append((Job(None, None, entry=entry), Place(here / within.parent, within.name, ending)))
        place = here if inputs.alone else into
    if packed and place is None:
        place = filled(packed[0].place.name) if inputs.alone else Path(f"{kind}s")
    if place is not None and many and os.path.lexists(place) and not is_folder(str(place)):
        raise UsageError(f"{place} is a file: a folder's pictures go into a folder: give -o FOLDER")
    one: list[Job] = []
    if loose and not many and (output is None or not means_folder(output)):
        target = into or (None if to_stdout else Path(f"{_stem(loose[0])}.{kind}.{ending}"))
        numbers = inputs.numbers(loose[0]) if records and target is None else (0,)
        one = [
            replace(job_of(loose[0], number), target=target, destination=destination) for number in numbers
        ]
        place = None
    elif loose:
        drafts += _loose(inputs, loose, into, kind, ending)
    drafts = list(_once(drafts))
    targets = name_outputs([draft for _, draft in drafts])
    jobs = [
        replace(job, target=target, destination=destination)
        for (job, _), target in zip(drafts, targets, strict=True)
    ] + one
    if not jobs and not packed:
        raise inputs.none_found(passed)
    refuse_collisions(jobs)
    streams = streams_of(packed, place, ending, destination)
    return Plan(tuple(jobs), place, passed=tuple(passed), streams=streams, destination=destination)


def _below(
    inputs: Inputs, url: str, destination: Destination | None
) -> tuple[list[tuple[Entry, Path]], list[Packed]]:
    """Find the photos below a URL, and their paths from there on, or else the shards; what is written is left out.

    Raises `UsageError` where outputs would go among the photos.
    """
    photos, shards = inputs.objects(url)
    if destination is not None:
        if url.rstrip("/") == destination.url:
            raise UsageError(
                f"{shown(url)} is an input: choose another output, or masks become photos of the next run"
            )
        photos = [each for each in photos if not each.url.startswith(f"{destination.url}/")]
    return [(photo_at(each.url), _inside(Path(each.within))) for each in photos], shards


def plan_one(inputs: Inputs, output: str | None, kind: str, *, to_stdout: bool, ending: str = "png") -> Plan:
    """Plan one output for all inputs, as a contact sheet is; the jobs have no targets.

    Without `output` it is standard output, if `to_stdout`; else `./STEM.KIND.png` for one photo or
    `./FOLDER-KIND.png` for one folder, and `./KIND.png` for several inputs. Raises what `plan` raises.
    """
    refuse_no_path(output)
    name = f"{_title(inputs, kind)}.{ending}"
    destination = root = place = None
    if output is None:
        target = None if to_stdout else Path(name)
    else:
        url = f"{output}{name}" if is_url(output) and means_folder(output) else output
        destination = Destination.of(url) if is_url(url) else None
        root = Destination.of(output) if is_url(output) else None
        into = Path(url if destination is None else destination.url)
        target = into / name if destination is None and means_folder(output) else into
        place = target.parent if means_folder(output) and ending != "json" else None
        if ending_of(target.name) != ending and target.suffix.lower() != f".{ending}":
            raise UsageError(f"{target}: {ending.upper()} is written: let the name end with .{ending}")
    jobs: list[Job] = []
    passed: list[Path] = []
    packed = list(inputs.packed)
    loose = {*inputs.loose}
    for each in inputs.expanded:
        if each in inputs.prefixes:
            photos, shards = _below(inputs, each, None)
            jobs += [Job(None, None, entry=entry) for entry, _ in photos]
            packed += shards
        elif each in loose:
            jobs += [job_of(each, number) for number in inputs.numbers(each)]
        elif is_folder(each) and packed_kind(each) is None:
            found = inputs.photos(Path(each), None)
            packed += [] if found.photos or found.passed else inputs.shards(Path(each))
            jobs += [Job(path, None) for path in found.photos]
            passed += found.passed
    chosen = [each for each in inputs.chosen if each in loose]
    jobs += [job_of(each, number) for each in chosen for number in inputs.numbers(each)]
    jobs = list(_once(jobs))
    if not jobs and not packed:
        raise inputs.none_found(passed)
    if target is not None:
        refuse_inputs(target, jobs)
    streams = streams_of(packed, place, ending, root, whole=True)
    written = {target, *(stream.whole for stream in streams)} - {None}
    refuse_reading(written, [each.path for each in packed])
    whole = () if output is None or target is None else (target,)  # a file without a name may not be made
    return Plan(
        tuple(jobs),
        place if packed else None,
        target,
        whole=whole,
        passed=tuple(passed),
        streams=streams,
        destination=destination,
    )


def _title(inputs: Inputs, kind: str) -> str:
    """Name what stands for all inputs."""
    if not inputs.alone:
        return kind
    if inputs.folders:
        return f"{inputs.folders[0].resolve().name}-{kind}"
    if inputs.prefixes or inputs.packed:
        place = inputs.packed[0].place if inputs.packed else path_of(inputs.prefixes[0])
        return f"{place.name}-{kind}"
    return f"{_stem(inputs.named[0])}.{kind}"


_Named = TypeVar("_Named", bound=Job | tuple[Job, Place])


def _once(named: Iterable[_Named]) -> Iterator[_Named]:
    """Take each photo once, whatever it is called: the first time that it is named."""
    taken = set[tuple[str | None, int]]()
    for each in named:
        job = each if isinstance(each, Job) else each[0]
        place = job.entry.url if job.entry else None if job.source is None else real_place(job.source)
        if (photo := (place, job.number)) not in taken:
            taken.add(photo)
            yield each


def _loose(
    inputs: Inputs, loose: Sequence[str], into: Path | None, kind: str, ending: str
) -> list[tuple[Job, Place]]:
    """Place photos named one by one: into a folder as a tree, else side by side in the working folder."""
    jobs = list(_once(job_of(name, number) for name in loose for number in inputs.numbers(name)))
    paths = [
        Path(job.entry.title) if job.entry else job.source or Path(stdin_stem(job.number)) for job in jobs
    ]
    if into is None:
        within = [Path(path.name) for path in paths]
    elif inputs.listed:
        within = [_inside(path) for path in paths]
    else:
        within = _below_shared(paths, [job.entry is not None for job in jobs])
    ending = f"{kind}.{ending}" if into is None else ending
    return [
        (job, Place((into or Path()) / path.parent, path.name, ending))
        for job, path in zip(jobs, within, strict=True)
    ]


def _below_shared(paths: Sequence[Path], entries: Sequence[bool]) -> list[Path]:
    """Give paths below the folder that all of their kind share: files of a drive, and what is no file."""
    places = [
        Path("/", path) if entry else Path(os.path.abspath(path))  # noqa: PTH100 - links stay
        for path, entry in zip(paths, entries, strict=True)
    ]
    kinds = [(entry, place.drive) for place, entry in zip(places, entries, strict=True)]
    shared = {
        kind: os.path.commonpath(
            [place.parent for place, is_kind in zip(places, kinds, strict=True) if is_kind == kind]
        )
        for kind in set(kinds)
    }
    return [_inside(place.relative_to(shared[kind])) for place, kind in zip(places, kinds, strict=True)]


def _inside(path: Path) -> Path:
    """Keep of a listed photo's path what cannot lead out of a folder.

    >>> [_inside(Path(name)).as_posix() for name in ("./a/b.jpg", "../../x.jpg", "/abs/x.jpg")]
    ['a/b.jpg', 'x.jpg', 'abs/x.jpg']
    """
    parts = Path(os.path.normpath(str(path).replace("\0", "%00"))).parts
    return Path(*(part for part in parts if part not in ("..", path.anchor)))


def job_of(name: str, number: int = 0) -> Job:
    """Make a job of a photo that is named by itself: a path, a URL, one inside a shard, standard input."""
    if name == STDIN:
        return Job(None, None, number)
    if is_url(name) or (is_inside(name) and not os.path.lexists(name)):
        return Job(None, None, number, entry=entry_at(name))
    return Job(Path(name), None, number)


def _stem(name: str) -> str:
    if name == STDIN:
        return stdin_stem(0)
    return (
        path_of(name).stem
        if is_url(name)
        else Path(name.rpartition("::")[2] if is_inside(name) else name).stem
    )


def means_folder(output: str) -> bool:
    """Tell whether an output's name is that of a folder: it is one, or ends with a slash."""
    return output.endswith(("/", os.sep)) or is_folder(output)


def numbered(target: Path, number: int) -> Path:
    """Name one of several files that stand for all inputs, from the second on.

    >>> numbered(Path("heads.png"), 2).name
    'heads-2.png'
    """
    return target.with_name(f"{target.stem}-{number}{target.suffix}")
