"""Read options from text, where that is all there is: on the command line, and in CVAT's parameters."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cratecli.errors import UsageError


def whole_numbers(text: str, option: str, *words: str) -> tuple[int, ...]:
    """Read `3`, `-2,-1` or `0,3`. Raises `UsageError` that names the option, and the `words` that it might be too."""
    try:
        return tuple(map(_whole, text.split(",")))
    except ValueError:
        other = f"{', '.join(words)} or " * bool(words)
        raise UsageError(f"{option} {text!r} is not {other}whole numbers with commas between") from None


def _whole(text: str) -> int:
    """Read a whole number, without the underscores that Python allows. Raises `ValueError`."""
    if "_" in text:
        raise ValueError(text)
    return int(text)


def _pixel(text: str, option: str) -> tuple[int, int]:
    try:
        x, y = map(_whole, text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a pixel: its column and row, as in 120,80") from None
    if x < 0 or y < 0:
        raise UsageError(f"{option} {text!r} is outside every photo: pixels count from 0,0 at the top left")
    return x, y


def _whole_numbers_or(*words: str) -> Callable[[str, str], Any]:
    def read(text: str, option: str) -> Any:
        return text if text in words else whole_numbers(text, option, *words)

    return read


def _whole_number_or_auto(text: str, option: str) -> int | str:
    if text == "auto":
        return text
    numbers = whole_numbers(text, option)
    if len(numbers) > 1:
        raise UsageError(f"{option} {text!r} is not one whole number, or auto")
    return numbers[0]


READ: Mapping[str, Callable[[str, str], Any]] = MappingProxyType(
    {
        "layers": _whole_numbers_or("all"),
        "sizes": whole_numbers,
        "heads": _whole_numbers_or("auto", "agree", "all"),
        "at": _pixel,  # each of them
        "not_at": _pixel,
        "k": _whole_number_or_auto,
    }
)
"""What reads the options whose value is no text, number or truth by itself, given the name by which people know it."""
