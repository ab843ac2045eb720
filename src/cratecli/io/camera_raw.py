"""Camera raw files, told by their content: what a reader of TIFFs would show of them is a thumbnail."""

from cratecli.errors import InputError
from cratecli.io.tiff_tags import DNG_VERSION, PHOTOMETRIC, Tags

_STARTS = {
    b"FUJIFILMCCD-RAW": "RAF",
    b"IIU\0": "RW2",
    b"IIRO": "ORF",
    b"IIRS": "ORF",
    b"MMOR": "ORF",
    b"\0MRM": "MRW",
    b"FOVb": "X3F",
    b"II\x1a\0\0\0HEAPCCDR": "CRW",
}
_SENSOR = {32803, 34892}  # PhotometricInterpretation: a colour filter array, linear raw


def refuse_raw(content: bytes, tags: Tags | None, name: str) -> None:
    """Raise `InputError`, with a hint, for a camera raw file."""
    kind = next((kind for start, kind in _STARTS.items() if content.startswith(start)), None)
    if content[4:8] == b"ftyp" and content[8:12] == b"crx ":
        kind = "CR3"
    elif tags is not None and content[8:10] == b"CR":
        kind = "CR2"
    elif tags is not None and any(DNG_VERSION in directory for directory in tags.all):
        kind = "DNG"
    elif tags is not None and any(
        _SENSOR & {*directory[PHOTOMETRIC].values} for directory in tags.all if PHOTOMETRIC in directory
    ):
        kind = "as NEF, ARW or PEF"
    if kind is not None:
        hint = "develop it first, to a JPEG or a TIFF, with darktable, RawTherapee or rawpy"
        raise InputError(f"{name}: camera raw ({kind}): {hint}")
