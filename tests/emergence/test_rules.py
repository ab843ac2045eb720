"""Threshold rules are read and written as on the command line; the module loads no library."""

import subprocess
import sys

import pytest

from cratecli.emergence.rules import Keep


@pytest.mark.parametrize("text", ["mass:0.6", "top:0.25", "otsu", "mean", "0.5", "mass:1", "1", "top:0.001"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(Keep.parse(text)) == text
    assert Keep.parse(str(Keep.parse(text))) == Keep.parse(text)


def test_rules_by_name() -> None:
    assert Keep.parse("mass:.6") == Keep("mass", 0.6)
    assert Keep.parse("top:0.6") == Keep("top", 0.6)
    assert Keep.parse("0.6") == Keep("value", 0.6)
    assert Keep.parse("otsu") == Keep("otsu")
    assert Keep.parse("mean") == Keep("mean")


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "1.01", "-0.5", "nan", "inf", "1e-3", "0.6,0.7", "٠.٦", "value:0.5"),
        *("mass:", "mass:0", "mass:2", "mass:0.6 ", "mass=0.6", "mass:nan", "top:-0.1"),
        *("Otsu", "otsu:0.5", "mean:1"),
    ],
)
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not mass:F, top:F, otsu, mean or a number"):
        Keep.parse(text)


def test_importing_is_light() -> None:
    script = "import sys, cratecli.emergence.rules; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "cv2", "scipy", "torch", "jaxtyping"} & set(loaded.split())
