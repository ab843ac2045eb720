"""The rules that users choose by name: what of a map is the mask, what tells figure from ground. Imports no NumPy."""

import re
from dataclasses import dataclass
from typing import Literal

Foreground = Literal["attention", "pca", "none"]
"""What tells figure from ground: the heads' attention, the first principal component, or nothing (all is figure)."""


@dataclass(frozen=True)
class Keep:
    """A threshold rule: which part of an attention map becomes the mask.

    `mass`: the smallest set of patches whose attention sums to `value` of all (DINO). `top`: the `value`
    largest entries (2308.16271, B.3). `otsu` and `mean`: by the scaled map's own threshold. `value`: what
    reaches `value` on the scaled map. Values are in 0–1.
    """

    rule: Literal["mass", "top", "otsu", "mean", "value"]
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """Read `mass:F`, `top:F`, `otsu`, `mean` or a number in 0–1. Raises `ValueError` for anything else.

        >>> Keep.parse("mass:0.6")
        Keep(rule='mass', value=0.6)
        """
        if text == "otsu":
            return cls("otsu")
        if text == "mean":
            return cls("mean")
        if match := re.fullmatch(r"(?:(mass|top):)?([0-9]*\.?[0-9]+)", text):
            value = float(match[2])
            if 0 < value <= 1:
                return cls("mass" if match[1] == "mass" else "top" if match[1] == "top" else "value", value)
        raise ValueError(f"{text!r} is not mass:F, top:F, otsu, mean or a number, with 0 < F ≤ 1")

    def __str__(self) -> str:
        """Write the rule as the command line takes it."""
        if self.rule in ("otsu", "mean"):
            return self.rule
        number = repr(self.value).removesuffix(".0")
        return number if self.rule == "value" else f"{self.rule}:{number}"
