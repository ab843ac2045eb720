"""The chunks of a PNG file: which bits are significant, and the pixels without the metadata around them."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from cratecli.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BOMB = 1 << 26  # bytes: metadata that inflates to more is an attack, not a photo's
_KEPT = (b"tRNS", b"sBIT", b"eXIf")
"""Chunks beside the critical ones that decide how a photo looks; the colour profile is checked first."""
_INFLATED = (b"iCCP", b"zTXt", b"iTXt")


class Chunk(NamedTuple):
    """One chunk of a PNG: its kind, its bytes with length and checksum, and whether the checksum is right."""

    kind: bytes
    whole: memoryview
    sound: bool

    @property
    def body(self) -> memoryview:
        """Give what it holds."""
        return self.whole[8:-4]


def chunks(content: bytes) -> Iterator[Chunk]:
    """Give the chunks of a PNG, to the first that is cut short."""
    view, place = memoryview(content), len(SIGNATURE)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        whole = view[place : place + length + 12]
        if len(whole) < length + 12:
            return
        yield Chunk(kind, whole, zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:]))
        place += length + 12


def significant_bits(content: bytes) -> int | None:
    """Read how many bits of each number count (sBIT), the fewest of all channels; none where it is not said."""
    for chunk in chunks(content):
        if chunk.kind == b"IDAT":
            break
        if chunk.kind == b"sBIT" and chunk.sound and 0 < len(chunk.body) <= 4:
            return min(chunk.body)
    return None


def without_metadata(content: bytes, name: str) -> bytes:
    """Leave out what decides no pixel, or is broken: texts, times, a profile that is too large, bad checksums.

    Bytes of no PNG are given back. Raises `InputError` for metadata that inflates to more than 64 MiB.
    """
    if not content.startswith(SIGNATURE):
        return content
    kept = [memoryview(SIGNATURE)]
    for chunk in chunks(content):
        inflated = _inflated(chunk)
        if inflated > BOMB:
            raise InputError(f"{name}: the metadata inflates to more than {BOMB >> 20} MiB: too large")
        critical = not chunk.kind[0] & 0x20
        profile = chunk.kind == b"iCCP" and 0 < inflated < 1 << 20
        if critical or (chunk.sound and (profile or chunk.kind in _KEPT)):
            kept.append(chunk.whole)
    return b"".join(kept)


def _inflated(chunk: Chunk) -> int:
    """Count the bytes that a chunk's compressed data inflates to, to a little over the limit, and hold none."""
    if chunk.kind not in _INFLATED:
        return 0
    body = bytes(chunk.body)
    start = body.find(b"\0") + 2
    if chunk.kind == b"iCCP" and body[start - 1 : start] != b"\0":
        return 0
    if chunk.kind == b"iTXt":
        if body[start - 1 : start] != b"\1":
            return 0
        start = body.find(b"\0", body.find(b"\0", start + 1) + 1) + 1
    inflate, total, rest = zlib.decompressobj(), 0, body[start:]
    try:
        while rest and total <= BOMB and not inflate.eof:
            total += len(inflate.decompress(rest, 1 << 20))
            rest = inflate.unconsumed_tail
    except zlib.error:
        pass
    return total
