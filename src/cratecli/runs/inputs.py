"""Find the photos of a run: files and folders by name, lists of paths, patterns that include and exclude."""

import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePath

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.io import images
from cratecli.io.own import ENDINGS, is_own
from cratecli.io.sources.entry import is_inside
from cratecli.io.sources.packed import Packed, expand, packed_kind, unpacked
from cratecli.io.sources.stores import Found as FoundObject
from cratecli.io.sources.stores import is_prefix, list_objects
from cratecli.io.urls import is_url, refuse_unknown, shown
from cratecli.runs.manifest import MANIFEST, is_run_folder, outputs_in

STDIN = "-"
NAMED = 3  # of many paths that are told of: the rest is counted


@dataclass(frozen=True)
class Found:
    """The photos found in folders, in order, and what was passed over there, as `crate` made it."""

    photos: list[Path] = field(default_factory=list)
    passed: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Inputs:
    """The input photos as the user names them: files and folders, URLs, shards and tables, a list, and patterns.

    Patterns are the shell's, matched with a photo's name and its path within the folder. Without `include`, the
    photos of a folder are those with a known file extension. `files_from` is the list's file, `-` for standard
    input, and `null` whether its paths end with NUL. Standard input holds `piped` photos, one after another. `column`
    is where shards and tables have photos. Raises `UsageError` for what cannot be meant.
    """

    named: tuple[str, ...]
    listed: tuple[str, ...] = ()
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    files_from: str | None = None
    null: bool = False
    piped: int = 1
    column: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without looking."""
        names = (*self.named, *self.listed)
        if names.count(STDIN) > 1:
            raise UsageError("standard input can be read only once")
        if "" in names:
            raise UsageError("a path is empty")
        for name in names:
            if is_url(name):
                refuse_unknown(name)

    def __str__(self) -> str:
        """Say what was named."""
        return ", ".join(shown(each) if is_url(each) else each for each in self.named) or "the list"

    @cached_property
    def expanded(self) -> tuple[str, ...]:
        """Give what was named, ranges of shards written out."""
        return tuple(each for name in self.named for each in expand(name))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Give those named that are folders; what a list holds is taken for photos."""
        return tuple(Path(name) for name in self.named if is_folder(name) and not packed_kind(name))

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """Give the URLs named that stand for the photos below them. Raises `InputError` where that cannot be told."""
        return tuple(name for name in self.expanded if is_url(name) and self._is_prefix(name))

    def _is_prefix(self, url: str) -> bool:
        photo = _ending(shown(url)) in images.EXTENSIONS
        return not photo and not packed_kind(url) and not is_inside(url) and is_prefix(url)

    @cached_property
    def packed(self) -> tuple[Packed, ...]:
        """Give the shards, tables and data sets, those of the list last. Raises `InputError` for one that is broken."""
        names = (*self.expanded, *self.chosen)
        return tuple(each for name in names if not is_inside(name) for each in unpacked(name, self.column))

    @cached_property
    def loose(self) -> tuple[str, ...]:
        """Give the photos named one by one, those of the list last."""
        apart = {*map(str, self.prefixes)}
        return tuple(
            name
            for name in (*self.expanded, *self.chosen)
            if name not in apart
            and (is_inside(name) or not packed_kind(name))
            and not (name in self.named and is_folder(name))
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """Give those of the list that count, each once."""
        return tuple(dict.fromkeys(name for name in self.listed if self._counts(name.removeprefix("./"))))

    def numbers(self, name: str) -> Sequence[int]:
        """Number the photos that a name stands for: one is 0; several in standard input count from 1."""
        return range(1, self.piped + 1) if name == STDIN and self.piped > 1 else (0,)

    @property
    def alone(self) -> bool:
        """Tell whether one thing is named, photo, folder or shard."""
        return len(self.expanded) == 1 and not self.listed

    def none_found(self, passed: Sequence[Path]) -> NothingMatchedError:
        """Say that there is no photo, and why there may be none."""
        reason = f"no photo in {self}"
        if passed:
            return NothingMatchedError(f"{reason} but what crate made; name files to have them read")
        if not self.recursive and (self.prefixes or any(map(_has_folders, self.folders))):
            return NothingMatchedError(f"{reason}; -r searches the folders in it too")
        return NothingMatchedError(reason)

    def objects(self, url: str) -> tuple[list[FoundObject], list[Packed]]:
        """Find the photos below a URL, in order; where there is none, the shards and tables. Raises `InputError`."""
        found = list_objects(url, recursive=self.recursive)
        photos = [each for each in found if self._counts(each.within, images.EXTENSIONS)]
        shards = (
            []
            if photos
            else [each for each in found if packed_kind(each.within) and self._counts(each.within)]
        )
        return photos, [every for each in shards for every in unpacked(each.url, self.column)]

    def shards(self, folder: Path) -> list[Packed]:
        """Find the shards and tables of a folder that holds no photo, in order."""
        pattern = "**/*" if self.recursive else "*"
        found = sorted(path for path in folder.glob(pattern) if packed_kind(str(path)) and path.is_file())
        return [
            each
            for path in found
            if not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and self._counts(path.relative_to(folder).as_posix())
            for each in unpacked(str(path), self.column)
        ]

    def photos(self, folder: Path, apart: str | None) -> Found:
        """Find a folder's photos, in order; the folder `apart`, a real path, is left out, as are hidden names.

        Below a folder each folder is visited once, whatever links say; one that cannot be listed stands among the
        photos, to be spoken of. Folders that hold a run's outputs are passed over, as are pictures with our provenance,
        unless `folder` itself is one that does. Raises `InputError` for `folder` itself.
        """
        passed: list[Path] = []
        photos = sorted(self._found(folder, apart, passed))
        return Found(photos, sorted(passed))  # in whatever order the folder lists them

    def _found(self, top: Path, apart: str | None, passed: list[Path]) -> Iterator[Path]:
        locked: list[Path] = []
        ours = is_run_folder(top)

        def fail(error: OSError) -> None:
            path = Path(error.filename)
            if path == top:
                raise InputError(f"{path}: {error.strerror}") from None
            locked.append(path)

        visited: set[tuple[int, int]] = set()
        beside: set[str] = set()  # outputs of runs beside their photos, which may have lost their provenance
        for place, below, files in os.walk(top, onerror=fail, followlinks=True):
            try:
                status = os.stat(place)  # noqa: PTH116 - a str, as os.walk gives it
            except OSError as error:  # it has just been removed
                fail(error)
                continue
            if (known := (status.st_dev, status.st_ino)) in visited or os.path.realpath(place) == apart:
                below.clear()
                continue
            visited.add(known)
            if place != str(top) and MANIFEST in files and is_run_folder(Path(place)):
                passed.append(Path(place))
                below.clear()
                continue
            if MANIFEST in files and not ours:
                beside |= {os.path.normpath(Path(place, each)) for each in outputs_in(Path(place))}
            names = files if self.recursive else [*files, *below]  # a folder named as photos are is spoken of
            if not self.recursive:
                below.clear()
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in names:
                path = Path(place) / name
                if not name.startswith(".") and self._counts(
                    path.relative_to(top).as_posix(), images.EXTENSIONS
                ):
                    made = os.path.normpath(path) in beside or (_ending(name) in ENDINGS and is_own(path))
                    if not ours and made:
                        passed.append(path)
                    else:
                        yield path
        yield from locked

    def _counts(self, within: str, endings: Container[str] | None = None) -> bool:
        def fits(pattern: str) -> bool:
            return fnmatchcase(within, pattern) or fnmatchcase(within.rpartition("/")[2], pattern)

        if any(map(fits, self.exclude)):
            return False
        return any(map(fits, self.include)) if self.include else endings is None or _ending(within) in endings


def name_some(paths: Sequence[str | Path]) -> str:
    """Name the first of some paths, and count the others.

    >>> name_some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(map(str, paths[:NAMED])) + more


def _has_folders(folder: Path) -> bool:
    return any(each.is_dir() and not each.name.startswith(".") for each in folder.iterdir())


def _ending(name: str) -> str:
    return PurePath(name).suffix.lower()


def refuse_no_path(path: str | None) -> None:
    """Raise `UsageError` for a run or an output that is no path."""
    if path == "":
        raise UsageError("a path is empty")


def is_folder(name: str) -> bool:
    return name != STDIN and os.path.isdir(name)  # noqa: PTH112 - Path.is_dir raises for a name too long
