"""DICOM pictures by pydicom, which is an extra: in the modality's units, under the window that the file declares."""

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from cratecli.errors import InputError
from cratecli.io.numbers import Ends, Numbers, whole_range

if TYPE_CHECKING:
    from pydicom import Dataset

SEVERAL = "holds several pictures; the first is used"
_DEFLATED = re.compile(rb"\x02\0\x10\0UI..1\.2\.840\.10008\.1\.2\.1\.99", re.S)  # a transfer syntax
_GREY, _INDEXED = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
_COLOURED = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")


def is_dicom(content: bytes) -> bool:
    """Tell a DICOM file by the mark behind its preamble."""
    return content[128:132] == b"DICM"


def read_dicom(content: bytes, name: str, max_pixels: int, most_bytes: int, *, windowed: bool) -> Numbers:
    """Read the first frame of a DICOM file: greys in the modality's units (HU of a CT), or RGB.

    `windowed`, a table of the display that the file holds is followed where there is no window.
    Raises `InputError` without the extra, for more than `max_pixels` or `most_bytes`, and for a file without a picture;
    and whatever pydicom raises for a broken one.
    """
    try:
        import pydicom
    except ImportError:
        raise InputError(f"{name}: DICOM needs an extra; run: pip install 'cratecli[science]'") from None
    if _DEFLATED.search(content):  # it would be inflated without a limit
        raise InputError(f"{name}: a deflated DICOM file is not read: convert it, as with dcmconv +te")
    data = pydicom.dcmread(io.BytesIO(content))
    if "Rows" not in data or not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & set(data.dir()):
        raise InputError(f"{name}: a DICOM file without a picture")
    width, height = int(data.Columns), int(data.Rows)
    each = int(data.SamplesPerPixel) * max(1, int(data.BitsAllocated) // 8)
    if width * height > max_pixels or width * height * each > most_bytes:
        too_many = f"more than {max_pixels:,} pixels; --max-pixels raises the limit"
        raise InputError(f"{name}: {width} × {height} px, {too_many}")
    kind = str(data.PhotometricInterpretation)
    if kind not in (*_GREY, *_COLOURED, _INDEXED):
        raise InputError(f"{name}: a DICOM picture of {kind} is not read: convert it to RGB or grey")
    pixels = _frame(data, name)
    several = (SEVERAL,) if int(data.get("NumberOfFrames") or 1) > 1 else ()
    if kind not in _GREY:
        bits = int(data.BitsStored)
        if kind == _INDEXED:
            pixels = pydicom.pixels.apply_color_lut(pixels, data)
            bits = int(data.RedPaletteColorLookupTableDescriptor[2])
        full = whole_range(min(bits, 8 * pixels.dtype.itemsize))
        return Numbers(pixels[..., :3], full=full, declared=full if bits < 16 else None, notes=several)
    return _grey(data, pixels, windowed=windowed, inverted=kind == "MONOCHROME1", notes=several)


def _frame(data: "Dataset", name: str) -> np.ndarray:
    from pydicom.pixels import pixel_array

    try:
        return pixel_array(data, index=0)
    except (NotImplementedError, RuntimeError):  # no plugin for its compression
        compression = data.file_meta.TransferSyntaxUID.name
        hint = "pip install 'pylibjpeg[all]' may read it"
        raise InputError(f"{name}: its picture ({compression}) cannot be decoded: {hint}") from None


def _grey(
    data: "Dataset", pixels: np.ndarray, *, windowed: bool, inverted: bool, notes: tuple[str, ...]
) -> Numbers:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    outside = pixels == data.PixelPaddingValue if "PixelPaddingValue" in data else None
    units = apply_modality_lut(pixels, data)
    full = _full(data, units) if pixels.dtype.kind in "ui" else None
    declared, clipping = _window(data), True
    if declared is None:
        clipping = False
        if windowed and (data.get("VOILUTSequence") or "WindowWidth" in data):
            units = apply_voi_lut(units, data)
            declared = (float(units.min()), float(units.max()))
        elif full and int(data.BitsStored) < 16:
            declared = full
    if outside is not None and outside.any():
        units = np.where(outside, np.nan, units).astype(np.float32)
    return Numbers(units, None, full, declared, clipping=clipping, inverted=inverted, notes=notes)


def _full(data: "Dataset", units: np.ndarray) -> Ends:
    """Give the ends of what the stored bits can hold, in the modality's units."""
    if "ModalityLUTSequence" in data:
        return float(units.min()), float(units.max())
    low, high = whole_range(int(data.BitsStored), signed=int(data.get("PixelRepresentation", 0)) == 1)
    slope, shift = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
    ends = sorted((low * slope + shift, high * slope + shift))
    return ends[0], ends[1]


def _window(data: "Dataset") -> Ends | None:
    """Give the ends of the first window, in the modality's units, if it is a straight line (PS3.3, C.11.2.1.2)."""
    centre, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    shape = str(data.get("VOILUTFunction") or "LINEAR")
    if centre is None or width is None or shape == "SIGMOID":
        return None
    if shape == "LINEAR_EXACT":
        return (centre - width / 2, centre + width / 2) if width > 0 else None
    return (centre - width / 2, centre - 1 + width / 2) if width > 1 else None


def _first(value: Any) -> float | None:
    try:
        return float(value if isinstance(value, int | float | str) else value[0])
    except (TypeError, ValueError, IndexError):
        return None
