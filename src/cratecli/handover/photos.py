"""The photos of a finished run: read again, linked or copied beside an export."""

import hashlib
import os
from pathlib import Path
from uuid import uuid4

from cratecli.errors import InputError, OutputError
from cratecli.handover.finished_run import FinishedPhoto
from cratecli.io import images
from cratecli.io.formats import PhotosBeside
from cratecli.io.formats.record import Annotated
from cratecli.runs.jobs import deliver


def photo_content(photo: FinishedPhoto) -> bytes:
    """Read the bytes of a finished photo. Raises `InputError` unless they are those that were segmented."""
    content = images.content(photo.source, photo.shown)
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        raise InputError(f"{photo.shown}: not the photo of the run: its bytes have changed")
    return content


def read_photo_again(photo: FinishedPhoto, annotated: Annotated) -> images.Decoded:
    """Read the pixels of a finished photo. Raises `InputError` unless bytes and size are those that were segmented."""
    decoded = images.decode(photo_content(photo), photo.shown, range=photo.range)
    if decoded.rgb.shape[:2] != (annotated.height, annotated.width):
        raise InputError(f"{photo.shown}: not of the size that the run says")
    return decoded


def put_photo(photo: FinishedPhoto, target: Path, how: PhotosBeside, content: bytes) -> None:
    """Put a photo, with its `content`, at `target`: a relative link to it, or a copy. Raises `OutputError`."""
    if target.is_symlink():
        target.unlink()  # of an earlier export: a copy must not be written through it
    if how == "copy":
        deliver(target, content)
        return
    temporary = target.with_name(f".crate-{uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = os.path.relpath(os.path.realpath(photo.source), os.path.realpath(target.parent))
        temporary.symlink_to(source)
        temporary.replace(target)
    except (OSError, NotImplementedError) as error:
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{target}: no link can be made: {reason}; --photos copy copies the photo"
        ) from None
