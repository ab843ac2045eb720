"""Report which optional image formats this installation can read."""

from importlib.util import find_spec

from PIL import features

_FEATURES = {"AVIF": "avif", "WebP": "webp", "JPEG 2000": "jpg_2000"}
HEIC = "HEIC"


def readable_formats() -> dict[str, bool]:
    """Report for each optional format whether its library is installed; Pillow always reads the others."""
    built_in = {name: bool(features.check(feature)) for name, feature in _FEATURES.items()}
    return built_in | {HEIC: find_spec("pillow_heif") is not None}
