"""Write named arrays as `.npz` or safetensors, with provenance inside, and read that again; neither needs pickle."""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from zipfile import BadZipFile, ZipFile

import numpy as np

from cratecli.io.formats import ArrayEnding
from cratecli.io.formats.npz import member

Arrays = Mapping[str, np.ndarray]
"""Arrays by name."""

TEXT = "crate"  # the array, or the metadata, that holds provenance
MOST_TEXT = 1 << 24  # bytes of it
_NOT_THIS = (BadZipFile, KeyError, TypeError, SyntaxError, struct.error, zlib.error)


def encode(arrays: Arrays, ending: ArrayEnding, text: str | None) -> bytes:
    """Encode arrays, with `text` (JSON) embedded as provenance: see `embedded_text`. Equal arrays give equal bytes."""
    if ending == "safetensors":
        from safetensors.numpy import save

        about = None if text is None else {TEXT: text}
        return bytes(save({name: np.ascontiguousarray(each) for name, each in arrays.items()}, about))
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        texts = {} if text is None else {TEXT: np.array(text)}
        for name, array in {**arrays, **texts}.items():
            with archive.open(member(name), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    return stream.getvalue()


def is_tensors(start: bytes) -> bool:
    """Tell by a file's first bytes whether it may be of named arrays."""
    return start.startswith(b"PK\x03\x04") or (start[5:9] == b"\0\0\0{")


def embedded_text(content: bytes) -> str | None:
    """Read the provenance embedded in arrays; `None` if there is none. Raises `ValueError` for other files."""
    if not content.startswith(b"PK"):
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        about = header.get("__metadata__") if isinstance(header, dict) else None
        text = about.get(TEXT) if isinstance(about, dict) else None
        return text if isinstance(text, str) else None
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            if f"{TEXT}.npy" not in archive.namelist():
                return None
            if archive.getinfo(f"{TEXT}.npy").file_size > MOST_TEXT:
                raise ValueError("text beyond all measure")
            with archive.open(f"{TEXT}.npy") as file:
                np.lib.format.read_magic(file)
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
                text = file.read()
    except (*_NOT_THIS, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not arrays: {error}") from None
    if shape != () or kind.kind != "U" or len(text) != kind.itemsize:
        return None
    return str(np.frombuffer(text, kind)[0])
