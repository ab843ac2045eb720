"""A run's manifest: one JSON line a photo that was done, with all that is needed to export or resume it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cratecli.errors import InputError
from cratecli.io.formats.record import Annotated, Annotation

MANIFEST = "manifest.jsonl"
_BEGINNING = b'{"input": "'  # of every row


@dataclass(frozen=True)
class Row:
    """One photo that was done. Paths are relative to the manifest's folder, with `/` between.

    `made` tells how, as `crate explain` reads it; `options` is the digest of what of it decides the outcome.
    """

    input: str
    input_sha256: str
    output: str | None
    output_sha256: str | None
    options: str
    made: dict[str, Any]
    annotated: Annotated

    def to_json(self) -> str:
        """Write the row as one line of JSON, without its end."""
        photo = self.annotated
        return json.dumps(
            {
                "input": self.input,
                "input_sha256": self.input_sha256,
                "output": self.output,
                "output_sha256": self.output_sha256,
                "options": self.options,
                "made": self.made,
                "height": photo.height,
                "width": photo.width,
                "objects": [asdict(each) for each in photo.objects],
            }
        )

    @property
    def key(self) -> str:
        """Tell what there is at most one row of: an output, or an input where all share one."""
        return self.input if self.output is None else self.output

    @classmethod
    def from_json(cls, line: str | bytes) -> "Row":
        """Read a row back. Raises `ValueError` for what is none."""
        try:
            row = json.loads(line)
            objects = [
                Annotation(
                    {"size": list(map(int, each["rle"]["size"])), "counts": str(each["rle"]["counts"])},
                    int(each["area"]),
                    tuple(map(int, each["box"])),  # type: ignore[arg-type]
                    float(each["score"]),
                    str(each["label"]),
                )
                for each in row["objects"]
            ]
            texts = {name: _text(row[name]) for name in ("input", "input_sha256", "options")}
            maybe = {name: _maybe_text(row[name]) for name in ("output", "output_sha256")}
            annotated = Annotated(texts["input"], int(row["height"]), int(row["width"]), objects)
            return cls(**texts, **maybe, made=dict(row["made"]), annotated=annotated)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a row of a manifest ({type(error).__name__}: {error})") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _maybe_text(value: object) -> str | None:
    return None if value is None else _text(value)


@dataclass(frozen=True)
class Line:
    """A row where it stands in its manifest: from byte `start` on, `length` bytes with the line's end."""

    start: int
    length: int
    row: Row


def read_lines(stream: BinaryIO, start: int = 0) -> Iterator[Line]:
    """Read the rows of an opened manifest from a byte on, which begins a line.

    A blank line is a row that was taken back. A last line cut short, as a kill leaves it, is no row.
    Raises `ValueError`, as `LINE: reason`, lines counted from there, for what is no manifest.
    """
    stream.seek(start)
    for number, line in enumerate(stream, 1):
        if not line.endswith(b"\n"):
            if not (_BEGINNING.startswith(line[: len(_BEGINNING)]) or not line.strip(b"\0")):
                raise ValueError(f"{number}: not a row of a manifest")
            return
        if not line.isspace():
            try:
                yield Line(start, len(line), Row.from_json(line))
            except ValueError as error:
                raise ValueError(f"{number}: {error}") from None
        start += len(line)


def read_manifest(path: Path) -> Iterator[Line]:
    """Read a manifest's file; see `read_lines`.

    Raises `InputError`, as `FILE:LINE: reason`, for a file that is missing or no manifest.
    """
    try:
        with path.open("rb") as stream:
            yield from read_lines(stream)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}:{error}") from None
