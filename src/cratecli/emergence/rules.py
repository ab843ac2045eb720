"""The rules that users choose by name: the threshold of a map, and what counts as foreground.

Imports no library, so that the command line can name the rules without loading one.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Foreground = Literal["attention", "pca", "none"]
"""What chooses the foreground: the heads' attention, the first principal component, or nothing (all is foreground)."""

AUTO_HEAD, BUILT_IN_HEAD, NO_HEAD = "auto", "built-in", "none"
"""Words for a mask head in place of a file: the model's own where it fits, the model's own, and none."""

Rule = Literal["mass", "top", "otsu", "mean", "value"]
_RULES = "mass:F, top:F, otsu, mean or a number F, with 0 < F ≤ 1"


@dataclass(frozen=True)
class Keep:
    """Chooses the patches of a saliency map that become the mask, by a threshold rule.

    `mass`: the smallest set of patches whose attention sums to the share `value` of all (DINO, 2104.14294). `top`: the
    share `value` of patches with the largest entries (2308.16271, B.3). `otsu`, `mean`: the patches at or above Otsu's
    threshold, or the mean, of the map scaled to 0–1. `value`: the patches at or above `value` on the scaled map.
    `value` is above 0 and at most 1. Computed by `emergence.masks.threshold`. Raises `ValueError` for no such rule.
    """

    rule: Rule
    value: float = 0.0

    def __post_init__(self) -> None:
        """Check the rule, and the value where it has one."""
        valued = self.rule not in ("otsu", "mean")
        if self.rule not in get_args(Rule) or (valued and not 0 < self.value <= 1):
            raise ValueError(f"{self.rule}:{self.value:g} is not {_RULES}")

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """Read `mass:F`, `top:F`, `otsu`, `mean` or a number, 0 < F ≤ 1. Raises `ValueError` for anything else.

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
        raise ValueError(f"{text!r} is not {_RULES}")

    def __str__(self) -> str:
        """Write the rule as the command line takes it."""
        if self.rule in ("otsu", "mean"):
            return self.rule
        number = repr(self.value).removesuffix(".0")
        return number if self.rule == "value" else f"{self.rule}:{number}"
