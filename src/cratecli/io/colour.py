"""Convert images of any of Pillow's modes, depths and colour spaces to sRGB, 0–255."""

import io

import numpy as np
from PIL import ExifTags, Image, ImageCms

from cratecli.arrays import RGB, Mask

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Rotate or mirror an image upright by its EXIF orientation; one with broken EXIF is returned unchanged."""
    turn = _TURNS.get(orientation(image))
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


def to_rgb(image: Image.Image) -> RGB:
    """Convert an image to sRGB, 0–255: alpha is composited over white; 16-bit, 32-bit and float grey is scaled."""
    if image.mode.startswith("I;16"):
        return _grey((np.asarray(image).astype(np.uint32) + 128) // 257)
    if image.mode in ("I", "F"):
        return _grey(_scaled(np.asarray(image)))
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


def _scaled(values: np.ndarray) -> np.ndarray:
    """Scale 32-bit and float grey to 0–255, from 0–65535 or 0–1 where it fits, else from its range; NaN is black."""
    with np.errstate(invalid="ignore"):
        grey = values.astype(np.float64)
    finite = grey[np.isfinite(grey)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0 and 255 < high <= 65535:
        grey = grey / 257
    elif low < 0 or high > 255:
        grey = (grey - low) / max(high - low, 1e-12) * 255
    elif high <= 1:
        grey = grey * 255
    return np.round(np.nan_to_num(grey, nan=0.0, posinf=255.0, neginf=0.0))


def _grey(values: np.ndarray) -> RGB:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)
