"""A run's manifest: one JSON line a photo that is done, with all that is needed to export or resume the run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, get_args

from annotated_types import Len
from pydantic import Field, ValidationError

from cratecli.errors import InputError, validation_message
from cratecli.files import open_file
from cratecli.io.formats import record
from cratecli.io.sources.entry import is_entry
from cratecli.model.engine import Engine
from cratecli.records import Record
from cratecli.runs.records import Rle

MANIFEST = "manifest.jsonl"
_BEGINNING = b'{"input": "'  # of every row

BESIDE = {"labels": ("overlays",)}
"""The folders of pictures that `parts` writes beside those of a kind."""


class ManifestObject(Record):
    """One object of a photo."""

    rle: Rle = Field(description="The mask, on the upright photo.")
    area: int = Field(description="Pixels of the mask.")
    box: Annotated[list[int], Len(4, 4)] = Field(
        description="Left, top, width, height of the mask, px of the upright photo."
    )
    score: float = Field(description="How sure it is, 0–1.")
    label: str = Field(description="What it is called.")


class ManifestRow(Record):
    """One photo that is done. Paths are relative to the manifest's folder, with `/` between."""

    input: str = Field(
        description="The photo's path or URL; `-` is standard input, `-/stdin-0002` the second of its photos; "
        "`a.tar::b.jpg` is a member of a shard, `a.parquet::00000012` a row of a table, counted from 0."
    )
    input_sha256: str = Field(description="SHA-256 of the photo's file, hexadecimal.")
    output: str | None = Field(
        description="The photo's output file, or its URL; null where one file stands for all."
    )
    output_sha256: str | None = Field(description="SHA-256 of the output file, hexadecimal.")
    beside: dict[str, str] = Field(
        default={}, description="Files written beside the output, with the SHA-256 of each, hexadecimal."
    )
    options: str = Field(description="Digest of what decides the outcome: rows of another are done again.")
    made: dict[str, Any] = Field(description="How the output was made: the provenance.")
    height: int = Field(description="Height of the upright photo, px.")
    width: int = Field(description="Width of the upright photo, px.")
    objects: list[ManifestObject] = Field(description="The objects of the photo; none where it is empty.")

    @classmethod
    def of(cls, photo: record.Annotated, **about: Any) -> "ManifestRow":
        """Build the row of an annotated photo."""
        objects = [
            ManifestObject(
                rle=Rle(size=list(each.rle["size"]), counts=each.rle["counts"]),
                area=each.area,
                box=list(each.box),
                score=each.score,
                label=each.label,
            )
            for each in photo.objects
        ]
        return cls(height=photo.height, width=photo.width, objects=objects, **about)

    @property
    def annotated(self) -> record.Annotated:
        """Give the photo with its objects, as formats take it."""
        objects = [
            record.Annotation(
                each.rle.model_dump(),
                each.area,
                (each.box[0], each.box[1], each.box[2], each.box[3]),
                each.score,
                each.label,
            )
            for each in self.objects
        ]
        sure = self.made.get("confidence")
        about: dict[str, Any] = {
            "confidence": float(sure) if isinstance(sure, int | float) and 0 <= sure <= 1 else None,
            "source": self.input,
            "sha256": self.input_sha256,
        }
        return record.Annotated(self.input, self.height, self.width, objects, **about)

    @property
    def key(self) -> str:
        """Name what there is at most one row of: an output, or an input where all share one output."""
        return self.input if self.output is None else self.output

    def to_json(self) -> str:
        """Write the row as one line of JSON, without its end."""
        return json.dumps(self.as_data())

    @classmethod
    def from_json(cls, line: str | bytes) -> "ManifestRow":
        """Read a row back. Raises `ValueError` for what is none."""
        try:
            return cls.model_validate(json.loads(line))
        except ValidationError as error:
            raise ValueError(f"not a row of a manifest ({validation_message(error)})") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not a row of a manifest ({type(error).__name__}: {error})") from None


@dataclass(frozen=True)
class Line:
    """A row where it stands in its manifest: from byte `start` on, `length` bytes with the line's end."""

    start: int
    length: int
    row: ManifestRow


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
                yield Line(start, len(line), ManifestRow.from_json(line))
            except ValueError as error:
                raise ValueError(f"{number}: {error}") from None
        start += len(line)


def is_run_folder(folder: Path) -> bool:
    """Tell whether a folder holds a run's outputs, and the photos lie elsewhere: by the first row of its manifest."""
    try:
        path = folder / MANIFEST
        with open_file(path) as stream:
            start = stream.read(len(_BEGINNING))
            if start != _BEGINNING and not start.isspace():
                return False
            inputs = (line.row.input for line in read_lines(stream))
            first = next((each for each in inputs if each != "-"), "")
    except (OSError, ValueError):
        return False
    return first.startswith("../") or Path(first).is_absolute() or is_entry(first)


def engine_in(manifest: Path) -> Engine | None:
    """Tell which engine began a run, by the first row of its manifest, if that says so."""
    try:
        with open_file(manifest) as stream:
            made = next((line.row.made for line in read_lines(stream)), {})
    except (OSError, ValueError):
        return None
    return next((each for each in get_args(Engine) if each == made.get("engine")), None)


def outputs_in(folder: Path) -> list[str]:
    """List the outputs of the run whose manifest lies in a folder; of a manifest that is none there are none."""
    try:
        with open_file(folder / MANIFEST) as stream:
            return [line.row.output for line in read_lines(stream) if line.row.output is not None]
    except (OSError, ValueError):
        return []


def read_manifest(path: Path) -> Iterator[Line]:
    """Read a manifest's file; see `read_lines`.

    Raises `InputError`, as `FILE:LINE: reason`, for a file that is missing or no manifest.
    """
    try:
        with open_file(path) as stream:
            yield from read_lines(stream)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}:{error}") from None
