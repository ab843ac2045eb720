"""Photos as the numbers of their files, of more than 8 bits, and the one rule that brings them to 0–255."""

from dataclasses import dataclass

import numpy as np

from cratecli.io.ranges import Range

Ends = tuple[float, float]
"""The numbers that are black and white."""

EIGHT_BITS: Ends = (0.0, 255.0)
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)
"""Largest numbers of the depths that photos come in: floats of 0 to 1, and 8, 10, 12, 14 and 16 bits."""

LITTLE = 1 / 4  # of the range: a photo most of whose numbers lie within less is pointed out
MOST = (0.5, 99.5)  # percentiles between which most of a photo's numbers lie
BLOCK = 1_000_000  # numbers that are brought to 0–255 at once
LOOKED_AT = 1_000_000  # numbers, evenly spread, that suffice to tell how much of a range a photo uses


@dataclass(frozen=True, eq=False)
class Numbers:
    """A photo as its file's numbers: (height, width) of grey, (height, width, 3) of RGB or (…, 4) of CMYK; and alpha.

    `full` is what the number format can hold, none for floats. `declared` is what the file says, by its bits or its
    window; where it is `clipping`, numbers outside are black or white. `inverted`, small numbers are white. `notes`
    tell users what was left out.
    """

    colours: np.ndarray
    alpha: np.ndarray | None = None
    full: Ends | None = None
    declared: Ends | None = None
    clipping: bool = False
    inverted: bool = False
    notes: tuple[str, ...] = ()


def whole_range(bits: int, *, signed: bool = False) -> Ends:
    """Give the smallest and the largest whole number that so many bits hold."""
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def straight(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Divide colours that were multiplied by alpha, each a number of 16 bits or a float of 0–1, by it again."""
    if colours.dtype.kind == "f":
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            factor: np.ndarray = np.where(alpha > 0, 1 / alpha, 0).astype(colours.dtype)
            ones: np.ndarray = colours * (factor[..., None] if colours.ndim == 3 else factor)
            return ones
    top = _depth_of(float(alpha.max(initial=0))) or float(np.iinfo(alpha.dtype).max)
    divided = np.empty_like(colours)
    for row in range(len(colours)):
        by = np.maximum(alpha[row], 1).astype(np.float64)
        whole = colours[row] * (top / (by[:, None] if colours.ndim == 3 else by))
        divided[row] = np.minimum(np.round(whole), top)
    return divided


def to_levels(numbers: Numbers, chosen: Range) -> tuple[np.ndarray, str | None]:
    """Bring a photo's numbers to 0–255, alpha behind its colours; and say what users should know of its range.

    NaN is black, infinity the end it lies at.
    """
    finite = _finite(numbers.colours)
    ends, note = _ends(numbers, finite, chosen)
    if note is None and finite.size and chosen.rule in ("auto", "full") and numbers.full != EIGHT_BITS:
        note = _little(finite, ends)
    levels = _scaled(numbers.colours, ends)
    if numbers.inverted:
        levels = np.where(np.isnan(numbers.colours), 0, 255 - levels).astype(np.uint8)
    if numbers.alpha is None:
        return levels, note
    if levels.ndim == 2:
        levels = np.repeat(levels[..., None], 3, axis=2)
    return np.dstack([levels, _scaled(numbers.alpha, _ends_of_alpha(numbers))]), note


def _ends(numbers: Numbers, finite: np.ndarray, chosen: Range) -> tuple[Ends, str | None]:
    """Choose what is black and what is white, and say so where nothing but the photo itself tells."""
    full = numbers.full or (0.0, 1.0)
    match chosen.rule:
        case "fixed":
            return (chosen.low, chosen.high), None
        case "full":
            return full, None
        case "percentile":
            at = np.percentile(finite, [chosen.low, chosen.high]) if finite.size else (0.0, 0.0)
            return (float(at[0]), float(at[1])), None
        case "auto":
            return _usual(numbers, finite, full)


def _usual(numbers: Numbers, finite: np.ndarray, full: Ends) -> tuple[Ends, str | None]:
    """Take the ends that are declared, else those of a depth that is used by half or more, else the numbers' own."""
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    declared = None if _says_nothing(numbers, high - low) else numbers.declared
    if declared and (numbers.clipping or (declared[0] <= low and high <= declared[1])):
        return declared, None
    positive = (
        (int(full[1]),) if full[0] == -full[1] - 1 else ()
    )  # numbers with a sign, of which none is negative
    for depth in sorted({*DEPTHS, *positive}):
        if low >= 0 and depth / 2 <= high <= depth:
            usual = full == (0.0, depth) or (numbers.full is None and depth == 1)
            note = f"its largest number is {high:g}: read as of 0 to {depth}; --range full takes the whole format"
            return (0.0, depth), None if usual else note
    if high <= low:
        return (min(low, full[0]), max(high, full[1])), None
    start = 0.0 if 0 <= low <= high / 4 else low
    return (
        start,
        high,
    ), f"its numbers, {low:g} to {high:g}, are read as of {start:g} to {high:g}; see --range"


def _says_nothing(numbers: Numbers, used: float) -> bool:
    """Tell whether floats are declared to reach so far, as all that a float can hold, that nothing would show."""
    if numbers.full is not None or numbers.declared is None or numbers.clipping or used <= 0:
        return False
    low, high = numbers.declared
    return not used * 512 > high - low


def _ends_of_alpha(numbers: Numbers) -> Ends:
    """Give the depth that holds alpha, and colours, which share it."""
    if numbers.full is None or numbers.alpha is None:
        return 0.0, 1.0
    top = max(float(numbers.alpha.max(initial=0)), float(numbers.colours.max(initial=0)))
    return 0.0, _depth_of(top) or numbers.full[1]


def _depth_of(top: float) -> float | None:
    """Give the largest number of the smallest depth, of 8 bits or more, that holds a number."""
    return next((float(depth) for depth in DEPTHS[1:] if top <= depth), None)


def _scaled(values: np.ndarray, ends: Ends) -> np.ndarray:
    """Bring numbers to 0–255, a block at a time, so that no second photo of wide numbers is held."""
    if values.dtype in (np.uint8, np.uint16):
        table = _block(np.arange(np.iinfo(values.dtype).max + 1), ends)
        levels: np.ndarray = table[values]
        return levels
    levels = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        levels[start : start + rows] = _block(values[start : start + rows], ends)
    return levels


def _block(values: np.ndarray, ends: Ends) -> np.ndarray:
    low, high = ends[0] / 2, ends[1] / 2  # of doubles, the whole may be more than a double holds
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (values.astype(np.float64) / 2 - low) * (255 / max(high - low, 1e-300))
    return np.clip(np.round(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)), 0, 255).astype(
        np.uint8
    )


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _little(finite: np.ndarray, ends: Ends) -> str | None:
    """Tell that most numbers lie in a small part of the range; a photo of one colour, nearly all of it, does not."""
    some = finite.reshape(-1)[:: finite.size // LOOKED_AT + 1]
    low, high = (float(each) for each in np.percentile(some, MOST))
    if low == high or high - low >= LITTLE * (ends[1] - ends[0]):
        return None
    used = f"99 % of its numbers lie in {low:g} to {high:g}, of {ends[0]:g} to {ends[1]:g}"
    return f"{used}; --range percentile:{MOST[0]:g}:{MOST[1]:g} would show more"
