"""The photos of a finished run: read again, linked or copied beside an export."""

import errno
import hashlib
import os
from pathlib import Path
from uuid import uuid4

from cratecli.errors import InputError, OutputError
from cratecli.files import open_file, relative_path
from cratecli.handover.finished_run import FinishedPhoto
from cratecli.io import images
from cratecli.io.formats import PhotosBeside
from cratecli.io.formats.record import Annotated
from cratecli.io.opening import MAX_PIXELS
from cratecli.io.sources.packed import entry_at
from cratecli.runs.jobs import deliver

_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems without links say; Windows, to users who may make none, 1314."""


def photo_content(photo: FinishedPhoto) -> bytes:
    """Read the bytes of a finished photo. Raises `InputError` unless they are those that were segmented."""
    if photo.entry is None:
        content = images.content(photo.source, photo.shown)
    else:
        content = entry_at(photo.entry).read(images.BYTES_A_PIXEL * MAX_PIXELS)
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        raise InputError(f"{photo.shown}: not the photo of the run: its bytes have changed")
    return content


def read_photo_again(photo: FinishedPhoto, annotated: Annotated) -> images.Decoded:
    """Read the pixels of a finished photo. Raises `InputError` unless bytes and size are those that were segmented."""
    decoded = images.decode(photo_content(photo), photo.shown, range=photo.range)
    if decoded.rgb.shape[:2] != (annotated.height, annotated.width):
        raise InputError(f"{photo.shown}: not of the size that the run says")
    return decoded


def stands_for(path: Path, photo: FinishedPhoto) -> bool:
    """Tell whether a file is what an export puts beside its files: a link to a photo, or its copy."""
    if path.is_symlink():
        return os.path.realpath(path) == os.path.realpath(photo.source)
    try:
        return file_hash(path) == photo.sha256
    except OSError:
        return False


def file_hash(path: Path) -> str:
    """Compute the SHA-256 of a file. Raises `OSError`."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def put_photo(photo: FinishedPhoto, target: Path, how: PhotosBeside, content: bytes) -> None:
    """Put a photo, with its `content`, at `target`: a relative link to it, or a copy, as of one that is no file.

    Raises `OutputError`, also for anything else that is there: it stays.
    """
    if os.path.lexists(target) and not stands_for(target, photo):
        raise OutputError(
            f"{target}: stays as it is, for it is not {photo.shown}: move it, or choose another folder",
            alone=True,
        )
    if how == "copy" or photo.entry is not None:
        if target.is_symlink():
            target.unlink()  # of an earlier export: a copy must not be written through it
        deliver(target, content)
        return
    temporary = target.with_name(f".crate-{uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = relative_path(os.path.realpath(photo.source), os.path.realpath(target.parent))
        _link(temporary, source, target)
        try:
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError.of(target, error) from None


def _link(place: Path, source: str, target: Path) -> None:
    """Make a link in place of `target`. Raises `OutputError` where none can be made at all, and `OSError`."""
    try:
        place.symlink_to(source)
    except (OSError, NotImplementedError) as error:
        of_all = getattr(error, "errno", errno.ENOSYS) in _NO_LINKS or getattr(error, "winerror", 0) == 1314
        if not of_all:
            raise
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{target}: no link can be made: {reason}; --photos copy copies the photo"
        ) from None
