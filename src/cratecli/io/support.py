"""Which image formats this installation can read. Opens no image."""

from importlib.util import find_spec

from PIL import features

_FEATURES = {"AVIF": "avif", "WebP": "webp", "JPEG 2000": "jpg_2000"}
HEIC = "HEIC"


def readable_formats() -> dict[str, bool]:
    """Tell, by format, whether what reads it is installed; formats that Pillow always reads are left out."""
    found = {name: bool(features.check(feature)) for name, feature in _FEATURES.items()}
    return found | {HEIC: find_spec("pillow_heif") is not None}
