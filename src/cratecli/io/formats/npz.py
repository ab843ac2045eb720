"""Write and read a photo's objects as NumPy arrays in an `.npz` file, which loads without pickle."""

import io
import zlib
from typing import Any, cast
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from cratecli.arrays import Mask
from cratecli.io.formats.record import Annotated, annotate, check_size

_LARGEST = 1 << 24  # bytes of the unpacked scores or labels
MOST_OBJECTS = 10_000


def encode(photo: Annotated) -> bytes:
    """Write a photo's objects as the arrays `masks`, `boxes`, `scores` and `labels`.

    `masks` has shape (n, height, width), bool; `boxes` (n, 4): left, top, width, height in px; the others (n,). Masks
    are decoded and written one at a time, so that memory holds only one.
    """
    count = len(photo.objects)
    boxes = np.array([each.box for each in photo.objects], np.int64).reshape(count, 4)
    scores = np.array([each.score for each in photo.objects], np.float64)
    labels = np.array([each.label for each in photo.objects], np.str_)
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        with archive.open(member("masks"), "w", force_zip64=True) as file:
            shape = (count, photo.height, photo.width)
            head = {"descr": "|b1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, cast(Any, head))
            for each in photo.objects:
                file.write(each.mask.tobytes())
        for name, array in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            with archive.open(member(name), "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return stream.getvalue()


def member(name: str) -> ZipInfo:
    """Name an array's file in the archive: compressed, and dated 1980, so that equal arrays give equal bytes."""
    info = ZipInfo(f"{name}.npy")
    info.compress_type = ZIP_DEFLATED
    return info


def decode(content: bytes, name: str) -> Annotated:
    """Read a photo's objects from its arrays, mask by mask. Raises `ValueError` for anything else."""
    try:
        with ZipFile(io.BytesIO(content)) as archive, archive.open("masks.npy") as member:
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError("masks of another version")
            shape, by_columns, kind = np.lib.format.read_array_header_1_0(member)
            if len(shape) != 3 or by_columns or kind != np.bool_ or not 0 <= shape[0] <= MOST_OBJECTS:
                raise ValueError("masks of another shape or type")
            height, width = check_size(*shape[1:])
            scores, labels = (_beside(archive, each, shape[0]) for each in ("scores", "labels"))
            objects = [
                annotate(_mask(member.read(height * width), height, width), float(score), str(label))
                for score, label in zip(scores, labels, strict=True)
            ]
            return Annotated(name, height, width, objects)
    except (BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError, OSError, zlib.error) as error:
        raise ValueError(f"not arrays of masks: {error}") from None


def _mask(content: bytes, height: int, width: int) -> Mask:
    return np.asarray(np.frombuffer(content, np.uint8).reshape(height, width) != 0)


def _beside(archive: ZipFile, name: str, count: int) -> np.ndarray:
    """Read the one-dimensional array `name` of `count` values."""
    if archive.getinfo(f"{name}.npy").file_size > _LARGEST:
        raise ValueError(f"{name} are too large")
    with archive.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, kind = np.lib.format.read_array_header_1_0(member)
        content = member.read()
    if shape != (count,) or kind.hasobject or len(content) != count * kind.itemsize:
        raise ValueError(f"{name} do not fit the masks")
    return np.frombuffer(content, kind)
