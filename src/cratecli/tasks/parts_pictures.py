"""Parts as pictures: labels and overlays of each photo, principal components, a contact sheet of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from typing_extensions import TypeIs

from cratecli.arrays import RGB
from cratecli.emergence.masks import enlarge
from cratecli.emergence.parts import Vocabulary
from cratecli.geometry import Size
from cratecli.io.formats import ARRAY_ENDINGS, ArrayEnding, tensors
from cratecli.io.formats.indexed import encode_labels, tint, voc_palette
from cratecli.io.formats.png import encode_rgb
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.sheet import CELL, Tile, contact_sheet, fit_within, stack
from cratecli.runs.desk import DecodedPhoto, Finished
from cratecli.runs.jobs import Job
from cratecli.runs.provenance import Provenance
from cratecli.tasks.parts_album import PartsPhoto
from cratecli.tasks.records import PartsRecord, parts_record

SHEET = 60  # photos that a contact sheet shows
COLUMNS = 6


PartPicture = Literal["labels", "rgb", "components"]
"""What is drawn of each photo: part labels, the foreground's components as colours, or all components."""

PartOutput = PartPicture | ArrayEnding
"""What is written of each photo: a picture, or arrays."""


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """A photo whose parts were labelled and drawn: its record, the files of it, and what the contact sheet shows."""

    job: Job
    record: PartsRecord
    written: tuple[Path, ...]
    tile: Tile


@dataclass(frozen=True)
class DrawParts:
    """Draws pictures or arrays of labelled photos, for below a folder; a job's target lies in the folder of its kind.

    It may be done on other machines.
    """

    place: Path
    kind: PartOutput
    made: Provenance | None = None

    def __call__(self, photo: DecodedPhoto, labelled: PartsPhoto) -> Finished[LabelledPhoto]:
        """Draw what is to be written of a photo."""
        if photo.job.target is None:
            raise ValueError("every photo has a place in the folder")
        within = photo.job.target.relative_to(self.place / self.kind)
        text = None
        if self.made:
            text = self.made.of_photo(photo.job, photo.sha256, folder=self.place).to_json()
        pictures: dict[str, bytes] = {}
        if is_arrays(self.kind):
            main = tensors.encode(arrays(labelled), self.kind, text)
        else:
            pictures = draw(labelled, self.kind, text)
            main = pictures.pop(self.kind)
        parts = labelled.parts
        annotations = [annotate(parts.labels == part.colour, 1.0, part.name) for part in parts.parts]
        height, width = photo.rgb.shape[:2]
        annotated = Annotated(photo.job.name, height, width, annotations)
        beside = {self.place / folder / within: png for folder, png in pictures.items()}
        written = photo.job.target, *beside
        tile = thumbnail(labelled, "labels" if is_arrays(self.kind) else self.kind)
        done = LabelledPhoto(photo.job, parts_record(labelled, written), written, tile)
        return Finished(done, annotated, main, beside=beside)


def is_arrays(kind: PartOutput) -> TypeIs[ArrayEnding]:
    """Tell whether arrays are written, and no picture."""
    return kind in ARRAY_ENDINGS


def arrays(labelled: PartsPhoto) -> tensors.Arrays:
    """Give a photo's labels at its upright size, and what they come from on the patch grid."""
    parts = labelled.parts
    numbers = {"colours": parts.colours, "components": parts.components, "tokens": labelled.tokens}
    floats = {name: each.astype(np.float32) for name, each in numbers.items()}
    return {"labels": parts.labels, "inside": parts.inside, **floats}


def draw(labelled: PartsPhoto, kind: PartPicture, text: str | None = None) -> dict[str, bytes]:
    """Draw a photo's pictures, PNGs with `text` inside, by the folder they belong in.

    `labels` gives an indexed picture and an overlay, `rgb` the foreground's first three components as colours on
    black, `components` the first of everything in grey and, right of it, the next three as colours.
    """
    rgb, parts = labelled.rgb, labelled.parts
    if kind == "labels":
        return {
            "labels": encode_labels(parts.labels, text),
            "overlays": encode_rgb(tint(rgb, parts.labels, voc_palette()), text),
        }
    return {kind: encode_rgb(_components(labelled, kind), text)}


def _components(labelled: PartsPhoto, kind: PartPicture) -> RGB:
    size = Size(*labelled.rgb.shape[:2])
    if kind == "rgb":
        shown = np.where(labelled.parts.labels[..., None] > 0, _grown(labelled.parts.colours, size), 0)
        return np.asarray(shown, np.uint8)
    grown = _grown(labelled.parts.components, size)
    return np.concatenate([np.repeat(grown[..., :1], 3, axis=-1), grown[..., 1:]], axis=1)


def _grown(maps: Float[np.ndarray, "rows cols c"], size: Size) -> UInt8[np.ndarray, "height width c"]:
    channels = [enlarge(maps[..., channel].astype(np.float32), size) for channel in range(maps.shape[-1])]
    return np.asarray(np.round(np.stack(channels, axis=-1) * 255), np.uint8)


def thumbnail(labelled: PartsPhoto, kind: PartPicture = "labels") -> Tile:
    """Draw a photo's parts, or components, for the contact sheet."""
    if kind != "labels":
        return Tile(fit_within(_components(labelled, kind), CELL), Path(labelled.job.name).name)
    labels = labelled.parts.labels
    factor = min(CELL.height / labels.shape[0], CELL.width / labels.shape[1], 1)
    size = max(1, round(labels.shape[1] * factor)), max(1, round(labels.shape[0] * factor))
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    rgb = cv2.resize(labelled.rgb, size, interpolation=cv2.INTER_AREA)
    return Tile(tint(rgb, small, voc_palette()), Path(labelled.job.name).name)


def parts_sheet(vocabulary: Vocabulary, tiles: Sequence[Tile], kind: PartPicture = "labels") -> RGB:
    """Put photos side by side, under a swatch a part where they show labels."""
    if kind != "labels":
        return contact_sheet(_in_rows(tiles))
    swatch, palette = np.ones((24, CELL.width, 3), np.uint8), voc_palette()
    swatches = [
        Tile(swatch * palette[colour], name)
        for name, colour in zip(vocabulary.names, vocabulary.colours, strict=True)
    ]
    upper = contact_sheet(_in_rows(swatches), cell=Size(24, CELL.width))
    return stack(upper, contact_sheet(_in_rows(tiles)))


def _in_rows(tiles: Sequence[Tile]) -> list[Sequence[Tile]]:
    return [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
