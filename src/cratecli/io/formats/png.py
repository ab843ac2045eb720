"""A mask as a PNG, and back: binary, soft, cut out of its photo; or laid over it, to look at."""

import io
import struct
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from cratecli.io.formats.record import check_size

Kind = Literal["mask", "soft", "soft16", "cutout", "overlay"]
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

    `mask` gives 0/255 grey; `soft` the map itself, 0–255 grey, `soft16` 0–65535; `cutout` the photo with
    everything else transparent; `overlay` the photo with the mask outlined in its own colours, on a dim grey ground.
    `text`, ASCII, is kept inside: see `told`.
    """
    match kind:
        case "mask":
            return encode_mask(mask, text)
        case "soft":
            return encode_image(Image.fromarray(np.round(soft * 255).astype(np.uint8)), text)
        case "soft16":
            return encode_image(Image.fromarray(np.round(soft * 65535.0).astype(np.uint16)), text)
        case "cutout":
            return encode_cutout(rgb, mask, text)
        case "overlay":
            return encode_rgb(overlay(rgb, mask), text)


def encode_mask(mask: Bool[np.ndarray, "height width"], text: str | None = None) -> bytes:
    """Encode a mask as 0/255 grey."""
    return encode_image(Image.fromarray(mask.astype(np.uint8) * 255), text)


def encode_cutout(
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
    text: str | None = None,
) -> bytes:
    """Encode a photo with everything but the mask transparent."""
    return encode_image(Image.fromarray(np.dstack([rgb, mask.astype(np.uint8) * 255])), text)


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
        with PngImageFile(io.BytesIO(content)) as picture:
            text = picture.info.get(TEXT)
    except (OSError, SyntaxError, EOFError, ValueError, struct.error) as error:
        raise ValueError(f"not a PNG: {error}") from None
    return text if isinstance(text, str) else None


def decode_mask(content: bytes) -> Bool[np.ndarray, "height width"]:
    """Read a mask of 0/255 grey. Raises `ValueError` for anything else."""
    return _two_valued(read_png(content, "L"))


def decode_cutout(content: bytes) -> Bool[np.ndarray, "height width"]:
    """Read the mask of a cut-out, which is its alpha. Raises `ValueError` for anything else."""
    return _two_valued(read_png(content, "RGBA")[..., 3])


def decode_soft(content: bytes) -> Float[np.ndarray, "height width"]:
    """Read a soft map of 8 or 16 bits, as 0–1. Raises `ValueError` for anything else."""
    levels = read_png(content, "L", "I;16")
    return (levels / np.float32(np.iinfo(levels.dtype).max)).astype(np.float32)


def read_png(content: bytes, *modes: str) -> np.ndarray:
    """Read a PNG of one of Pillow's modes, and of no other format.

    Pillow's own limit of pixels is for photos; that of `check_size` holds here. Raises `ValueError`.
    """
    try:
        with PngImageFile(io.BytesIO(content)) as picture:
            if picture.mode not in modes:
                raise ValueError(f"a PNG of mode {picture.mode}, not {' or '.join(modes)}")
            check_size(picture.height, picture.width)
            return np.array(picture, np.uint16 if picture.mode == "I;16" else np.uint8)
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ValueError(f"not a PNG: {error}") from None


def _two_valued(levels: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    if not np.isin(levels, (0, 255)).all():
        raise ValueError("a mask has values between 0 and 255")
    return np.asarray(levels == 255)


def overlay(
    rgb: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Show the masked pixels in colour on a dim grey ground, outlined as wide as its size asks for."""
    ground = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None] * DIMMED
    shown = np.where(mask[..., None], rgb, ground).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(max(mask.shape) / 400))
    return cv2.drawContours(shown, contours, -1, (255, 255, 255), thickness)
