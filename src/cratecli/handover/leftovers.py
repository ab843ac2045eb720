"""What an earlier export left in a folder of files a photo, and this one did not write again."""

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cratecli.errors import InputError, OutputError
from cratecli.handover.export import encoded, file_names
from cratecli.handover.finished_run import FinishedPhoto, FinishedRun
from cratecli.handover.photos import file_hash, stands_for
from cratecli.io.formats.record import classes
from cratecli.io.formats.table import FileEach


@dataclass(frozen=True)
class Leftovers:
    """Files of no photo that was exported: those that were removed, and those that are still there."""

    removed: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()


def clear_leftovers(run: FinishedRun, form: FileEach, folder: Path, written: Collection[Path]) -> Leftovers:
    """Look for what no photo of this export stands for; `written` are the files that hold objects.

    Of photos that were left out, what an export made is removed: a link to the photo, its copy, or the very bytes of
    its file of objects. All else stays, as it may be somebody's work. Beside those, only folders that a tool takes
    whole are looked into. Raises `OutputError` for what cannot be removed.
    """
    made, copies = dict[Path, FinishedPhoto](), dict[Path, FinishedPhoto]()
    for photo, file in zip(run.before, file_names(run.before, form), strict=True):
        made[folder / form.folder / f"{file}.{form.ending}"] = photo
        if form.photos:
            copies[folder / form.photos / f"{file}{PurePosixPath(photo.name).suffix}"] = photo
    found = set(_taken_whole(form, folder, written)) if form.photos else {*filter(os.path.lexists, made)}
    stale = sorted(found - set(written))
    ours = _as_made(run, form, folder, {path: made[path] for path in stale if path in made})
    ours |= {path for path in stale if path in copies and _is_ours(path, copies[path], run)}
    for path in ours:
        try:
            path.unlink()
        except OSError as error:
            raise OutputError.of(path, error) from None
    return Leftovers(
        tuple(path for path in stale if path in ours), tuple(path for path in stale if path not in ours)
    )


def _taken_whole(form: FileEach, folder: Path, written: Collection[Path]) -> Iterator[Path]:
    """List the files that a tool would take: of objects, and photos for which none was written."""
    with_objects = {path.relative_to(folder / form.folder).with_suffix("") for path in written}
    for top, endings in ((form.folder, {f".{form.ending}"}), (form.photos, form.endings)):
        if (folder / top).is_symlink():  # somebody's photos, not ours
            continue
        for place, _, names in os.walk(folder / top):
            for path in (Path(place) / name for name in names if not name.startswith(".")):
                stem = path.relative_to(folder / top).with_suffix("")
                if path.suffix.lower() in endings and stem not in with_objects:
                    yield path


def _as_made(run: FinishedRun, form: FileEach, folder: Path, files: dict[Path, FinishedPhoto]) -> set[Path]:
    """Choose the files of objects that are what an export of all photos makes, to the byte."""
    if not files:
        return set()
    names = classes(replace(run, photos=run.before))
    targets = {photo.number: path for path, photo in files.items()}
    same = set[Path]()
    for photo, annotated in replace(run, photos=tuple(files.values())).rows():
        path = targets[photo.number]
        try:
            content = encoded(run, form, photo, annotated, names=names, folder=folder, target=path)
            if _is_apart(path, run) and file_hash(path) == hashlib.sha256(content).hexdigest():
                same.add(path)
        except (InputError, OSError):  # it takes the photo to tell
            continue
    return same


def _is_ours(path: Path, photo: FinishedPhoto, run: FinishedRun) -> bool:
    """Tell whether a file is a link to a photo, or its copy, and not one of the run's own files."""
    return (path.is_symlink() or _is_apart(path, run)) and stands_for(path, photo)


def _is_apart(path: Path, run: FinishedRun) -> bool:
    """Tell whether a file is no link, and none of the run's own."""
    return not path.is_symlink() and os.path.realpath(path) not in run.protected
