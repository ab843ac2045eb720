"""Grids: near the aspect, never without bound."""

import pytest

from cratecli.geometry import Box, Grid, Size, fit_grid


@pytest.mark.parametrize("size", [Size(480, 640), Size(640, 480), Size(1, 1), Size(13, 13), Size(500, 2000)])
def test_the_short_side_is_what_was_asked_for(size: Size) -> None:
    grid = fit_grid(size, 96, 8)
    assert min(grid) == 12
    aspect = max(size) / min(size)
    assert max(grid) == pytest.approx(12 * aspect, abs=0.5)


@pytest.mark.parametrize("size", [Size(1, 100_000), Size(100_000, 1), Size(20, 640), Size(640, 20)])
def test_a_long_thin_photo_has_no_more_patches_than_four_to_one(size: Size) -> None:
    grid = fit_grid(size, 192, 8)
    assert grid.patches <= 1.2 * 4 * 24**2
    assert (grid.rows > grid.cols) == (size.height > size.width)


def test_a_grid_covers_its_pixels_and_a_box_speaks_coco() -> None:
    assert Grid(3, 5).pixels(8) == Size(24, 40)
    assert Grid(3, 5).patches == 15
    assert Box(1, 2, 4, 9).xywh == (2, 1, 7, 3)
