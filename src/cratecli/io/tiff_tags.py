"""The tags of a TIFF, read from its bytes without decoding it: just those that decide how it can be read."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PHOTOMETRIC, BITS, SAMPLES, PLANAR, SUB_IFDS, DNG_VERSION = 262, 258, 277, 284, 330, 50706
ORIENTATION = 274
WHITE_IS_ZERO = 0
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MOST = 64  # directories of a file that are looked at
_MOST_TAGS = 4096  # of a directory
_MOST_VALUES = 16  # values of a tag that are looked at


@dataclass(frozen=True)
class Tag:
    """The first whole numbers of a tag, and the byte of the file where they start; none for other kinds."""

    values: tuple[int, ...]
    place: int


Directory = dict[int, Tag]


@dataclass(frozen=True)
class Tags:
    """The directories of a TIFF: those of its pages, in their order, and all, with those inside them."""

    order: str
    big: bool
    pages: list[Directory]
    all: list[Directory]

    def first(self, tag: int, default: int) -> int:
        """Give the first value of a tag of the first page."""
        found = self.pages[0].get(tag) if self.pages else None
        return found.values[0] if found and found.values else default

    @property
    def deep(self) -> bool:
        """Tell whether the first page's numbers are of more than 8 bits."""
        return self.first(BITS, 1) > 8

    @property
    def unknown(self) -> bool:
        """Tell whether Pillow takes the file for another, as it does big-endian BigTIFF, or its channels for others."""
        return (self.big and self.order == ">") or self.planes

    @property
    def planes(self) -> bool:
        """Tell whether channels of more than 8 bits lie behind one another, which Pillow takes for those of 8 bits."""
        return self.deep and self.first(PLANAR, 1) == 2 and self.first(SAMPLES, 1) > 1


def read_tags(content: bytes) -> Tags | None:
    """Read the directories of a TIFF or BigTIFF as far as they are whole; none for anything else."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    try:
        if order is None or (magic := struct.unpack_from(f"{order}H", content, 2)[0]) not in (42, 43):
            return None
        big = magic == 43
        start = struct.unpack_from(f"{order}Q" if big else f"{order}I", content, 8 if big else 4)[0]
    except struct.error:
        return None
    tags = Tags(order, big, [], [])
    seen: set[int] = set()
    inside: list[int] = []
    while start and start not in seen and len(tags.all) < _MOST:
        seen.add(start)
        try:
            directory, start = _directory(content, start, order, big=big)
        except struct.error:
            break
        tags.pages.append(directory)
        tags.all.append(directory)
        inside += directory[SUB_IFDS].values if SUB_IFDS in directory else ()
    for place in inside:
        if place not in seen and len(tags.all) < _MOST:
            seen.add(place)
            try:
                tags.all.append(_directory(content, place, order, big=big)[0])
            except struct.error:
                continue
    return tags


def _directory(content: bytes, start: int, order: str, *, big: bool) -> tuple[Directory, int]:
    """Read one directory, and where the next starts."""
    count = struct.unpack_from(f"{order}Q" if big else f"{order}H", content, start)[0]
    start, width = (start + 8, 20) if big else (start + 2, 12)
    if count > _MOST_TAGS:
        raise struct.error("more tags than any file has")
    found = dict(_tags(content, start, count, order, big=big))
    return found, struct.unpack_from(f"{order}Q" if big else f"{order}I", content, start + count * width)[0]


def _tags(content: bytes, start: int, count: int, order: str, *, big: bool) -> Iterator[tuple[int, Tag]]:
    width, room, offset = (20, 8, "Q") if big else (12, 4, "I")
    for place in range(start, start + count * width, width):
        tag, kind, number = struct.unpack_from(f"{order}HH{offset}", content, place)
        size, place = _SIZES.get(kind, 0), place + width - room  # noqa: PLW2901 - the value's
        if size * number > room:
            place = struct.unpack_from(f"{order}{offset}", content, place)[0]  # noqa: PLW2901 - it stands elsewhere
        letters = f"{order}{min(number, _MOST_VALUES)}{_LETTERS[size]}" if size and number else ""
        try:
            values = struct.unpack_from(letters, content, place) if letters else ()
        except struct.error:
            values = ()
        yield tag, Tag(values, place)


def black_is_zero(content: bytes, tags: Tags) -> tuple[bytes, bool]:
    """Call the numbers of a TIFF whose white is zero its black is zero; tell whether they were.

    Pillow inverts 8 bits and fewer without a sign alone, forgets to with 16, and does not read other such files.
    """
    kind = tags.pages[0].get(PHOTOMETRIC) if tags.pages else None
    if kind is None or kind.values != (WHITE_IS_ZERO,):
        return content, False
    changed = bytearray(content)
    struct.pack_into(f"{tags.order}H", changed, kind.place, 1)
    return bytes(changed), True
