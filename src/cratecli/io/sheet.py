"""Draw contact sheets (labelled rows and columns of pictures), boxes on photos, and heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from cratecli.arrays import RGB
from cratecli.geometry import Box, Size

CELL = Size(120, 160)  # px
GAP, FRAME, TEXT = 8, 3, 13  # px
INK, FAINT, MARK = (30, 30, 30), (120, 120, 120), (226, 88, 34)


@dataclass(frozen=True, eq=False)
class Tile:
    """Holds one picture of a contact sheet, its caption, and whether it is framed."""

    picture: RGB
    caption: str = ""
    marked: bool = False


def contact_sheet(
    rows: Sequence[Sequence[Tile]],
    *,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    cell: Size = CELL,
) -> RGB:
    """Draw a contact sheet: tiles in rows and columns on white, each scaled to fit a cell of `cell` px.

    `columns` are headings of the columns, `labels` of the rows. Text that does not fit is cut.
    """
    font = ImageFont.load_default(TEXT)
    line = TEXT + 5
    captions = any(tile.caption for row in rows for tile in row)
    pitch = Size(cell.height + GAP + line * (captions + bool(labels)), cell.width + GAP)
    wide = max([len(columns), *map(len, rows)])
    top = GAP + line * bool(columns)
    sheet = Image.new("RGB", (wide * pitch.width + GAP, top + len(rows) * pitch.height), "white")
    pen = ImageDraw.Draw(sheet)

    def write(text: str, left: int, top: int, ink: tuple[int, int, int], room: int = cell.width) -> None:
        text = "".join(c if c.isprintable() else "?" for c in text)
        while text and pen.textlength(text, font=font) > room:
            text = text.removesuffix("…")[:-1] + "…" if len(text) > 2 else ""
        pen.text((left, top), text, fill=ink, font=font)

    for column, text in enumerate(columns):
        write(text, GAP + column * pitch.width, GAP // 2, FAINT)
    for number, row in enumerate(rows):
        upper = top + number * pitch.height
        if labels:
            write(labels[number], GAP, upper, INK, room=wide * pitch.width)
            upper += line
        for column, tile in enumerate(row):
            left = GAP + column * pitch.width
            picture = fit_within(tile.picture, cell)
            if tile.marked:
                box = (
                    left - FRAME,
                    upper - FRAME,
                    left + picture.shape[1] + FRAME - 1,
                    upper + picture.shape[0] + FRAME - 1,
                )
                pen.rectangle(box, fill=MARK)
            sheet.paste(Image.fromarray(picture), (left, upper))
            if tile.caption:
                write(tile.caption, left, upper + picture.shape[0] + FRAME, MARK if tile.marked else FAINT)
    return np.array(sheet)


def fit_within(picture: RGB, cell: Size) -> RGB:
    """Scale a picture to fit a cell (px); enlarging keeps pixels sharp, so that patches can be seen."""
    factor = min(cell.height / picture.shape[0], cell.width / picture.shape[1])
    width, height = (max(1, round(side * factor)) for side in (picture.shape[1], picture.shape[0]))
    way = cv2.INTER_NEAREST if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way))


def stack(upper: RGB, lower: RGB) -> RGB:
    """Stack two pictures vertically, left-aligned on white."""
    width = max(upper.shape[1], lower.shape[1])
    padded = [
        np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in (upper, lower)
    ]
    return np.concatenate(padded)


@dataclass(frozen=True)
class Framed:
    """Holds a box (px) to draw on a photo, its caption, and its colour (RGB, 0–255)."""

    box: Box
    caption: str
    colour: tuple[int, int, int]


def frame(rgb: RGB, boxes: Sequence[Framed]) -> RGB:
    """Draw boxes on a photo, each with its caption in the upper left corner; lines are 1/400 of the long side."""
    image = Image.fromarray(rgb)
    pen = ImageDraw.Draw(image)
    thickness = max(1, round(max(image.size) / 400))
    font = ImageFont.load_default(max(10, round(max(image.size) / 45)))
    for each in boxes:
        box = each.box
        corners = (box.left, box.top, box.right - 1, box.bottom - 1)
        pen.rectangle(corners, outline=each.colour, width=thickness)
        room = image.width - thickness - round(pen.textlength(each.caption, font=font))
        place = (max(0, min(box.left + thickness, room)), box.top + thickness)
        pen.rectangle(pen.textbbox(place, each.caption, font=font), fill=each.colour)
        pen.text(place, each.caption, fill="white", font=font)
    return np.array(image)


def heat(values: Float[np.ndarray, "height width"]) -> RGB:
    """Draw a heat map of values in 0–1 from dark blue to yellow (viridis colour map)."""
    levels = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1])
