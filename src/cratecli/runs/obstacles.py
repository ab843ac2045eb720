"""What can be told of outputs before the first is written: names that are too long, and what stands in the way."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cratecli.errors import OutputError

TEMPORARY = 44  # bytes of the name under which a file is written first: see `files.replacing`
_UNLIMITED = 1 << 30
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"}
_DEVICES |= {f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"}


def forbidden_on_windows(name: str) -> str | None:
    """Tell why a file or a folder on Windows cannot have a name; some it would silently take for something else.

    >>> forbidden_on_windows("Aux.mask.png")
    'Windows keeps the name Aux for a device'
    >>> forbidden_on_windows("a:b.png")
    "Windows allows no ':' in a name"
    """
    for character in name:
        if character in '<>:"/\\|?*' or ord(character) < 32:
            return f"Windows allows no {character!r} in a name"
    if name.endswith((".", " ")):
        return "Windows drops a point or a space at the end of a name"
    stem = name.partition(".")[0].rstrip()
    return f"Windows keeps the name {stem} for a device" if stem.lower() in _DEVICES else None


@dataclass(frozen=True)
class _Folder:
    """A folder of outputs, there or to be made: why it cannot be, its path's bytes, and the most that fit."""

    refusal: str | None
    path: int
    longest_name: int
    longest_path: int


class Disk:
    """The disk that outputs go to, as it is now; each folder is looked at once."""

    def __init__(self, *, windows: bool = os.name == "nt") -> None:
        """Look at nothing yet; on `windows` some names are refused, such as those of photos in archives."""
        self._windows = windows
        self._folders: dict[Path, _Folder] = {}

    def refuse(self, outputs: Iterable[Path], *, regular: bool = True) -> None:
        """Raise an `OutputError`, `alone`, for the first output that cannot be written as things stand.

        Unless they must be `regular`, a device or a pipe may be in their place.
        """
        for output in outputs:
            if reason := self._refusal(output, regular):
                raise OutputError(f"{output}: cannot be written: {reason}", alone=True)

    def _refusal(self, output: Path, regular: bool) -> str | None:
        folder, name = self._folder(output.parent), len(os.fsencode(output.name))
        if folder.refusal is not None:
            return folder.refusal
        if self._windows and (forbidden := forbidden_on_windows(output.name)):
            return f"{forbidden}: rename the photo"
        if name > folder.longest_name:
            return f"its name has {name} bytes, and {folder.longest_name} fit there: rename the photo"
        if folder.path + 1 + max(name, TEMPORARY) >= folder.longest_path:
            return (
                f"its path is too long, {folder.longest_path - 1} bytes fit: choose a shorter output folder"
            )
        what = _in_its_place(output, regular)
        return what and f"{what} is in its place: move it, or choose another output"

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            self._folders[path] = self._look(path)
        return self._folders[path]

    def _look(self, path: Path) -> _Folder:
        if os.path.isdir(path):  # noqa: PTH112
            length = len(os.fsencode(os.path.realpath(path)))
            return _Folder(None, length, _limit(path, "PC_NAME_MAX"), _limit(path, "PC_PATH_MAX"))
        if path.parent == path:  # a drive, of Windows
            return _Folder(f"there is no {path}", 0, _UNLIMITED, _UNLIMITED)
        above = self._folder(path.parent)
        name = len(os.fsencode(path.name))
        refusal = above.refusal
        if os.path.lexists(path):
            refusal = f"{path} is no folder: move it, or choose another output"
        elif refusal is None and self._windows and (forbidden := forbidden_on_windows(path.name)):
            refusal = f"{path}: {forbidden}: rename it"
        elif refusal is None and name > above.longest_name:
            refusal = f"the name of its folder has {name} bytes, and {above.longest_name} fit there"
        return _Folder(refusal, above.path + 1 + name, above.longest_name, above.longest_path)


def _in_its_place(output: Path, regular: bool) -> str | None:
    """Tell what is in the place of an output, and no file."""
    try:
        mode = output.stat().st_mode
    except OSError:  # nothing, or a link to nowhere
        return None
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe or a device" if regular and not stat.S_ISREG(mode) else None


def _limit(folder: Path, which: str) -> int:
    """Ask the file system of a folder for a limit, in bytes; there is none where it cannot be asked."""
    try:
        most = os.pathconf(folder, which)
    except (AttributeError, OSError, ValueError):  # no POSIX, not this one, not there
        return _UNLIMITED
    return most if most > 0 else _UNLIMITED
