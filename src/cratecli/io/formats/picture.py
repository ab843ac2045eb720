"""Draw a mask as a picture, encode pictures as PNG, WebP or JPEG with provenance inside, and read that again."""

import io
import struct
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cratecli.arrays import RGB, Mask, Soft
from cratecli.errors import InputError
from cratecli.io.formats import Ending
from cratecli.io.formats.png import cut_out, encode_image, overlay
from cratecli.io.formats.png import embedded_text as text_of_png
from cratecli.io.own import COMMENT

Kind = Literal["mask", "soft", "soft16", "cutout", "overlay"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Drawn = UInt8[np.ndarray, "height width *channels"] | UInt16[np.ndarray, "height width"]
"""A picture: grey, RGB or RGBA, 0–255, or grey of 16 bits."""

LONGEST = {"webp": 16_383, "jpg": 65_500}  # px of a side
QUALITY = {"webp": 90, "jpg": 95}  # of colours, 0–100; a WebP's alpha is kept without loss
MOST_TEXT = 60_000  # bytes: EXIF in a JPEG ends at 64 KiB

_EXIF, _COMMENT = 0x8769, 0x9286  # EXIF's own directory, and its tag UserComment


def draw(
    rgb: RGB,
    mask: Mask,
    soft: Soft,
    kind: Kind,
    *,
    alpha: Soft | None = None,
    rgba: np.ndarray | None = None,
) -> Drawn:
    """Draw a mask or its saliency map at the photo's own size.

    The kind `mask` is 0/255 grey; `soft` is the saliency map (0–1) as 0–255 grey, `soft16` as 0–65535; `cutout` is
    the photo (RGB, 0–255) with a transparent background, of which no colour stays, by `alpha` where it is given, in
    the colours and with the alpha of `rgba` where the photo has its own; `overlay` is the photo with the
    outlined mask in colour on a dim grey background.
    """
    match kind:
        case "mask":
            return mask.astype(np.uint8) * np.uint8(255)
        case "soft":
            return np.asarray(np.round(soft * 255), np.uint8)
        case "soft16":
            return np.asarray(np.round(soft * 65535.0), np.uint16)
        case "cutout":
            if alpha is None:
                return cut_out(rgb, mask, rgba)
            levels = np.round(alpha * (255 if rgba is None else rgba[..., 3])).astype(np.uint8)[..., None]
            return np.where(levels > 0, np.dstack([rgb, levels]), np.uint8(0))
        case "overlay":
            return overlay(rgb, mask)


def lay_over(cutout: UInt8[np.ndarray, "height width 4"], ground: RGB) -> RGB:
    """Put a cut-out on a background of its size, by its alpha."""
    alpha = cutout[..., 3:].astype(np.float32) / 255
    return np.asarray(np.round(alpha * cutout[..., :3] + (1 - alpha) * ground), np.uint8)


def encode(picture: Drawn, ending: Ending, text: str | None, name: str) -> bytes:
    """Encode a picture, with `text` (ASCII) embedded as provenance: see `embedded_text`.

    A WebP of greys is lossless; colours lose what `QUALITY` says. Raises `InputError`, which `name` stands in, for what
    the format cannot hold.
    """
    image = Image.fromarray(picture)
    if ending == "png":
        return encode_image(image, text)
    if max(image.size) > LONGEST[ending] or len(text or "") > MOST_TEXT:
        limit = f"{ending} holds {LONGEST[ending]:,} px a side and {MOST_TEXT:,} characters of text"
        raise InputError(f"{name}: {limit}: write PNG")
    exif = Image.Exif()
    if text is not None:
        exif.get_ifd(_EXIF)[_COMMENT] = COMMENT + text.encode("ascii")
    stream = io.BytesIO()
    if ending == "webp":
        image.save(stream, "WEBP", exif=exif, lossless=picture.ndim == 2, quality=QUALITY["webp"])
    else:
        image.save(stream, "JPEG", exif=exif, quality=QUALITY["jpg"], subsampling=0)
    return stream.getvalue()


def embedded_text(content: bytes) -> str | None:
    """Read the provenance embedded in a picture; `None` if it has none. Raises `ValueError` for other files."""
    if content.startswith(b"\x89PNG"):
        return text_of_png(content)
    reader = JpegImageFile if content.startswith(b"\xff\xd8") else WebPImageFile
    try:
        with reader(io.BytesIO(content)) as picture:
            comment = picture.getexif().get_ifd(_EXIF).get(_COMMENT)
    except (
        OSError,
        SyntaxError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        struct.error,
    ) as error:
        raise ValueError(f"not a picture: {error}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"too large a picture: {error}") from None
    if not isinstance(comment, bytes) or not comment.startswith(COMMENT):
        return None
    return comment.removeprefix(COMMENT).decode("ascii", "replace")
