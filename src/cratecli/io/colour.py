"""Convert images of any of Pillow's 8-bit modes and colour spaces to sRGB, 0–255, and turn them upright."""

import io

import numpy as np
from PIL import ExifTags, Image, ImageCms

from cratecli.arrays import RGB

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, held: Image.Image | None = None) -> Image.Image:
    """Rotate or mirror an image upright by its EXIF orientation; one with broken EXIF is returned unchanged.

    `held` is the image whose EXIF counts, if another.
    """
    try:
        turn = _TURNS.get((held or image).getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF raises anything, while the pixels are whole
        turn = None
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> RGB:
    """Convert an image of 8 bits a channel to sRGB, 0–255: alpha is composited over white."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.array(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    return np.array(_in_srgb(_over_white(image), image.info.get("icc_profile")))


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", straight.size, "white"), straight).convert("RGB")
    return image if image.mode == "CMYK" else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from the embedded ICC profile to sRGB; a broken profile, or one of another colour space, is ignored."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):  # most photos: no conversion
                srgb = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(image, source, srgb, outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")
