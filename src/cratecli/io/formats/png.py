"""Encode masks as PNG files (binary, cut-out with the background removed, overlay), and decode them."""

import io
import struct
import zlib
from functools import partial

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from cratecli.arrays import RGB, Mask
from cratecli.errors import InputError
from cratecli.io.formats.record import check_size
from cratecli.io.opening import without_bad_metadata
from cratecli.io.own import TEXT

HEADER = 33  # bytes of a PNG's signature and its first chunk
DIMMED = 0.35  # brightness of an overlay's background, as a share of the photo's luminance


def encode_mask(mask: Mask, text: str | None = None) -> bytes:
    """Encode a binary mask as a PNG of 0/255 grey."""
    return encode_image(Image.fromarray(mask.astype(np.uint8) * 255), text)


def encode_cutout(
    rgb: RGB,
    mask: Mask,
    text: str | None = None,
    *,
    rgba: np.ndarray | None = None,
) -> bytes:
    """Encode a cut-out as a PNG: see `cut_out`."""
    return encode_image(Image.fromarray(cut_out(rgb, mask, rgba)), text)


def cut_out(rgb: RGB, mask: Mask, rgba: np.ndarray | None = None) -> UInt8[np.ndarray, "height width 4"]:
    """Draw a cut-out: the photo (RGB, 0–255) with a transparent background, alpha 0/255.

    A photo with alpha, its own colours in `rgba`, keeps both inside the mask; what is transparent there has alpha 1, so
    that the mask can be told. Outside the mask colours are 0: nothing of the background stays in the file.
    """
    own = np.dstack([rgb, np.full(mask.shape, 255, np.uint8)]) if rgba is None else rgba
    alpha = np.maximum(own[..., 3], 1)
    return np.where(mask[..., None], np.dstack([own[..., :3], alpha]), np.uint8(0))


def encode_rgb(picture: RGB, text: str | None = None) -> bytes:
    """Encode an RGB picture, 0–255, as a PNG."""
    return encode_image(Image.fromarray(picture), text)


def encode_image(picture: Image.Image, text: str | None = None) -> bytes:
    """Encode a Pillow image as a PNG, with `text` (ASCII) embedded as provenance."""
    information = PngInfo()
    if text is not None:
        information.add_text(TEXT, text)
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=information)
    return stream.getvalue()


def with_text(content: bytes, text: str) -> bytes:
    """Embed `text` (ASCII) as provenance in a PNG that has none, behind its header."""
    chunk = b"tEXt" + f"{TEXT}\0{text}".encode("ascii")
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:HEADER] + packed + content[HEADER:]


def embedded_text(content: bytes) -> str | None:
    """Read the provenance embedded in a PNG; `None` if it has none. Raises `ValueError` for anything but a PNG."""
    try:
        with PngImageFile(io.BytesIO(content)) as picture:
            text = picture.info.get(TEXT)
    except (OSError, SyntaxError, EOFError, ValueError, struct.error) as error:
        raise ValueError(f"not a PNG: {error}") from None
    return text if isinstance(text, str) else None


def decode_mask(content: bytes) -> Mask:
    """Decode a binary mask from a PNG of 0/255 grey. Raises `ValueError` for anything else."""
    return _two_valued(read_png(content, "L"))


def decode_cutout(content: bytes) -> Mask:
    """Decode the mask of a cut-out: where its alpha is not 0. Raises `ValueError` for a PNG without alpha."""
    return np.asarray(read_png(content, "RGBA")[..., 3] > 0)


def read_png(content: bytes, mode: str) -> np.ndarray:
    """Decode a PNG of one of Pillow's 8-bit modes as an array of bytes.

    `check_size` limits its size, instead of Pillow's limit, which is for photos. Raises `ValueError` for a PNG of
    another mode, another format, and a broken file.
    """
    try:
        return without_bad_metadata(content, "the PNG", partial(_pixels, mode=mode))
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ValueError(f"not a PNG: {error}") from None
    except InputError as error:
        raise ValueError(str(error)) from None


def _pixels(content: bytes, mode: str) -> np.ndarray:
    with PngImageFile(io.BytesIO(content)) as picture:
        if picture.mode != mode:
            raise ValueError(f"a PNG of mode {picture.mode}, not {mode}")
        check_size(picture.height, picture.width)
        return np.array(picture, np.uint8)


def _two_valued(levels: UInt8[np.ndarray, "height width"]) -> Mask:
    if not np.isin(levels, (0, 255)).all():
        raise ValueError("a mask has values between 0 and 255")
    return np.asarray(levels == 255)


def overlay(rgb: RGB, mask: Mask) -> RGB:
    """Draw an overlay: the mask in the photo's colours (RGB, 0–255), outlined, on a dim grey background."""
    ground = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None] * DIMMED
    shown = np.where(mask[..., None], rgb, ground).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(max(mask.shape) / 400))
    return cv2.drawContours(shown, contours, -1, (255, 255, 255), thickness)
