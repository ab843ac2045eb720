"""PGM and PPM come in as the numbers that they hold, binary or text, whatever they declare the largest."""

import numpy as np
import pytest

from cratecli.errors import InputError
from cratecli.io import images
from tests.support.levels import COLOURS, LEVELS


def portable(values: np.ndarray, largest: int, *, text: bool) -> bytes:
    """Write a PGM or PPM."""
    kind = {(2, False): "P5", (2, True): "P2", (3, False): "P6", (3, True): "P3"}[values.ndim, text]
    head = f"{kind}\n# made\n{values.shape[1]} {values.shape[0]}\n{largest}\n".encode()
    if text:
        return head + " ".join(map(str, values.ravel().tolist())).encode()
    return head + values.astype(np.uint8 if largest < 256 else ">u2").tobytes()


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("levels", [LEVELS, COLOURS], ids=["grey", "colours"])
@pytest.mark.parametrize(
    ("largest", "used"), [(51, 51), (1023, 1023), (4095, 4095), (65535, 65535), (65535, 4095)]
)
def test_every_depth_is_that_of_8_bits(levels: np.ndarray, largest: int, used: int, *, text: bool) -> None:
    content = portable(np.round(levels / 255 * used).astype(int), largest, text=text)
    twin = images.decode(portable(levels, 255, text=text), "photo").rgb.astype(int)
    near = 3 if used < 255 else 1
    for range in ("auto", f"0:{used}"):
        decoded = images.decode(content, "photo", range=range)
        np.testing.assert_allclose(decoded.rgb, twin, atol=near)
        noted = range == "auto" and used < largest
        assert bool(decoded.notes) == noted and all("read as of 0 to 4095" in each for each in decoded.notes)
    full = images.decode(content, "photo", range="full").rgb
    np.testing.assert_allclose(full, np.round(twin * (used / largest)), atol=near)


def test_what_is_declared_wrongly_does_not_count() -> None:
    decoded = images.decode(portable(LEVELS * 257, 4095, text=False), "photo")
    np.testing.assert_allclose(decoded.rgb[..., 0], LEVELS, atol=1)


@pytest.mark.parametrize("text", [False, True])
def test_one_cut_short_is_refused(*, text: bool) -> None:
    content = portable(COLOURS, 4095, text=text)
    with pytest.raises(InputError, match=r"^photo: [^\n]*$"):
        images.decode(content[:-6], "photo")
