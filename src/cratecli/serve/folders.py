"""The folders whose photos a client may name, as Label Studio names its files; nothing outside is ever opened."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from urllib.parse import parse_qs, unquote, urlsplit

from cratecli.errors import InputError, UsageError
from cratecli.io.formats.label_studio import SERVED
from cratecli.serve.queue import Photo

LOCAL = SERVED.partition("?")[0]
UPLOAD = "/data/upload/"
_INLINE = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)


@dataclass(frozen=True)
class Folders:
    """Label Studio's folders on this machine: the root of its local files, and that of what was uploaded to it."""

    local: Path | None = None
    uploads: Path | None = None
    _roots: Mapping[str, Path] = field(init=False)

    def __post_init__(self) -> None:
        """Find the folders' own places, links followed. Raises `UsageError` for one that is none."""
        roots = {}
        for prefix, folder in ((LOCAL, self.local), (UPLOAD, self.uploads)):
            if folder is not None:
                if not folder.is_dir():
                    raise UsageError(f"{folder}: not a folder")
                roots[prefix] = folder.resolve()
        object.__setattr__(self, "_roots", roots)

    def photo(self, named: object) -> Photo:
        """Find the photo of a task: below one of the folders, or in a data URI.

        Raises `UsageError` for another address, which is not fetched, and for a file outside.
        """
        if not isinstance(named, str):
            raise UsageError(f"a task's photo is {short(named)}, not an address")
        if inline := _INLINE.match(named):
            try:
                return Photo("photo", base64.b64decode(named[inline.end() :], validate=True))
            except ValueError:
                raise InputError("a task's photo is not base64") from None
        try:
            address = urlsplit(named)
            names = {LOCAL: parse_qs(address.query).get("d", [""])[0]}
        except ValueError:
            raise UsageError(f"a task's photo is {short(named)}, not an address") from None
        if address.path.startswith(UPLOAD):
            names = {UPLOAD: unquote(address.path.removeprefix(UPLOAD))}
        elif address.path != LOCAL:
            raise UsageError(
                f"a task's photo is {short(named)}, and a server fetches nothing: it reads Label Studio's local "
                f"files ({LOCAL}) and uploads ({UPLOAD}) from folders"
            )
        ((prefix, name),) = names.items()
        if (root := self._roots.get(prefix)) is None:
            option = {LOCAL: "--local-files", UPLOAD: "--uploads"}[prefix]
            raise UsageError(f"{prefix} is not served: start crate serve with {option} DIR")
        return Photo(short(name), _below(root, name))


def _below(root: Path, name: str) -> Path:
    """Find a file below a folder, wherever links lead. Raises `UsageError`, the same for whatever is outside."""
    outside = UsageError(f"{short(name)}: not a photo below the folder that is served")
    try:
        path = (root / name.lstrip("/\\")).resolve()
    except (OSError, ValueError, RuntimeError):
        raise outside from None
    if root not in path.parents:
        raise outside
    return path
