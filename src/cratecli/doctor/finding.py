"""What an examination of this machine finds, one line each."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and one line that for a problem also says what to do."""

    name: str
    level: Level
    text: str


def fine(name: str, text: str) -> Finding:
    """Find that something is as it should be."""
    return Finding(name, "ok", text)


def warning(name: str, text: str) -> Finding:
    """Find what works, but may surprise."""
    return Finding(name, "warning", text)


def problem(name: str, text: str) -> Finding:
    """Find what does not work."""
    return Finding(name, "problem", text)
