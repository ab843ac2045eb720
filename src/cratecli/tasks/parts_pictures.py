"""Parts as pictures: labels and overlays of each photo, principal components, a contact sheet of all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from cratecli.arrays import RGB
from cratecli.emergence.masks import enlarge
from cratecli.emergence.parts import Vocabulary
from cratecli.geometry import Size
from cratecli.io.formats.indexed import encode_labels, tint, voc_palette
from cratecli.io.formats.png import encode_rgb
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.sheet import CELL, Tile, contact_sheet, fit_within, stack
from cratecli.runs.batch import Desk, Photo
from cratecli.runs.jobs import deliver
from cratecli.runs.provenance import Provenance
from cratecli.tasks.parts import Kind, Labelled

SHEET = 60  # photos that a contact sheet shows
COLUMNS = 6


@dataclass(frozen=True)
class Pictures:
    """What is written of each photo, and below which folder; a job's target lies in the folder of that kind."""

    desk: Desk
    place: Path
    kind: Kind
    made: Provenance | None = None

    def __call__(self, photo: Photo, found: Labelled) -> Labelled:
        """Draw and write a photo's pictures, the job's target last, and its row. Raises `OutputError`."""
        if photo.job.target is None:
            raise ValueError("every photo has a place in the folder")
        within = photo.job.target.relative_to(self.place / self.kind)
        text = self.made.told(photo.job, photo.sha256, folder=self.place) if self.made else None
        pictures = draw(found, self.kind, text)
        main = pictures.pop(self.kind)
        for folder, png in pictures.items():
            deliver(self.place / folder / within, png)
        parts = [annotate(found.parts.labels == part.colour, 1.0, part.name) for part in found.parts.parts]
        height, width = photo.rgb.shape[:2]
        self.desk.hand_over(photo, main, Annotated(photo.job.name, height, width, parts))
        return replace(
            found, written=(photo.job.target, *(self.place / folder / within for folder in pictures))
        )


def draw(found: Labelled, kind: Kind, text: str | None = None) -> dict[str, bytes]:
    """Draw a photo's pictures, PNGs with `text` inside, by the folder they belong in.

    `labels` gives an indexed picture and an overlay, `rgb` the foreground's first three components as colours on
    black, `components` the first of everything in grey and, right of it, the next three as colours.
    """
    rgb, parts = found.rgb, found.parts
    if kind == "labels":
        return {
            "labels": encode_labels(parts.labels, text),
            "overlays": encode_rgb(tint(rgb, parts.labels, voc_palette()), text),
        }
    return {kind: encode_rgb(_components(found, kind), text)}


def _components(found: Labelled, kind: Kind) -> RGB:
    size = Size(*found.rgb.shape[:2])
    if kind == "rgb":
        shown = np.where(found.parts.labels[..., None] > 0, _grown(found.parts.colours, size), 0)
        return np.asarray(shown, np.uint8)
    grown = _grown(found.parts.components, size)
    return np.concatenate([np.repeat(grown[..., :1], 3, axis=-1), grown[..., 1:]], axis=1)


def _grown(maps: Float[np.ndarray, "rows cols c"], size: Size) -> UInt8[np.ndarray, "height width c"]:
    channels = [enlarge(maps[..., channel].astype(np.float32), size) for channel in range(maps.shape[-1])]
    return np.asarray(np.round(np.stack(channels, axis=-1) * 255), np.uint8)


def thumbnail(found: Labelled, kind: Kind = "labels") -> Tile:
    """Draw a photo's parts, or components, for the contact sheet."""
    if kind != "labels":
        return Tile(fit_within(_components(found, kind), CELL), Path(found.job.name).name)
    labels = found.parts.labels
    factor = min(CELL.height / labels.shape[0], CELL.width / labels.shape[1], 1)
    size = max(1, round(labels.shape[1] * factor)), max(1, round(labels.shape[0] * factor))
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    rgb = cv2.resize(found.rgb, size, interpolation=cv2.INTER_AREA)
    return Tile(tint(rgb, small, voc_palette()), Path(found.job.name).name)


def parts_sheet(vocabulary: Vocabulary, tiles: Sequence[Tile], kind: Kind = "labels") -> RGB:
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
