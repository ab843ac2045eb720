"""Soften the edges of a mask by closed-form matting (Levin et al., 2008), with `pymatting`, an extra."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from threading import Lock
from typing import Any

import cv2
import numpy as np

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence.masks import bounding_box
from cratecli.geometry import Size

BAND = 0.03  # half the width of the unknown edge, as a share of the square root of the mask's area
NARROWEST, WIDEST = 3, 40  # px, of that half
NOISE = 1e-4  # variance of colours, 0–1, that decides nothing: with less, flat edges come out as combs
MOST_PIXELS = (
    2_000_000  # that are solved for, at 400 bytes each: of more the edge is solved smaller, and enlarged
)
COMPILES = "matting compiles its loops, once on this machine: this takes a minute or more"
NEEDS_EXTRA = "matting needs an extra; run: pip install 'cratecli[matting]'"

_one_at_a_time = Lock()  # its compiled loops may not run in two threads at once


def can_matte() -> bool:
    """Tell whether `pymatting` is installed."""
    return find_spec("pymatting") is not None


def trimap(mask: Mask) -> Soft:
    """Mark what is surely object (1), surely background (0), and the edge between (0.5).

    The edge reaches as far into the mask as out of it, but in no piece further than half the way to its middle.
    """
    from scipy import ndimage

    radius = float(np.clip(BAND * np.sqrt(np.count_nonzero(mask)), NARROWEST, WIDEST))
    within, around = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (mask, ~mask))
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    middle = np.append(0, ndimage.maximum(within, pieces, range(1, count + 1)))
    known = np.full(mask.shape, 0.5)
    known[mask & (within > np.minimum(radius, middle[pieces] / 2))] = 1
    known[~mask & (around > min(radius, around.max() / 2))] = 0
    return known


def matte(rgb: RGB, mask: Mask, note: Callable[[str], None] = lambda _: None) -> tuple[RGB, Soft]:
    """Estimate the object's colours (RGB, 0–255), and its alpha, 0–1: soft in a band along the mask's edge.

    Elsewhere colours are the photo's and alpha is the mask. `note` is told where loops must be compiled first.
    Raises `ValueError` where no alpha can be solved for.
    """
    known = trimap(mask)
    box = bounding_box(known == 0.5)
    if box is None or not mask.any():
        return rgb, mask.astype(np.float32)
    inside = box.grown(2, Size(*mask.shape)).slices
    colours, alpha = rgb.copy(), mask.astype(np.float32)
    edge = known[inside] == 0.5
    solved_colours, solved = _solve(rgb[inside], known[inside], note)
    alpha[inside][edge] = solved[edge]
    mixed = edge & (solved > 0)
    colours[inside][mixed] = solved_colours[mixed]
    return colours, alpha


def _loaded(note: Callable[[str], None]) -> Any:
    """Give `pymatting`, whose loops are compiled when it is first imported on a machine, and then kept on disk."""
    if "pymatting" not in sys.modules:
        from numba.core import event

        class Compiling(event.Listener):  # type: ignore[misc, unused-ignore] # where there is no numba, a listener is Any
            """Says once that something is compiled."""

            told = False

            def on_start(self, _event: object) -> None:
                if not self.told:
                    self.told = True
                    note(COMPILES)

            def on_end(self, _event: object) -> None:
                """Say nothing more."""

        with event.install_listener("numba:compile", Compiling()):
            import pymatting  # noqa: F401
    return sys.modules["pymatting"]


def _solve(rgb: RGB, known: Soft, note: Callable[[str], None]) -> tuple[RGB, Soft]:
    """Solve for alpha and the object's colours, at a smaller size where pixels are too many."""
    with _one_at_a_time:
        pymatting = _loaded(note)

        height, width = known.shape
        factor = min(1.0, (MOST_PIXELS / known.size) ** 0.5)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if factor < 1 else rgb
        marks = cv2.resize(known, size, interpolation=cv2.INTER_NEAREST) if factor < 1 else known
        alpha = pymatting.estimate_alpha_cf(small / 255, marks, laplacian_kwargs={"epsilon": NOISE})
        if factor < 1:
            alpha = np.clip(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
        colours = pymatting.estimate_foreground_ml(rgb / 255, alpha)
    return np.round(np.clip(colours, 0, 1) * 255).astype(np.uint8), alpha.astype(np.float32)
