"""One finding of `crate doctor`: a line about this machine."""

from typing import Literal

from pydantic import Field

from cratecli.records import Record

Level = Literal["ok", "warning", "problem"]


class Finding(Record):
    """One finding of `crate doctor`."""

    name: str = Field(description="The package, device, folder, model or variable that was examined.")
    level: Level = Field(description="`ok`; `warning`, for what works but may surprise; `problem`.")
    text: str = Field(description="Its state in one line; for a problem also what to do.")


def fine(name: str, text: str) -> Finding:
    """Report that something is as it should be."""
    return Finding(name=name, level="ok", text=text)


def warning(name: str, text: str) -> Finding:
    """Report something that works, but may surprise."""
    return Finding(name=name, level="warning", text=text)


def problem(name: str, text: str) -> Finding:
    """Report something that does not work."""
    return Finding(name=name, level="problem", text=text)
