"""Arrays load as NumPy's users load them, without pickle, and are the same photo again."""

import io
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from cratecli.io.formats.npz import decode, encode
from cratecli.io.formats.record import Annotated
from tests.support.annotations import MET, PHOTOS


@pytest.mark.parametrize("photo", [*PHOTOS, MET], ids=lambda photo: photo.name)
def test_a_photo_is_the_same_again(photo: Annotated) -> None:
    assert decode(encode(photo), photo.name) == photo


@pytest.mark.parametrize("photo", [*PHOTOS, MET], ids=lambda photo: photo.name)
def test_numpy_reads_the_arrays(photo: Annotated) -> None:
    with np.load(io.BytesIO(encode(photo)), allow_pickle=False) as arrays:
        assert set(arrays) == {"masks", "boxes", "scores", "labels"}
        count = len(photo.objects)
        assert (arrays["masks"].shape, arrays["masks"].dtype) == ((count, photo.height, photo.width), bool)
        assert arrays["boxes"].shape == (count, 4)
        for n, each in enumerate(photo.objects):
            np.testing.assert_array_equal(arrays["masks"][n], each.mask)
            assert tuple(arrays["boxes"][n].tolist()) == each.box
            assert (arrays["scores"][n], arrays["labels"][n]) == (each.score, each.label)


def test_the_same_photo_is_the_same_bytes() -> None:
    assert encode(MET) == encode(MET)


def saved(**change: Any) -> bytes:
    arrays = {"masks": np.ones((1, 4, 5), bool), "scores": np.ones(1), "labels": np.array(["a"])}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **{**arrays, **change})
    return stream.getvalue()


REFUSED = {
    "empty": b"",
    "no zip": b"no zip",
    "cut short": encode(MET)[:-200],
    "flat masks": saved(masks=np.ones((4, 5), bool)),
    "masks by columns": saved(masks=np.asfortranarray(np.ones((2, 4, 5), bool))),
    "masks of numbers": saved(masks=np.ones((1, 4, 5))),
    "pickled masks": saved(masks=np.array([[[None]]])),
    "pickled labels": saved(labels=np.array([None])),
    "another count": saved(scores=np.ones(2)),
    "no scores": saved(scores=np.array(["high"])),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(content: bytes) -> None:
    assert len(decode(saved(), "x").objects) == 1
    with pytest.raises(ValueError, match=r"."):
        decode(content, "x")


def test_a_size_beyond_all_is_refused_before_anything_is_made() -> None:
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive, archive.open("masks.npy", "w") as member:
        head = {"descr": "|b1", "fortran_order": False, "shape": (1, 99_999, 99_999)}
        np.lib.format.write_array_header_1_0(member, head)
    with pytest.raises(ValueError, match="px are more than"):
        decode(stream.getvalue(), "x")


def test_more_objects_than_anyone_has() -> None:
    with pytest.raises(ValueError, match="masks of another shape"):
        decode(saved(masks=np.ones((10_001, 1, 1), bool)), "x")
