"""Read a finished run from its manifest: its photos, the names that formats give them, and the photos' pixels."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.files import open_file, real_folder
from cratecli.io.formats.names import bare, common_root, common_url, name_below, plain, safe, stems
from cratecli.io.formats.record import Annotated, check_size, restore
from cratecli.io.formats.table import Info
from cratecli.io.ranges import Range
from cratecli.io.sources.entry import entry_here, is_entry, title_of
from cratecli.io.urls import is_url
from cratecli.runs.gone import find_missing
from cratecli.runs.manifest import MANIFEST, Line, ManifestRow, read_manifest
from cratecli.runs.provenance import relative
from cratecli.version import __version__


@dataclass(frozen=True)
class RunModel:
    """Names the model of a run, by the registry or, if `is_file`, by its file's path, and the SHA-256 of its file."""

    name: str
    sha256: str
    is_file: bool


@dataclass(frozen=True)
class FinishedPhoto:
    """Names one photo of a finished run, and locates its manifest row.

    The row is the `number`th of the manifest, from 1, and takes `length` bytes from byte `start`. `source` is the
    photo's path, `sha256` that of its bytes. `name` is its name in an annotation file, `file` its path in an output
    folder, without extension; neither leads out of it. `range` says how its numbers were read, `model` which model
    saw it, if its row says so. `output` is what the run wrote of it, with its hash then, and whether that is the
    one mask of `segment`. `score`, 0–1, is its objects' mean, 0 without any. `entry`: see `Entry`.
    """

    number: int
    start: int
    length: int
    source: Path
    sha256: str
    name: str
    file: str
    range: str
    model: RunModel | None
    output: Path | None = None
    output_sha256: str | None = None
    is_mask: bool = False
    score: float = 0.0
    entry: str | None = None

    @property
    def shown(self) -> str:
        """Give the photo's path as the user would write it, without the detour through the manifest's folder."""
        return self.entry or os.path.normpath(self.source)

    def seen_from(self, target: Path | None) -> str:
        """Give the photo's path, or URL, as what is written at `target` names it."""
        return self.entry if self.entry and is_url(self.entry) else relative(self.shown, target)


@dataclass(frozen=True)
class FinishedRun:
    """Lists the photos of a finished run; each iteration reads their objects from the manifest again.

    Photos are in the order of their names, so that memory does not grow with the manifest and the order in which
    they were finished does not matter. `protected` are the real paths of the run's photos, outputs and manifest;
    `info` is the provenance that annotation files have room for. `gone` are the paths of photos that are no longer
    there, listed or not; if not, `before` are all photos, as an export named them then. Those that are not there
    with their whole folder may be `away`. Each of `changes` is made to a photo's objects as they are read;
    `options` are what was asked for to that end.
    """

    manifest: Path
    photos: tuple[FinishedPhoto, ...]
    protected: frozenset[str]
    info: Info
    gone: tuple[str, ...] = ()
    before: tuple[FinishedPhoto, ...] = ()
    changes: tuple[Callable[[FinishedPhoto, Annotated], Annotated], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    away: tuple[str, ...] = ()

    @property
    def root(self) -> Path | None:
        """Give the folder that the names of all photos are relative to; nothing if there is none."""
        named = [(Path(os.path.normpath(photo.source.absolute())), photo.name) for photo in self.photos]
        places = (each for each in named[0][0].parents if all(_is_named(*photo, each) for photo in named))
        root = next(places, None)
        return root if root and root.is_dir() else None

    def root_seen_from(self, target: Path | None) -> dict[str, str]:
        """Give the root as annotation files hold it, if there is one."""
        return {} if self.root is None else {"root": relative(self.root, target)}

    def doubtful_first(self) -> "FinishedRun":
        """Order the photos by their scores, the lowest first."""
        return replace(self, photos=tuple(sorted(self.photos, key=lambda photo: photo.score)))

    def naming_sources(self, target: Path | None) -> "FinishedRun":
        """Name the sources of photos as what is written at `target` does."""

        def change(photo: FinishedPhoto, annotated: Annotated) -> Annotated:
            return replace(annotated, source=photo.seen_from(target))

        return replace(self, changes=(*self.changes, change))

    def __iter__(self) -> Iterator[Annotated]:
        """Yield the annotated photos, under the names that formats use."""
        return (annotated for _, annotated in self.rows())

    def rows(self) -> Iterator[tuple[FinishedPhoto, Annotated]]:
        """Yield each photo with its objects. Raises `InputError` if the manifest has changed since `read_run`."""
        try:
            with open_file(self.manifest) as stream:
                for photo in self.photos:
                    stream.seek(photo.start)
                    row = ManifestRow.from_json(stream.read(photo.length))
                    if row.input_sha256 != photo.sha256:
                        raise ValueError("another photo")
                    annotated = replace(_checked(self.manifest, photo.number, row), name=photo.name)
                    for change in self.changes:
                        annotated = change(photo, annotated)
                    yield photo, annotated
        except OSError as error:
            raise InputError(f"{self.manifest}: {error.strerror}") from None
        except ValueError:
            raise InputError(f"{self.manifest}: has changed meanwhile: export again") from None


def read_run(path: Path, *, prune: bool = False) -> FinishedRun:
    """Read a finished run from its manifest or from its folder; of two rows of one photo the later counts.

    To `prune`, photos that are no longer there are left out. Rows of commands that make no masks are passed over.
    Raises `InputError`, as `FILE:LINE: reason`, for a file that is no manifest, `NothingMatchedError` for an empty
    one, and `UsageError` where two photos would have one name in an annotation file.
    """
    manifest = path / MANIFEST if path.is_dir() else path
    if path.is_dir() and not manifest.exists():
        hint = [*map("{} is one".format, path.glob(f"*.{MANIFEST}")), "crate segment -o FOLDER makes one"]
        raise InputError(f"{manifest}: No such file: the folder is no run; {hint[0]}")
    without_masks: str | None = None
    last: dict[str, tuple[int, Line]] = {}
    made: dict[str, dict[str, Any]] = {}  # by the options' digest
    scores: dict[int, float] = {}
    for number, line in enumerate(read_manifest(manifest), 1):
        row = line.row
        annotated = _checked(manifest, number, row)
        if (command := row.made.get("command")) in ("heads", "layers", "explore"):
            without_masks = command
            continue
        last[row.input] = number, replace(line, row=row.model_copy(update={"made": {}, "objects": []}))
        made.setdefault(row.options, row.made)
        scores[number] = annotated.score
    if not last and without_masks:
        raise InputError(f"{manifest}: a run of crate {without_masks} has no masks")
    if not last:
        raise NothingMatchedError(f"{manifest}: no photo was done")
    place = real_folder(manifest.parent)
    named = (each for _, line in last.values() for each in (line.row.input, line.row.output) if each)
    paths = [place / each.partition("::")[0] for each in named if not is_url(each)]
    missing = find_missing({source: source for source in last}, place)
    gone, away = missing.gone, missing.away
    before = _named_before(place, last, made) if prune and gone else ()
    if prune:
        last = {source: row for source, row in last.items() if source not in gone}
    rows = {number: line.row for number, line in last.values()}
    found = _named(place, list(last.values()), made)
    photos = tuple(replace(photo, score=scores[photo.number]) for photo in found)
    ways = dict.fromkeys(rows[photo.number].options for photo in photos)
    info = {"description": f"crate {__version__}", "made": [made[options] for options in ways]}
    protected = frozenset(os.path.realpath(each) for each in (manifest, *paths))
    return FinishedRun(
        manifest, photos, protected, info, _shown(place, gone), before, away=_shown(place, away)
    )


def _shown(place: Path, sources: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(os.path.normpath(place / each) for each in sources))


def _named_before(
    place: Path, last: Mapping[str, tuple[int, Line]], made: Mapping[str, dict[str, Any]]
) -> tuple[FinishedPhoto, ...]:
    """Name all photos of a run, if they can be."""
    try:
        return _named(place, list(last.values()), made)
    except UsageError:
        return ()


def _checked(manifest: Path, number: int, row: ManifestRow) -> Annotated:
    try:
        return checked(row)
    except ValueError as error:
        raise InputError(f"{manifest}:{number}: not a row of a manifest ({error})") from None


def checked(row: ManifestRow) -> Annotated:
    """Validate a row, and measure area and box from the masks; an empty mask is left out. Raises `ValueError`."""
    photo = row.annotated
    check_size(photo.height, photo.width)
    json.dumps(row.made, allow_nan=False)
    if paths := [path for path in (row.input, row.output) if path and b"\0" in os.fsencode(path)]:
        raise ValueError(f"{paths[0]!r} is no path")
    objects = [restore(each.rle, each.score, plain(each.label)) for each in photo.objects]
    for each in objects:
        if each.rle["size"] != [photo.height, photo.width]:
            raise ValueError("a mask is not of its photo's size")
        if not (0 <= each.score <= 1 and each.label):
            raise ValueError("an object has no score of 0 to 1, or no label")
    return replace(photo, objects=[each for each in objects if each.area])


def _is_named(source: Path, name: str, root: Path) -> bool:
    """Tell whether a photo is called so from a folder on; what formats cannot hold is escaped in its name."""
    within = str(source.relative_to(root)) if source.is_relative_to(root) else None
    return within is not None and name in (within, safe(within))


def _asked(made: dict[str, Any]) -> tuple[object, object]:
    return made.get("command"), made.get("as")


def _range(made: dict[str, Any]) -> str:
    """Find how a run read the numbers of its photos; what is no range is left to the usual one."""
    try:
        chosen = str(made["recipe"]["range"])
        Range.parse(chosen)
    except (KeyError, TypeError, ValueError):
        return "auto"
    return chosen


def _model(made: dict[str, Any], place: Path) -> RunModel | None:
    """Find which model a run says it asked; the path of a file is relative to the manifest's folder, `place`."""
    name, sha256 = made.get("weights"), made.get("weights_sha256")
    if not isinstance(name, str) or not isinstance(sha256, str):
        return None
    is_file = made.get("weights_are") == "file"
    return RunModel(os.path.normpath(place / name) if is_file else name, sha256, is_file)


def _named(
    place: Path, lines: Sequence[tuple[int, Line]], made: Mapping[str, dict[str, Any]]
) -> tuple[FinishedPhoto, ...]:
    """Name each photo after its place in the tree of outputs; sorted.

    Where outputs are shared, photos are named from the folder on that all of them lie in.
    """
    rows = [line.row for _, line in lines]
    outputs = Counter(row.output for row in rows)
    own = [row.output if outputs[row.output] == 1 else None for row in rows]
    titles = {row.input: title_of(row.input) if is_entry(row.input) else row.input for row in rows}
    top = common_url(each for each in own if each is not None and is_url(each))
    root = common_root(
        str(place / titles[row.input]) for row, output in zip(rows, own, strict=True) if output is None
    )
    names: dict[str, ManifestRow] = {}
    for row, output in zip(rows, own, strict=True):
        in_tree = (
            PurePosixPath((output or "").removeprefix(top)).parent / PurePosixPath(titles[row.input]).name
        )
        title = str(place / titles[row.input])
        name = safe(str(in_tree)) if output is not None else name_below(title, root or ".")
        if (first := names.setdefault(name, row)) is not row:
            raise UsageError(f"{first.input} and {row.input} would both be called {name}: run them apart")
    files = [
        stem if output is None else bare(safe(output.removeprefix(top)))
        for stem, output in zip(stems(list(names)), own, strict=True)
    ]
    photos = [
        FinishedPhoto(
            number,
            line.start,
            line.length,
            place / line.row.input,
            line.row.input_sha256,
            name,
            file,
            _range(made[line.row.options]),
            _model(made[line.row.options], place),
            None
            if line.row.output is None or is_url(line.row.output)
            else Path(os.path.normpath(place / line.row.output)),
            line.row.output_sha256,
            _asked(made[line.row.options]) == ("segment", "mask"),
            entry=entry_here(line.row.input, place),
        )
        for (number, line), name, file in zip(lines, names, files, strict=True)
    ]
    return tuple(sorted(photos, key=lambda photo: PurePosixPath(photo.name)))
