"""A mask as a PNG: binary, soft, cut out of its photo, or laid over it."""

import io
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Kind = Literal["mask", "soft", "cutout", "overlay"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TEXT = "crate"  # the keyword of the text inside
DIMMED = 0.35  # of the luminance, where an overlay shows what is not in the mask


def encode(
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
    soft: Float[np.ndarray, "height width"],
    kind: Kind,
    text: str | None = None,
) -> bytes:
    """Encode one picture of a mask as PNG bytes, at the photo's own size.

    `mask` gives 0/255 grey; `soft` the map itself, 0–255 grey; `cutout` the photo with everything else
    transparent; `overlay` the photo with the mask outlined in its own colours, on a dim grey ground.
    `text`, ASCII, is kept inside, see `told`.
    """
    match kind:
        case "mask":
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
        case "soft":
            picture = Image.fromarray(np.round(soft * 255).astype(np.uint8))
        case "cutout":
            picture = Image.fromarray(np.dstack([rgb, mask.astype(np.uint8) * 255]))
        case "overlay":
            picture = Image.fromarray(overlay(rgb, mask))
    return encode_image(picture, text)


def encode_rgb(picture: UInt8[np.ndarray, "height width 3"], text: str | None = None) -> bytes:
    """Encode a picture as PNG bytes."""
    return encode_image(Image.fromarray(picture), text)


def encode_image(picture: Image.Image, text: str | None = None) -> bytes:
    """Encode a Pillow image as PNG bytes, with a text inside that says how it was made."""
    information = PngInfo()
    if text is not None:
        information.add_text(TEXT, text)
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=information)
    return stream.getvalue()


def told(content: bytes) -> str | None:
    """Read the text that a PNG of ours carries; `None` where there is none. Raises `ValueError` for what is no PNG."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            text = picture.info.get(TEXT)
    except Exception as error:  # a broken file makes its decoder raise anything
        raise ValueError(f"not a PNG: {error}") from None
    return text if isinstance(text, str) else None


def overlay(
    rgb: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Show the masked pixels in colour on a dim grey ground, outlined as wide as its size asks for."""
    ground = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None] * DIMMED
    shown = np.where(mask[..., None], rgb, ground).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(max(mask.shape) / 400))
    return cv2.drawContours(shown, contours, -1, (255, 255, 255), thickness)
