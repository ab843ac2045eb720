"""Which of a photo's numbers are black and white: the rules that users choose by name. Imports no library."""

import math
import re
from dataclasses import dataclass
from typing import Literal

_NUMBER = r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"


@dataclass(frozen=True)
class Range:
    """Chooses which of a photo's numbers are black and white.

    `auto` is the rule of docs/depths.md, which never stretches 8 bits; `full` is all that the number format, or the
    bits that the file declares, can hold. `fixed` runs from `low` to `high`, in the file's own numbers; `percentile`
    from the photo's percentile `low` to `high`, 0–100. What lies outside is black or white.
    """

    rule: Literal["auto", "full", "fixed", "percentile"]
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Read `auto`, `full`, `LOW:HIGH` or `percentile:A:B`. Raises `ValueError` for anything else.

        >>> Range.parse("percentile:1:99")
        Range(rule='percentile', low=1.0, high=99.0)
        """
        if text == "auto":
            return cls("auto")
        if text == "full":
            return cls("full")
        if match := re.fullmatch(rf"(percentile:)?{_NUMBER}:{_NUMBER}", text):
            low, high = float(match[2]), float(match[3])
            if match[1] and 0 <= low < high <= 100:
                return cls("percentile", low, high)
            if not match[1] and low < high and math.isfinite(low) and math.isfinite(high):
                return cls("fixed", low, high)
        raise ValueError(
            f"{text!r} is not auto, full, LOW:HIGH or percentile:A:B, with LOW < HIGH and 0 ≤ A < B ≤ 100"
        )
