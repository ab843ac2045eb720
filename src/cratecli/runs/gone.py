"""Photos of earlier runs that are no longer there, and the files that were made of them."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cratecli.io.formats.png import embedded_text
from cratecli.runs.manifest import ManifestRow


def is_gone(folder: Path, source: str) -> bool:
    """Tell whether a photo of a manifest in `folder` is no longer there, for certain; standard input always is."""
    try:
        os.lstat(folder / source)  # a link that leads nowhere is there
    except (FileNotFoundError, NotADirectoryError):
        return source != "-"
    except (OSError, ValueError):  # its folder may be locked, or its disk away
        return False
    return False


def lies_below(source: str, tops: Iterable[str]) -> bool:
    """Tell whether a photo lies below one of some folders; all paths are relative to one place."""
    ways = (os.path.relpath(source, top) for top in tops)
    return any(way != ".." and not way.startswith(f"..{os.sep}") for way in ways)


def remove_outputs(folder: Path, row: ManifestRow) -> list[str]:
    """Remove what was written of a photo, for a manifest in `folder`; gives what was changed since, and stays.

    Raises `OSError`.
    """
    kept = []
    for name in (row.output, *row.beside):
        if name is not None and (folder / name).is_file():
            if _as_written(folder / name, row, name):
                (folder / name).unlink()
            else:
                kept.append(name)
    return kept


def _as_written(path: Path, row: ManifestRow, name: str) -> bool:
    """Tell whether a file is what the run wrote: by its hash, beside it by the photo that its text names."""
    content = path.read_bytes()
    if name == row.output:
        return hashlib.sha256(content).hexdigest() == row.output_sha256
    with suppress(ValueError, AttributeError):
        made = json.loads(embedded_text(content) or "null")
        return bool(made.get("input_sha256") == row.input_sha256)
    return False
