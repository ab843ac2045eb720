"""Sizes in pixels, grids in patches, and half-open boxes."""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Size(NamedTuple):
    """Height and width in pixels."""

    height: int
    width: int


class Grid(NamedTuple):
    """Rows and columns in patches."""

    rows: int
    cols: int

    @property
    def patches(self) -> int:
        """Count the patches: rows × columns."""
        return self.rows * self.cols

    def pixels(self, patch_size: int) -> Size:
        """Give the image size, in pixels, that this grid covers exactly."""
        return Size(self.rows * patch_size, self.cols * patch_size)


Pixel = tuple[int, int]
"""Column and row of an upright photo, from 0."""
Patch = tuple[int, int]
"""Row and column of a grid, from 0."""


class PatchClicks(NamedTuple):
    """Patches that were clicked on: `on` what is meant, and `off` it."""

    on: tuple[Patch, ...]
    off: tuple[Patch, ...] = ()


class Clicks(NamedTuple):
    """Pixels that were clicked on: `on` what is meant, and `off` it."""

    on: tuple[Pixel, ...]
    off: tuple[Pixel, ...] = ()

    def __str__(self) -> str:
        """Say them for people.

        >>> str(Clicks(((3, 4),), ((5, 6),)))
        'at 3,4, not at 5,6'
        """
        named = [(word, pixel) for word, each in (("at", self.on), ("not at", self.off)) for pixel in each]
        return ", ".join(f"{word} {x},{y}" for word, (x, y) in named)

    def outside(self, size: Size) -> Pixel | None:
        """Give the first pixel that a photo does not have."""
        every = (*self.on, *self.off)
        return next(((x, y) for x, y in every if x >= size.width or y >= size.height), None)

    def patches(self, size: Size, grid: Grid) -> PatchClicks:
        """Give the patches, each once, that the pixels of a photo lie in; one that has pixels of both kinds is `on`.

        >>> Clicks(((0, 0), (9, 4)), ((5, 1),)).patches(Size(5, 10), Grid(2, 4))
        PatchClicks(on=((0, 0), (1, 3)), off=((0, 2),))
        """
        on, off = (
            tuple(dict.fromkeys((y * grid.rows // size.height, x * grid.cols // size.width) for x, y in each))
            for each in self
        )
        meant = set(on)
        return PatchClicks(on, tuple(patch for patch in off if patch not in meant))


@dataclass(frozen=True)
class Box:
    """A half-open box in pixels: rows `top … bottom-1`, columns `left … right-1`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def xywh(self) -> tuple[int, int, int, int]:
        """Give COCO's order: left, top, width, height."""
        return self.left, self.top, self.right - self.left, self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Give what cuts the box out of an array: rows, columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int, size: Size) -> "Box":
        """Grow the box by a margin, px, on every side, within a picture of some size.

        >>> Box(2, 3, 5, 9).grown(3, Size(20, 10))
        Box(top=0, left=0, bottom=8, right=10)
        """
        return Box(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(size.height, self.bottom + margin),
            min(size.width, self.right + margin),
        )


LONGEST = 4  # aspect beyond which a grid's short side gives way, so that its patches stay bounded


def fit_grid(size: Size, short_side: int, patch_size: int) -> Grid:
    """Choose the patch grid nearest to `size` scaled so that its short side is `short_side` pixels.

    Longer than 4 : 1 it is scaled to the area of 4 : 1 instead, so that no grid has more than about
    `4 (short_side / patch_size)²` patches. Both sides are at least one patch.

    >>> fit_grid(Size(300, 400), short_side=96, patch_size=8)
    Grid(rows=12, cols=16)
    >>> fit_grid(Size(20, 640), short_side=96, patch_size=8)
    Grid(rows=4, cols=136)
    """
    scale = short_side / max(min(size), math.sqrt(size.height * size.width / LONGEST))
    most = max(1, round(LONGEST * (short_side / patch_size) ** 2))
    rows, cols = (min(most, max(1, round(side * scale / patch_size))) for side in size)
    return Grid(rows, cols)
