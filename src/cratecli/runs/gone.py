"""Photos of earlier runs that are no longer there, and the files that were made of them."""

import hashlib
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cratecli.io.formats.png import embedded_text
from cratecli.runs.manifest import ManifestRow, read_manifest


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


def find_gone(
    sources: Mapping[str, str], folder: Path, keys: Container[str], tops: Sequence[str]
) -> dict[str, str]:
    """Find the photos below some folders that have a row, and are no longer there.

    `sources` are the photos by the keys of their rows, from the manifest's `folder` on; those of `keys` are in hand.
    """
    return {
        key: source
        for key, source in sources.items()
        if key not in keys and lies_below(source, tops) and is_gone(folder, source)
    }


@dataclass(frozen=True)
class Gone:
    """Photos that are no longer there, and their outputs: as they were written, and changed since."""

    photos: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()
    changed: tuple[Path, ...] = ()


def look_for_gone(manifest: Path, outputs: Iterable[Path], below: Iterable[Path]) -> Gone:
    """Find photos below some folders that have a row, and are no longer there; `outputs` are those of photos that are.

    Changes nothing. Raises `InputError` for a manifest that is none; where there is none at all, nothing is gone.
    """
    if not os.path.lexists(manifest):
        return Gone()
    folder = manifest.parent

    def within(path: Path) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    def paths(names: Iterable[str]) -> tuple[Path, ...]:
        return tuple(Path(os.path.normpath(folder / name)) for name in names)

    rows = {line.row.key: line.row for line in read_manifest(manifest)}
    sources = {key: row.input for key, row in rows.items()}
    gone = find_gone(sources, folder, set(map(within, outputs)), list(map(within, below)))
    found = [outputs_of(folder, rows[key]) for key in sorted(gone)]
    written = paths(name for names, _ in found for name in names)
    changed = paths(name for _, names in found for name in names)
    return Gone(paths(sorted(set(gone.values()))), written, changed)


def remove_outputs(folder: Path, row: ManifestRow) -> list[str]:
    """Remove what was written of a photo, for a manifest in `folder`; gives what was changed since, and stays.

    Raises `OSError`.
    """
    written, kept = outputs_of(folder, row)
    for name in written:
        (folder / name).unlink()
    return kept


def outputs_of(folder: Path, row: ManifestRow) -> tuple[list[str], list[str]]:
    """List what was written of a photo, and is there: as it was written, and changed since. Raises `OSError`."""
    written, changed = list[str](), list[str]()
    for name in (row.output, *row.beside):
        if name is not None and (folder / name).is_file():
            (written if _as_written(folder / name, row, name) else changed).append(name)
    return written, changed


def _as_written(path: Path, row: ManifestRow, name: str) -> bool:
    """Tell whether a file is what the run wrote: by its hash, beside it by the photo that its text names."""
    content = path.read_bytes()
    if name == row.output:
        return hashlib.sha256(content).hexdigest() == row.output_sha256
    with suppress(ValueError, AttributeError):
        made = json.loads(embedded_text(content) or "null")
        return bool(made.get("input_sha256") == row.input_sha256)
    return False
