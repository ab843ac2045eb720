"""Tiles of one colour each: every one must be where its row and column say, and text must never be in its way."""

import numpy as np
import pytest

from cratecli.geometry import Box, Size
from cratecli.io.sheet import (
    CELL,
    FRAME,
    GAP,
    MARK,
    TEXT,
    Framed,
    Tile,
    contact_sheet,
    fit_within,
    frame,
    heat,
    stack,
)

CELLS = Size(30, 40)
LINE = TEXT + 5
COLOURS = [[(250, 0, 0), (0, 250, 0), (0, 0, 250)], [(250, 250, 0), (0, 250, 250), (250, 0, 250)]]


def flat(colour: tuple[int, int, int], height: int = 30, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def tiles(caption: str = "") -> list[list[Tile]]:
    return [[Tile(flat(colour), caption) for colour in row] for row in COLOURS]


def where(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Give the box that a colour fills: left, top, width, height. It must fill it wholly."""
    rows, cols = np.nonzero((sheet == colour).all(axis=2))
    top, left, bottom, right = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
    assert len(rows) == (bottom - top) * (right - left)
    return int(left), int(top), int(right - left), int(bottom - top)


def pitches(*, columns: bool, labels: bool, captions: bool) -> tuple[int, int, int]:
    """Compute, in px, where the first picture's top is, and how far rows and columns are apart."""
    top = GAP + LINE * columns + LINE * labels
    return top, 30 + GAP + LINE * (labels + captions), 40 + GAP


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("captions", [False, True])
def test_every_tile_has_its_place(columns: bool, labels: bool, captions: bool) -> None:
    sheet = contact_sheet(
        tiles("0.50" if captions else ""),
        columns=["photo", "head 0", "head 1"] if columns else [],
        labels=["a.jpg", "b.jpg"] if labels else [],
        cell=CELLS,
    )
    top, down, across = pitches(columns=columns, labels=labels, captions=captions)
    for row, colours in enumerate(COLOURS):
        for column, colour in enumerate(colours):
            assert where(sheet, colour) == (GAP + column * across, top + row * down, 40, 30)
    assert sheet.shape == (top - LINE * labels + 2 * down, 3 * across + GAP, 3)
    assert sheet.dtype == np.uint8
    assert (sheet[-1] == 255).all()
    assert (sheet[:, -1] == 255).all()


def ink(sheet: np.ndarray, left: int, top: int, width: int, height: int) -> bool:
    """Tell whether something is written in a box of the sheet."""
    return bool((sheet[top : top + height, left : left + width] != 255).any())


def test_text_stands_where_it_belongs() -> None:
    rows = tiles()
    rows[1][2] = Tile(flat(COLOURS[1][2]), "0.25")
    sheet = contact_sheet(rows, columns=["", "head 0", ""], labels=["", "b.jpg"], cell=CELLS)
    top, down, across = pitches(columns=True, labels=True, captions=True)
    for column in range(3):
        assert ink(sheet, GAP + column * across, 0, 40, top - LINE) == (column == 1)
        for row in range(2):
            under = top + row * down + 30
            assert ink(sheet, GAP + column * across, under, 40, LINE) == ((row, column) == (1, 2))
    assert not ink(sheet, 0, top - LINE, sheet.shape[1], LINE)
    assert ink(sheet, GAP, top + down - LINE, 40, LINE)


def test_what_is_marked_is_framed_and_nothing_else() -> None:
    rows = tiles("0.5")
    rows[0][1] = Tile(flat(COLOURS[0][1]), "0.5", marked=True)
    plain, marked = contact_sheet(tiles("0.5"), cell=CELLS), contact_sheet(rows, cell=CELLS)
    left, top, width, height = where(marked, COLOURS[0][1])
    assert (left, top, width, height) == where(plain, COLOURS[0][1])
    around = marked[top - FRAME : top + height + FRAME, left - FRAME : left + width + FRAME].copy()
    inner = around[FRAME:-FRAME, FRAME:-FRAME]
    assert (inner == COLOURS[0][1]).all()
    inner[:] = MARK
    assert (around == MARK).all()
    changed = np.argwhere((plain != marked).any(axis=2))
    assert changed.min(axis=0).tolist() == [top - FRAME, left - FRAME]
    assert changed[:, 0].max() < top + height + FRAME + LINE  # the frame, and the caption in its colour
    assert changed[:, 1].max() == left + width + FRAME - 1


def test_pictures_of_other_shapes_keep_theirs() -> None:
    """A tall picture fills its cell's height, a wide one its width; both hang at the top left."""
    tall, wide = flat((250, 0, 0), 60, 20), flat((0, 250, 0), 10, 80)
    sheet = contact_sheet([[Tile(tall), Tile(wide)]], cell=CELLS)
    assert where(sheet, (250, 0, 0)) == (GAP, GAP, 10, 30)
    assert where(sheet, (0, 250, 0)) == (GAP + 40 + GAP, GAP, 40, 5)


def test_rows_may_differ_in_length() -> None:
    rows = [tiles()[0], tiles()[1][:1]]
    sheet = contact_sheet(rows, cell=CELLS)
    assert sheet.shape[1] == 3 * (40 + GAP) + GAP
    assert where(sheet, COLOURS[1][0])[:2] == (GAP, GAP + 30 + GAP)


@pytest.mark.parametrize(
    "text",
    [
        "a very long name that no cell of this width could ever hold " * 5,
        "W",
        "WW",
        "WWWWWWWWW",
        "two\nlines\tand\x1b[31m a colour\x00",
        "猫 🐈 ñ שלום \u0301\u202e",
        "\udcff.png",
        " ",
    ],
)
def test_no_text_leaves_its_room(text: str) -> None:
    narrow = Size(30, 20)
    rows = [[Tile(flat(colour, 30, 20), text) for colour in row] for row in COLOURS]
    sheet = contact_sheet(rows, columns=[text] * 3, labels=[text] * 2, cell=narrow)
    bare = contact_sheet(
        [[Tile(tile.picture, ".") for tile in row] for row in rows],
        columns=["."],
        labels=[".", "."],
        cell=narrow,
    )
    assert sheet.shape == bare.shape
    for row in COLOURS:
        for colour in row:
            assert where(sheet, colour) == where(bare, colour)
    top = GAP + LINE * 2
    for column in (1, 2):  # before a column nothing is written, but by labels, which may run on
        left = column * (20 + GAP) + 2  # a glyph may stand out by a pixel
        assert not ink(sheet, left, 0, GAP - 4, top - LINE)
        assert not ink(sheet, left, top, GAP - 4, 30 + LINE)


def test_text_that_is_cut_says_so() -> None:
    def sheet(text: str) -> np.ndarray:
        return contact_sheet([[Tile(flat((250, 0, 0)))]], columns=[text], cell=CELLS)

    np.testing.assert_array_equal(sheet("abc" * 30), sheet("abc" * 40))
    assert (sheet("abc") != sheet("abc" * 30)).any()
    assert (sheet("ab\ncd") == sheet("ab?cd")).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 32), (32, 1), (500, 400), (30, 40), (7, 3)])
def test_fitting_keeps_the_aspect(height: int, width: int) -> None:
    fitted = fit_within(flat((9, 8, 7), height, width), CELLS)
    assert (fitted == (9, 8, 7)).all()
    assert fitted.shape[0] == 30 or fitted.shape[1] == 40
    assert fitted.shape[0] <= 30
    assert fitted.shape[1] <= 40
    factor = min(30 / height, 40 / width)
    assert fitted.shape[:2] == (max(1, round(height * factor)), max(1, round(width * factor)))


def test_what_is_enlarged_keeps_its_patches_sharp_and_what_shrinks_is_averaged() -> None:
    board = np.indices((3, 4)).sum(axis=0) % 2 * 255
    patches = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    np.testing.assert_array_equal(fit_within(patches, CELLS), patches.repeat(10, axis=0).repeat(10, axis=1))
    stripes = np.zeros((120, 160, 3), np.uint8)
    stripes[:, ::2] = 200
    assert fit_within(stripes, CELLS) == pytest.approx(100, abs=1)


def test_one_over_another() -> None:
    upper, lower = flat((1, 2, 3), 4, 6), flat((4, 5, 6), 3, 9)
    for one, other in ((upper, lower), (lower, upper)):
        both = stack(one, other)
        assert both.shape == (7, 9, 3)
        assert (both[: len(one), : one.shape[1]] == one[0, 0]).all()
        assert (both[len(one) :, : other.shape[1]] == other[0, 0]).all()
        assert (both[: len(one), one.shape[1] :] == 255).all()
        assert (both[len(one) :, other.shape[1] :] == 255).all()


def test_a_box_is_drawn_where_it_is() -> None:
    photo = flat((200, 200, 200), 60, 90)
    before = photo.copy()
    shown = frame(photo, [Framed(Box(10, 20, 50, 80), "", (250, 0, 0))])
    edge = np.zeros((60, 90), bool)
    edge[10:50, 20:80] = True
    edge[11:49, 21:79] = False
    beside = np.zeros((60, 90), bool)
    beside[11:25, 21:24] = True  # where words would stand
    assert (shown[edge] == (250, 0, 0)).all()
    assert (shown[~edge & ~beside] == 200).all()
    np.testing.assert_array_equal(photo, before)


def test_words_stand_in_the_upper_left_corner_of_their_box() -> None:
    shown = frame(flat((0, 90, 90), 60, 90), [Framed(Box(10, 20, 50, 80), "1", (250, 0, 0))])
    inside = shown[11:49, 21:79]
    written = np.argwhere((inside != (0, 90, 90)).any(axis=2))
    assert written.min(axis=0).max() < 5
    assert written.max() < 15
    assert inside.min(axis=2).max() > 128  # white, more or less, on the box's colour
    assert (inside == (250, 0, 0)).all(axis=2).any()


@pytest.mark.parametrize("box", [Box(0, 0, 60, 90), Box(59, 89, 60, 90), Box(0, 0, 1, 1), Box(3, 0, 4, 90)])
def test_boxes_at_the_edge_and_of_one_pixel(box: Box) -> None:
    shown = frame(flat((200, 200, 200), 60, 90), [Framed(box, "", (250, 0, 0))] * 2)
    assert shown.shape == (60, 90, 3)
    assert (shown[box.bottom - 1, box.right - 1] == (250, 0, 0)).all()
    assert frame(flat((1, 2, 3), 1, 1), [Framed(Box(0, 0, 1, 1), "12  0.50", (250, 0, 0))]).shape == (1, 1, 3)


def test_a_large_photo_has_thicker_boxes() -> None:
    shown = frame(flat((200, 200, 200), 900, 1600), [Framed(Box(100, 100, 800, 1500), "", (250, 0, 0))])
    assert (shown[790:, 800] == (250, 0, 0)).all(axis=1).nonzero()[0].tolist() == [6, 7, 8, 9]


def test_heat_grows_from_dark_blue_to_yellow() -> None:
    shown = heat(np.linspace(0, 1, 256, dtype=np.float32)[None])[0].astype(int)
    luminance = shown @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) > -0.5).all()
    assert (luminance[16:] - luminance[:-16] > 5).all()
    red, green, blue = shown[0]
    assert blue > red > green
    red, green, blue = shown[-1]
    assert min(red, green) > 200 > blue


def test_heat_is_the_same_beyond_its_range() -> None:
    np.testing.assert_array_equal(heat(np.array([[-3.0, 7.0]])), heat(np.array([[0.0, 1.0]])))


def test_the_usual_cell_is_landscape() -> None:
    sheet = contact_sheet([[Tile(flat((250, 0, 0), 300, 400))]])
    assert where(sheet, (250, 0, 0)) == (GAP, GAP, CELL.width, CELL.height)
