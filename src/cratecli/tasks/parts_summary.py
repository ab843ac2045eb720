"""What stands for all photos of a run of parts: parts.json, and a contact sheet of the first."""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cratecli.emergence.parts import Vocabulary
from cratecli.errors import OutputError
from cratecli.files import TEMPORARY
from cratecli.io.formats.png import encode_rgb
from cratecli.io.sheet import Tile
from cratecli.runs.parts_plan import PARTS_FILE, SHEET_FILE
from cratecli.runs.portions import Portion, Written, write_portion
from cratecli.runs.provenance import Provenance
from cratecli.runs.session import Session
from cratecli.tasks.parts_pictures import (
    SHEET,
    LabelledPhoto,
    PartOutput,
    PartPicture,
    is_arrays,
    parts_sheet,
)
from cratecli.tasks.recipes import PartRecipe
from cratecli.tasks.records import PartsRecord, parts_file


class Summary:
    """Gathers what stands for all photos of a run, in the order of the inputs; records wait in a temporary `folder`."""

    def __init__(self, session: Session, kind: PartOutput, made: Provenance, folder: Path) -> None:
        """Start without photos."""
        self._session, self._made = session, made
        self._picture: PartPicture = "labels" if is_arrays(kind) else kind
        self._records = _Records(folder / "records")
        self._tiles: dict[tuple[int, int], Tile] = {}

    def add(self, photo: LabelledPhoto) -> None:
        """Take a labelled photo in. Raises `OutputError` when the temporary folder is full."""
        place = self._session.plan.order_of(photo.job)
        self._records.add(place, photo.record)
        if len(self._tiles) < SHEET:
            self._tiles[place] = photo.tile

    def write(self, folder: Path, vocabulary: Vocabulary, recipe: PartRecipe) -> Iterator[Written]:
        """Write both files, if there are photos. Raises `OutputError`."""
        if not self._records.count:
            return
        session, made = self._session, self._made
        tiles = [self._tiles[place] for place in sorted(self._tiles)]
        about = made.seen_from(folder / PARTS_FILE, folder).as_data()
        parts = parts_file(vocabulary, recipe, session.desk.model, about, [])
        head, _, tail = json.dumps(parts.as_data(), indent=1).rpartition("[]")

        def write(stream: BinaryIO) -> None:
            stream.write(f"{head}[".encode())
            for number, record in enumerate(self._records.in_order()):
                text = json.dumps(record, indent=1).replace("\n", "\n  ")
                stream.write(f"{',' if number else ''}\n  {text}".encode())
            stream.write(f"\n ]{tail}".encode())

        yield write_portion(Portion((), (), folder / PARTS_FILE), write)
        text = made.seen_from(folder / SHEET_FILE, folder).to_json()
        sheet = encode_rgb(parts_sheet(vocabulary, tiles, self._picture), text)
        yield session.write(sheet, folder / SHEET_FILE)
        if len(tiles) < self._records.count:
            session.desk.note(f"the sheet shows {len(tiles)} of {self._records.count} photos")


class _Records:
    """Records of photos, a line each in a file; in memory stays where each is."""

    def __init__(self, path: Path) -> None:
        self._path, self._end = path, 0
        self._places = array("q")

    @property
    def count(self) -> int:
        return len(self._places) // 3

    def add(self, place: tuple[int, int], record: PartsRecord) -> None:
        line = f"{json.dumps(record.as_data())}\n".encode()
        try:
            with self._path.open("ab") as stream:
                stream.write(line)
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written: {error.strerror or error}; {TEMPORARY}"
            ) from None
        self._places.extend((*place, self._end))
        self._end += len(line)

    def in_order(self) -> Iterator[object]:
        """Read them again, in the order of the inputs."""
        source, number, start = np.array(self._places).reshape(-1, 3).T
        with self._path.open("rb") as stream:
            for each in np.lexsort((number, source)):
                stream.seek(start[each])
                yield json.loads(stream.readline())
