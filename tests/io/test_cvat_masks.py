"""CVAT's zip of masks is read again as it was, has a line for every index, and the same bytes each time."""

import io
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io.formats.compare import apart
from cratecli.io.formats.cvat_masks import read, write
from cratecli.io.formats.indexed import encode_labels, voc_palette
from cratecli.io.formats.names import stems
from cratecli.io.formats.record import Annotated, annotate, classes
from tests.support.annotations import CHECK, MET, PHOTOS


def written(photos: list[Annotated]) -> bytes:
    stream = io.BytesIO()
    write(photos, stream)
    return stream.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezipped(files: dict[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    stream.seek(0)
    return stream


def as_held(photos: list[Annotated]) -> list[Annotated]:
    files = stems([photo.name for photo in photos])
    return [
        replace(photo, name=file, objects=[replace(each, score=1.0) for each in apart(photo).objects])
        for photo, file in zip(photos, files, strict=True)
    ]


@pytest.mark.parametrize("photos", [PHOTOS, [MET], []], ids=["many", "met", "none"])
def test_photos_are_the_same_again_but_for_scores_and_shared_pixels(photos: list[Annotated]) -> None:
    assert list(read(io.BytesIO(written(photos)))) == as_held(photos)


def test_the_folders() -> None:
    two = [replace(PHOTOS[-1], name="check.jpg"), PHOTOS[-1], replace(PHOTOS[0], name="sub/check.jpg")]
    files = unzipped(written(two))
    expected = ["check.jpg", "check.png", "sub/check"]
    assert files["ImageSets/Segmentation/default.txt"].decode().splitlines() == expected
    pictures = [
        f"{kind}/{name}.png" for name in expected for kind in ("SegmentationClass", "SegmentationObject")
    ]
    assert list(files) == [*pictures, "ImageSets/Segmentation/default.txt", "labelmap.txt"]


def test_the_labelmap_has_a_line_for_every_index_used() -> None:
    files = unzipped(written(PHOTOS))
    head, *lines = files["labelmap.txt"].decode().splitlines()
    assert head.startswith("# label:")
    assert lines[:3] == ["background:0,0,0::", '"ö":128,0,0::', "a%3A 100 % #1:0,128,0::"]
    colours = {tuple(map(int, line.split(":")[1].split(","))) for line in lines}
    for name, content in files.items():
        if name.startswith("SegmentationClass/"):
            rgb = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            assert set(map(tuple, rgb.reshape(-1, 3).tolist())) <= colours


@pytest.mark.parametrize("label", ["100%", "C#", "#1", "a:b", "%41", "%3A", "%:41", "%2:", ":#%"])
def test_labels_come_back(label: str) -> None:
    photo = Annotated("x", 4, 5, [annotate(CHECK, 1.0, label)])
    content = written([photo])
    assert list(read(io.BytesIO(content))) == [photo]
    line = unzipped(content)["labelmap.txt"].decode().splitlines()[2]
    assert (line.count(":"), line[0] == "#") == (3, False)


def test_no_class_is_called_as_what_is_none() -> None:
    with pytest.raises(InputError, match="background is CVAT's own: call the class otherwise"):
        written([Annotated("x", 4, 5, [annotate(CHECK, 1.0, "background")])])


def test_pictures_have_the_class_and_the_object_of_each_pixel() -> None:
    photo = Annotated("x.png", 4, 5, [annotate(CHECK, 1.0, "b"), annotate(~CHECK, 1.0, "b")])
    files = unzipped(written([photo, replace(PHOTOS[-1], objects=[annotate(CHECK, 1.0, "a")])]))
    kinds = Image.open(io.BytesIO(files["SegmentationClass/x.png"]))
    numbers = Image.open(io.BytesIO(files["SegmentationObject/x.png"]))
    np.testing.assert_array_equal(np.asarray(kinds), np.full((4, 5), 2))
    np.testing.assert_array_equal(np.asarray(numbers), np.where(CHECK, 1, 2))
    palette = numbers.getpalette()
    assert palette is not None
    assert palette[:9] == voc_palette()[:3].ravel().tolist()


def test_the_same_photos_are_the_same_bytes() -> None:
    content = written(PHOTOS)
    assert content == written(PHOTOS)
    with ZipFile(io.BytesIO(content)) as archive:
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {each.external_attr >> 16 for each in archive.infolist()} == {0o644}


def test_more_than_a_byte_counts() -> None:
    pixel = np.zeros((1, 300), bool)
    many = [annotate(np.roll(pixel | (np.arange(300) == 0), n), 1.0) for n in range(255)]
    with pytest.raises(InputError, match=r"x\.png: an indexed PNG holds 254 labels, not 255"):
        written([Annotated("x.png", 1, 300, many)])
    classes_ = [replace(each, label=f"part {n}") for n, each in enumerate(many)]
    assert len(classes([Annotated("x.png", 1, 300, classes_)])) == 255
    with pytest.raises(InputError, match="255 classes are more than an indexed PNG holds"):
        written([Annotated("x.png", 1, 300, classes_)])
    most = [Annotated("x", 1, 300, classes_[:254])]
    assert [each.label for each in next(iter(read(io.BytesIO(written(most))))).objects] == [
        each.label for each in classes_[:254]
    ]


GOOD = unzipped(written([PHOTOS[-1]]))
CHANGES: dict[str, dict[str, bytes]] = {
    "no class picture": {"SegmentationClass/check.png": b""},
    "another size": {"SegmentationObject/check.png": encode_labels(np.ones((5, 4), int))},
    "an index that is no class": {"SegmentationClass/check.png": encode_labels(np.full((4, 5), 9))},
    "a colour that is none": {"labelmap.txt": b"object:1,2,3::\n"},
    "no labelmap": {"labelmap.txt": b"object\n"},
    "a photo that is not there": {"ImageSets/Segmentation/default.txt": b"../../etc/passwd\n"},
    "no text": {"ImageSets/Segmentation/default.txt": b"\xff\xfe\n"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_zips_that_do_not_fit(change: dict[str, bytes]) -> None:
    assert list(read(rezipped(GOOD))) == as_held([PHOTOS[-1]])
    with pytest.raises(ValueError, match=r"."):
        list(read(rezipped(GOOD | change)))


@pytest.mark.parametrize("content", [b"", b"no zip", written(PHOTOS)[:500]])
def test_what_is_no_zip(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a zip of masks"):
        list(read(io.BytesIO(content)))
