"""Tell whether a file of ours, or what became of it, is whole: a picture that decodes to its end, or arrays."""

import io
import zlib
from zipfile import BadZipFile, ZipFile

from cratecli.errors import InputError
from cratecli.io import images
from cratecli.io.formats.tensors import is_tensors
from cratecli.io.opening import MAX_PIXELS

_PNG, _PNGS_END = b"\x89PNG", b"IEND\xaeB`\x82"
_BROKEN = (BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


def is_whole(content: bytes, max_pixels: int = MAX_PIXELS) -> bool:
    """Tell whether bytes are a picture, or named arrays, to their end; pictures have at most `max_pixels`."""
    if is_tensors(content[:64]):
        return _are_arrays(content)
    if content.startswith(_PNG) and _PNGS_END not in content:  # Pillow is content with all rows
        return False
    try:
        images.decode(content, "the file", max_pixels=max_pixels)
    except InputError:
        return False
    return True


def _are_arrays(content: bytes) -> bool:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if content.startswith(b"PK"):
            with ZipFile(io.BytesIO(content)) as archive:
                return archive.testzip() is None
        load(content)
    except (SafetensorError, *_BROKEN):
        return False
    return True
