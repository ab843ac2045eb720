"""Tell the pictures that `crate` made from photos, by the text in them. Loads no image library."""

import os
from pathlib import Path

from cratecli.files import open_file

TEXT = "crate"
"""The keyword of the PNG's tEXt chunk that holds the provenance."""

COMMENT = b"ASCII\0\0\0crate: "
"""How the comment begins that holds the provenance in the EXIF of a JPEG or a WebP."""

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
"""How the names of pictures end that `crate` writes."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = 8192  # bytes: our text stands before the palette and the pixels, and a JPEG's EXIF at its start
_TAIL = 1 << 17  # bytes: a WebP's EXIF stands at its end


def is_own(path: Path) -> bool:
    """Tell whether a file is a PNG, JPEG or WebP with provenance; what cannot be read is none."""
    try:
        with open_file(path) as stream:
            head = stream.read(_HEAD)
            if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
                return COMMENT in stream.read(_TAIL)
    except (OSError, ValueError):
        return False
    return holds_text(head) or (head.startswith(b"\xff\xd8") and COMMENT in head)


def holds_text(head: bytes) -> bool:
    """Tell whether the first bytes of a file are a PNG's with provenance."""
    mark = TEXT.encode() + b"\0"
    place = len(_SIGNATURE) if head.startswith(_SIGNATURE) else len(head)
    while place < len(head):
        length, kind = int.from_bytes(head[place : place + 4], "big"), head[place + 4 : place + 8]
        if kind == b"tEXt" and head.startswith(mark, place + 8):
            return True
        if kind == b"IDAT":
            return False
        place += 12 + length
    return False
