"""Images that follow one another in one stream, as `cat` and `ffmpeg -f image2pipe` write them, taken apart."""

import io
import re
import struct
from collections.abc import Callable, Mapping
from itertools import pairwise

from PIL.MpoImagePlugin import MpoImageFile

_MP_ENTRIES = 0xB002  # of a multi-picture JPEG's index: sizes and places of its pictures


class _EndlessError(Exception):
    """An image whose end cannot be found: the rest of the stream is taken for it."""


def split_images(content: bytes) -> list[bytes]:
    """Take a stream apart where an image ends and another one begins.

    JPEG, PNG, GIF, WebP, BMP, PNM, AVIF, HEIC and JP2 say where they end; of other formats, and of broken images, the
    rest of the stream is one piece. So is what follows an image and is none: it stays with the image before it. The
    pieces together are the stream.

    >>> split_images(b"P5 1 1 255\n0P5 1 1 255\n1")
    [b'P5 1 1 255\n0', b'P5 1 1 255\n1']
    """
    starts = [0]
    try:
        while (end := starts[-1] + _length(content[starts[-1] :])) < len(content):
            if _walker(content[end : end + 16]) is None:
                break
            starts.append(end)
    except (_EndlessError, IndexError, struct.error, ValueError):
        pass
    return [content[start:end] for start, end in pairwise([*starts, len(content)])]


def _length(content: bytes) -> int:
    """Give the bytes of the image that a stream begins with. Raises `_EndlessError`, and errors of broken bytes."""
    if (walk := _walker(content[:16])) is None:
        raise _EndlessError
    return walk(content)


def _walker(head: bytes) -> Callable[[bytes], int] | None:
    return next((walk for signature, walk in _WALKERS.items() if re.match(signature, head, re.S)), None)


def _png(content: bytes) -> int:
    place: int = 8
    while True:
        length, kind = struct.unpack_from(">I4s", content, place)
        place += 12 + length
        if kind == b"IEND":
            return place


def _jpeg(content: bytes) -> int:
    place = 2
    while True:
        marker = content[place + 1]
        if content[place] != 0xFF:
            raise _EndlessError
        if marker == 0xD9:
            return max(place + 2, _multi_picture(content) if b"MPF\0" in content[:place] else 0)
        if marker in (0x01, 0xFF, *range(0xD0, 0xD8)):  # without a length; fill
            place += 1 if marker == 0xFF else 2
            continue
        place += 2 + struct.unpack_from(">H", content, place + 2)[0]
        if marker == 0xDA:  # what follows is coded, up to the next marker that is not one of its own
            found = re.compile(rb"\xff[^\0\xff\xd0-\xd7]", re.S).search(content, place)
            if found is None:
                raise _EndlessError
            place = found.start()


def _multi_picture(content: bytes) -> int:
    """Give the end of a JPEG's last picture, where it holds a preview or a gain map besides its first."""
    try:
        with MpoImageFile(io.BytesIO(content)) as image:
            image.seek(image.n_frames - 1)
            index = image.mpinfo or {}
            return int(image.offset + index[_MP_ENTRIES][-1]["Size"])
    except Exception:  # a broken index makes Pillow raise anything; then it counts for nothing
        return 0


def _gif(content: bytes) -> int:
    def table(flags: int) -> int:
        return 3 << (flags % 8 + 1) if flags & 0x80 else 0

    place = 13 + table(content[10])
    while (block := content[place]) != 0x3B:
        if block == 0x2C:
            place += 11 + table(content[place + 9])
        elif block == 0x21:
            place += 2
        else:
            raise _EndlessError
        while content[place]:  # sub-blocks, until an empty one
            place += 1 + content[place]
        place += 1
    return place + 1


def _riff(content: bytes) -> int:
    size: int = struct.unpack_from("<I", content, 4)[0]
    return 8 + size + size % 2


def _bmp(content: bytes) -> int:
    size: int = struct.unpack_from("<I", content, 2)[0]
    if size < 26:  # 0 of some writers: unknown
        raise _EndlessError
    return size


def _boxes(content: bytes) -> int:
    """Walk the boxes of AVIF, HEIC and JP2; a second one of the first kind begins the next file."""
    place, first = 0, content[4:8]
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        own = place in (0, 12)  # the second box of a JP2 is an `ftyp` too
        if not own and (kind == first or _walker(content[place : place + 16]) is not None):
            break
        if size == 1:
            size = struct.unpack_from(">Q", content, place + 8)[0]
        if size < 8:  # 0: up to the end
            raise _EndlessError
        place += size
    return place


def _pnm(content: bytes) -> int:
    fields = 2 if content[1:2] == b"4" else 3
    space = rb"(?:\s|#[^\n]*\n)+"
    head = re.match(rb"P[456]" + (space + rb"(\d{1,9})") * fields + rb"(?:#[^\n]*\n)?\s", content)
    if head is None:
        raise _EndlessError
    width, height, *most = map(int, head.groups())
    row = -(-width // 8) if not most else width * (3 if content[1:2] == b"6" else 1)
    return head.end() + row * height * (2 if most and most[0] > 255 else 1)


_WALKERS: Mapping[bytes, Callable[[bytes], int]] = {
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"\xff\xd8\xff": _jpeg,
    rb"GIF8[79]a": _gif,
    rb"RIFF....WEBP": _riff,
    rb"BM....\0\0\0\0": _bmp,
    rb"....ftyp": _boxes,
    rb"\0\0\0\x0cjP  \r\n": _boxes,
    rb"P[456]\s": _pnm,
}
"""What images begin with, and how their end is found."""
