"""What a cut-out is put on: one colour, or a photo that covers it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps

from cratecli.arrays import RGB
from cratecli.errors import UsageError
from cratecli.geometry import Size
from cratecli.io import images


@dataclass(frozen=True, eq=False)
class Background:
    """A background as it was named, and what it shows: RGB, 0–255, of one pixel or a photo's.

    `sha256` is that of a photo's file, in hexadecimal; a colour has none.
    """

    named: str
    rgb: RGB
    sha256: str | None = None

    def of_size(self, size: Size) -> RGB:
        """Give the background at a size, px: a photo is scaled to cover it, and cut to its middle."""
        whole = Image.fromarray(self.rgb)
        return np.array(ImageOps.fit(whole, (size.width, size.height), Image.Resampling.LANCZOS))


def read_background(named: str) -> Background:
    """Read a background: a colour of CSS (`white`, `#f0f0f0`, `rgb(0, 128, 0)`), or else the path of a photo.

    Raises `UsageError` for a colour that is not opaque, `InputError` for a photo that cannot be read.
    """
    try:
        colour = ImageColor.getrgb(named)
    except ValueError:
        return _photo(named)
    if len(colour) == 4 and colour[3] != 255:
        raise UsageError(f"background {named}: not an opaque colour: a cut-out without one is transparent")
    return Background(named, np.array([[colour[:3]]], np.uint8))


def is_colour(named: str) -> bool:
    """Tell whether a background is named by a colour; no file is looked for."""
    try:
        return bool(ImageColor.getrgb(named))
    except ValueError:
        return False


def _photo(named: str) -> Background:
    if not named or not os.path.exists(named):  # noqa: PTH110 - Path.exists raises for a name too long
        raise UsageError(
            f"background {named!r}: neither a colour, as white or #f0f0f0, nor a photo that is there"
        )
    content = images.content(Path(named))
    return Background(named, images.read_bytes(content, named), hashlib.sha256(content).hexdigest())
