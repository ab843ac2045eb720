"""DICOM comes in by its extra: in its units, under its window, its first frame; without, it is a hint."""

import io
import sys
import zlib
from typing import Any

import numpy as np
import pytest

from cratecli.errors import InputError
from cratecli.io import images

pydicom = pytest.importorskip("pydicom")

UNITS = np.arange(-1000, 1000, 100).reshape(4, 5)
"""Hounsfield units of four rows."""


def dicom(stored: np.ndarray, syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> bytes:
    """Write a DICOM file of stored numbers, 16 bits or 8, grey or RGB."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    coloured = stored.shape[-1] == 3
    data.Rows, data.Columns = stored.shape[-3:-1] if coloured else stored.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if coloured else (1, "MONOCHROME2")
    if coloured:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * stored.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(stored.dtype.kind == "i")
    data.PixelData = stored.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data["PixelData"].VR = "OW"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def ct(**tags: Any) -> bytes:
    """Write a CT: stored from 0, with a shift to Hounsfield units."""
    return dicom((UNITS + 1024).astype(np.uint16), RescaleSlope=1, RescaleIntercept=-1024, **tags)


def levels(content: bytes, range: str = "auto") -> Any:
    return images.decode(content, "photo", range=range).rgb[..., 0].astype(int)


def test_the_window_of_the_file() -> None:
    expected = np.clip(np.round((UNITS - (40 - 200)) / 399 * 255), 0, 255)
    got = levels(ct(WindowCenter=[40, 500], WindowWidth=[400, 2000]))
    np.testing.assert_allclose(got, expected, atol=1)
    exact = levels(ct(WindowCenter=0, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT"))
    np.testing.assert_allclose(exact, np.round((UNITS + 1000) / 2000 * 255), atol=1)


def test_a_window_that_bends() -> None:
    got = levels(ct(WindowCenter=0, WindowWidth=500, VOILUTFunction="SIGMOID"))
    expected = 1 / (1 + np.exp(-4 * UNITS / 500))
    np.testing.assert_allclose(got, np.round(expected / expected.max() * 255), atol=2)


def test_white_is_small_in_monochrome_1() -> None:
    window = {"WindowCenter": 0, "WindowWidth": 2000}
    np.testing.assert_allclose(
        levels(ct(PhotometricInterpretation="MONOCHROME1", **window)), 255 - levels(ct(**window)), atol=1
    )


def test_a_range_is_in_the_units_of_the_modality() -> None:
    got = levels(ct(WindowCenter=40, WindowWidth=400), range="-100:300")
    np.testing.assert_allclose(got, np.clip(np.round((UNITS + 100) / 400 * 255), 0, 255), atol=1)


def test_without_a_window_the_stored_bits_count() -> None:
    dark = np.arange(0, 1000, 50).reshape(4, 5).astype(np.uint16)
    np.testing.assert_allclose(levels(dicom(dark, BitsStored=12, HighBit=11)), dark / 4095 * 255, atol=1)
    decoded = images.decode(dicom(dark), "photo")
    assert decoded.notes[0].startswith("photo: its largest number is 950: read as of 0 to 1023")
    eight = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert levels(dicom(eight)).tolist() == eight.tolist()


def test_what_lies_outside_the_picture_is_black() -> None:
    stored = np.array([[-2000, 0], [100, 50], [25, 75]], np.int16)
    got = levels(dicom(stored, PixelPaddingValue=-2000))
    assert got.tolist() == [[0, 0], [255, 127], [64, 191]]  # of 0 to 100, not of −2000 to 100


def test_colours_and_frames() -> None:
    colours = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    got = images.decode(dicom(np.stack([colours, 255 - colours]), NumberOfFrames=2), "photo")
    np.testing.assert_array_equal(got.rgb, colours)
    assert got.notes == ("photo: holds several pictures; the first is used",)


def test_the_stored_bits_of_colours_count() -> None:
    colours = np.arange(0, 240, 4, dtype=np.uint16).reshape(4, 5, 3)
    decoded = images.decode(dicom(colours * 16, BitsStored=12, HighBit=11), "photo")
    np.testing.assert_allclose(decoded.rgb, colours, atol=1)
    assert decoded.notes == ()
    noted = images.decode(dicom(colours * 16), "photo")  # 16 are said to be stored
    np.testing.assert_allclose(noted.rgb, colours, atol=1)
    assert "read as of 0 to 4095" in noted.notes[0]


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 1), (16, 257)])
def test_a_palette_of_8_bits_in_entries_of_16(bits: int, factor: int) -> None:
    tables = [np.arange(256), np.arange(256)[::-1], np.full(256, 200)]
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    tags: dict[str, Any] = {f"{name}Descriptor": [256, 0, bits] for name in names}
    for name, table in zip(names, tables, strict=True):
        tags[f"{name}Data"] = (table * factor).astype(np.uint16).tobytes()
    stored = np.arange(0, 240, 12, dtype=np.uint8).reshape(4, 5)
    got = images.decode(dicom(stored, PhotometricInterpretation="PALETTE COLOR", **tags), "photo")
    expected = np.dstack([stored, 255 - stored, np.full_like(stored, 200)])
    np.testing.assert_allclose(got.rgb.astype(int), expected, atol=1)


@pytest.mark.parametrize("percent", [50, 90])
def test_a_cut_file_is_refused(percent: int) -> None:
    content = ct()
    with pytest.raises(InputError, match=r"^photo: [^\n]*$"):
        images.decode(content[: len(content) * percent // 100], "photo")


def test_limits() -> None:
    with pytest.raises(InputError, match=r"^photo: 5 × 4 px, more than 19 pixels; --max-pixels raises"):
        images.decode(ct(), "photo", max_pixels=19)
    huge = dicom(UNITS.astype(np.int16), Rows=60_000, Columns=60_000)
    with pytest.raises(InputError, match="more than 89,478,485 pixels"):
        images.decode(huge, "photo")
    with pytest.raises(InputError, match="too long and thin"):
        images.decode(dicom(np.zeros((1, 40), np.uint16)), "photo")


def test_a_deflated_file_is_refused_before_it_is_inflated() -> None:
    content = dicom(UNITS.astype(np.int16), "1.2.840.10008.1.2.1.99")
    bomb = zlib.compressobj(wbits=-15)
    with pytest.raises(InputError, match="a deflated DICOM file is not read"):
        images.decode(content + bomb.compress(bytes(1000)) + bomb.flush(), "photo")


def test_what_holds_no_picture_or_an_unknown_one() -> None:
    content = dicom(UNITS.astype(np.int16))
    empty = content[: content.index(b"\xe0\x7f\x10\x00")]
    with pytest.raises(InputError, match="a DICOM file without a picture"):
        images.decode(empty, "photo")
    with pytest.raises(InputError, match="a DICOM picture of ODD is not read"):
        images.decode(dicom(UNITS.astype(np.int16), PhotometricInterpretation="ODD"), "photo")


def test_without_the_extra_it_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    hint = r"^photo: DICOM needs an extra; run: pip install 'cratecli\[science\]'$"
    with pytest.raises(InputError, match=hint):
        images.decode(ct(), "photo")
