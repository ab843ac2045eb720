"""Photos of earlier runs that are no longer there, and the files that were made of them."""

import hashlib
import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cratecli.files import real_folder, seen_from
from cratecli.io.sources.entry import is_entry
from cratecli.io.urls import is_url
from cratecli.runs.manifest import ManifestRow, read_manifest

CHANGED = "was changed since it was made"
AWAY = "not there, nor is another photo of their folders, so a disk may be away: {}; their outputs stay"


@dataclass(frozen=True)
class Missing:
    """Photos that are not there, by the keys of their rows: those that are `gone`, and those that may be `away`."""

    gone: dict[str, str] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)


def find_missing(
    sources: Mapping[str, str],
    folder: Path,
    keys: Container[str] = (),
    tops: Iterable[Path] | None = None,
) -> Missing:
    """Find the photos that have a row and are not there, below some folders if they are given.

    `sources` are the photos by the keys of their rows, from the manifest's `folder` on; those of `keys` are in hand.
    One is gone if another photo that has a row is still in its folder. Where none is, the folder missing, empty or
    full of others, its disk may be away.
    """
    real = os.path.realpath(folder)
    places = {
        key: os.path.normpath(os.path.join(real, source))  # noqa: PTH118
        for key, source in sources.items()
        if source != "-" and not source.startswith("-/") and not is_entry(source)
    }
    above = None if tops is None else [os.path.realpath(top) for top in tops]
    missing = {
        key: place
        for key, place in places.items()
        if key not in keys and (above is None or lies_below(place, above)) and is_missing(place)
    }
    asked = {os.path.dirname(place) for place in missing.values()}  # noqa: PTH120
    around = (place for place in places.values() if os.path.dirname(place) in asked)  # noqa: PTH120
    sure = {os.path.dirname(place) for place in around if os.path.lexists(place)}  # noqa: PTH120
    found = Missing()
    for key, place in missing.items():
        kind = found.gone if os.path.dirname(place) in sure else found.away  # noqa: PTH120
        kind[key] = sources[key]
    return found


def is_missing(place: str) -> bool:
    """Tell whether nothing is at a path, for certain."""
    try:
        os.lstat(place)  # a link that leads nowhere is there
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # its folder may be locked, or its disk away
        return False
    return False


def lies_below(place: str, tops: Iterable[str]) -> bool:
    """Tell whether a path is below one of some folders, or one of them; all are absolute, and without `..`."""
    return any(place == top or place.startswith(os.path.join(top, "")) for top in tops)  # noqa: PTH118


@dataclass(frozen=True)
class Gone:
    """Photos that are no longer there, or `away`; outputs of the first: as they were written, and why others stay."""

    photos: tuple[Path, ...] = ()
    away: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()
    kept: tuple[tuple[Path, str], ...] = ()


def look_for_gone(manifest: Path, outputs: Iterable[Path], below: Iterable[Path]) -> Gone:
    """Find photos below some folders that have a row, and are no longer there; `outputs` are those of photos that are.

    Changes nothing. Raises `InputError` for a manifest that is none; where there is none at all, nothing is gone.
    """
    if not os.path.lexists(manifest):
        return Gone()
    folder = manifest.parent
    rows = {line.row.key: line.row for line in read_manifest(manifest)}
    keys = {key_of(manifest, path) for path in outputs}
    missing = find_missing({key: row.input for key, row in rows.items()}, folder, keys, below)
    found = [outputs_of(folder, rows[key]) for key in sorted(missing.gone)]
    return Gone(
        name_photos(manifest, missing.gone.values()),
        name_photos(manifest, missing.away.values()),
        tuple(folder / name for names, _ in found for name in names),
        tuple((folder / name, why) for _, names in found for name, why in names.items()),
    )


def key_of(manifest: Path, output: Path) -> str:
    """Name a row by its output, from the manifest's folder on: what lies below it is named as it was asked for."""
    if output.is_relative_to(manifest.parent) and os.pardir not in output.relative_to(manifest.parent).parts:
        return output.relative_to(manifest.parent).as_posix()
    return seen_from(manifest.parent, output)


def name_photos(manifest: Path, sources: Iterable[str]) -> tuple[Path, ...]:
    """Name photos of rows, or outputs, as the user would: sorted, and each once."""
    folder = real_folder(manifest.parent)
    return tuple(
        Path(source) if is_url(source) else Path(os.path.normpath(folder / source))
        for source in sorted(set(sources))
    )


def remove_outputs(folder: Path, row: ManifestRow) -> dict[str, str]:
    """Remove what was written of a photo, for a manifest in `folder`; gives what stays, and why."""
    written, kept = outputs_of(folder, row)
    for name in written:
        try:
            (folder / name).unlink()
        except OSError as error:
            kept[name] = f"cannot be removed: {error.strerror or error}"
    return kept


def outputs_of(folder: Path, row: ManifestRow) -> tuple[list[str], dict[str, str]]:
    """List what was written of a photo, and is there: as it was written, and what is not, with the reason."""
    written, kept = list[str](), dict[str, str]()
    own = {} if row.output is None else {row.output: row.output_sha256}
    for name, sha256 in {**own, **row.beside}.items():
        try:
            if not (folder / name).is_file():
                continue
            made = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            kept[name] = f"cannot be read: {error.strerror or error}"
            continue
        if made == sha256:
            written.append(name)
        else:
            kept[name] = CHANGED
    return written, kept
