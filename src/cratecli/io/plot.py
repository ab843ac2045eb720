"""Plot measurements over a model's layers with matplotlib."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.errors import OutputError

DPI = 100
HEIGHT, LEAST_WIDTH = 320, 640  # px
LATIN = 0x250  # matplotlib's own font has the characters below
COLOUR = "#31688e"  # of the viridis colour map


@dataclass(frozen=True, eq=False)
class Curve:
    """Holds one measurement of every photo (rows) and layer (columns); NaN leaves a gap."""

    name: str
    values: Float[np.ndarray, "photos layers"]


def plot_layers(curves: Sequence[Curve], layers: Sequence[int], title: str, width: int = LEAST_WIDTH) -> RGB:
    """Plot curves side by side: the mean over photos, ± one standard deviation; `width` is in px, the result RGB.

    Raises `OutputError` where matplotlib has no folder.
    """
    logging.getLogger("matplotlib").setLevel(
        logging.ERROR
    )  # warnings about its cache and fonts do not concern users
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except (OSError, RuntimeError):  # no home, or a read-only one, and no temporary folder in its place
        hint = "set MPLCONFIGDIR or TMPDIR to a folder that can be written"
        raise OutputError(
            f"curves are drawn by matplotlib, which finds no folder for its files: {hint}"
        ) from None

    size = max(width, LEAST_WIDTH) / DPI, HEIGHT / DPI
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    plain = "".join(c if c.isprintable() and ord(c) < LATIN else "?" for c in title)
    figure.suptitle(plain, fontsize=10, parse_math=False)
    for curve, axes in zip(curves, figure.subplots(1, len(curves), squeeze=False)[0], strict=True):
        order = np.argsort(layers)
        place, values = np.asarray(layers)[order], curve.values[:, order]
        mean, spread = values.mean(axis=0), values.std(axis=0)
        axes.fill_between(place, mean - spread, mean + spread, color=COLOUR, alpha=0.2, linewidth=0)
        axes.plot(place, mean, color=COLOUR, marker="o", markersize=4)
        axes.set_xticks(place)
        axes.set_xlabel("layer")
        axes.set_ylabel(curve.name)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(pixels[..., :3])
