"""Convert images of any of Pillow's 8-bit modes and colour spaces to sRGB, 0–255, and turn them upright."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageCms

from cratecli.arrays import RGB, Mask

STANDS_OUT = 32  # levels, in any channel, by which a colour differs from white at least
LEAST_SHOWN = 0.05  # of what is not transparent: less of it standing out from white, it lies on black

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
    turn = _TURNS.get(orientation(held or image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """Read the EXIF orientation of an image, 1 to 8; 1, upright, where it has none or broken EXIF."""
    try:
        number = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF raises anything, while the pixels are whole
        return 1
    return number if number in _TURNS else 1


def as_stored(mask: Mask, orientation: int) -> Mask:
    """Turn a mask of the upright photo back to the frame of the file, whose EXIF orientation is 1 to 8."""
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(
        orientation, _TURNS.get(orientation)
    )
    if back is None:
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).transpose(back)) > 0


@dataclass(frozen=True, eq=False)
class Shown:
    """A photo as people see it: sRGB, 0–255, on a white ground, or on a black one where white would hide it.

    `rgba` are the photo's own colours, and alpha, where it has some.
    """

    rgb: RGB
    rgba: np.ndarray | None = None
    on_black: bool = False


def to_srgb(image: Image.Image) -> Shown:
    """Convert an image of 8 bits a channel to sRGB, 0–255."""
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return Shown(np.array(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")))
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        plain = image if image.mode == "CMYK" else image.convert("RGB")
        return Shown(np.array(_in_srgb(plain, profile)))
    straight = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    on_black = _hidden_by_white(np.asarray(straight))
    ground = Image.new("RGBA", straight.size, "black" if on_black else "white")
    flat = _in_srgb(Image.alpha_composite(ground, straight).convert("RGB"), profile)
    own = _in_srgb(straight.convert("RGB"), profile)
    return Shown(np.array(flat), np.dstack([np.asarray(own), np.asarray(straight)[..., 3]]), on_black)


def _hidden_by_white(rgba: np.ndarray) -> bool:
    """Tell whether next to nothing of what is not transparent would stand out from white."""
    opaque = rgba[rgba[..., 3] >= 128]
    if not opaque.size or len(opaque) == rgba.shape[0] * rgba.shape[1]:
        return False
    return bool((opaque[:, :3].min(axis=1) < 255 - STANDS_OUT).mean() < LEAST_SHOWN)


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
