"""Backgrounds: a colour, or a photo that covers the picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError, UsageError
from cratecli.geometry import Size
from cratecli.io.background import read_background


@pytest.mark.parametrize(
    ("named", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#1080F0", (16, 128, 240)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("#f00f", (255, 0, 0)),
    ],
)
def test_colours(named: str, colour: tuple[int, int, int]) -> None:
    ground = read_background(named)
    assert ground.sha256 is None
    shown = ground.of_size(Size(5, 7))
    assert shown.shape == (5, 7, 3)
    assert (shown == colour).all()


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 90), (31, 29), (1, 1)])
def test_a_photo_covers_and_keeps_its_middle(tmp_path: Path, width: int, height: int) -> None:
    stripes = np.zeros((30, 90, 3), np.uint8)
    stripes[:, :30], stripes[:, 30:60], stripes[:, 60:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    shown = read_background(str(tmp_path / "stripes.png")).of_size(Size(height, width))
    assert shown.shape == (height, width, 3)
    assert shown[height // 2, width // 2].argmax() == 1
    if (width, height) == (90, 30):
        np.testing.assert_array_equal(shown, stripes)


def test_what_is_no_background(tmp_path: Path) -> None:
    for named in ("whit", "#12", "", "a\0b", str(tmp_path / "gone.png"), "x" * 300):
        with pytest.raises(UsageError, match="neither a colour"):
            read_background(named)
    with pytest.raises(UsageError, match="not an opaque colour"):
        read_background("#ffffff80")
    (tmp_path / "text.png").write_text("no photo")
    with pytest.raises(InputError, match=r"text.png: not an image"):
        read_background(str(tmp_path / "text.png"))
    with pytest.raises(InputError, match="a folder"):
        read_background(str(tmp_path))
