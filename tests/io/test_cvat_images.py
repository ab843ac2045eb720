"""CVAT's XML is read again as it was; its reader takes no document type, and nothing beyond a photo."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from cratecli.io.formats.cvat_images import read, runs_of, write
from cratecli.io.formats.record import Annotated, classes
from tests.support.annotations import CHECK, MET, PHOTOS


def written(photos: list[Annotated]) -> bytes:
    stream = io.BytesIO()
    write(photos, stream)
    return stream.getvalue()


def without_scores(photo: Annotated) -> Annotated:
    return replace(photo, objects=[replace(each, score=1.0) for each in photo.objects])


@pytest.mark.parametrize("photos", [PHOTOS, [MET], []], ids=["many", "met", "none"])
def test_photos_are_the_same_again_but_for_their_scores(photos: list[Annotated]) -> None:
    assert list(read(io.BytesIO(written(photos)))) == [without_scores(photo) for photo in photos]


def test_the_check_vector() -> None:
    root = ElementTree.fromstring(written([PHOTOS[-1]]))
    mask = root.find("image/mask")
    assert mask is not None
    assert mask.get("rle") == "1, 6, 1, 4"
    assert [mask.get(side) for side in ("left", "top", "width", "height")] == ["1", "0", "3", "4"]
    assert (mask.get("label"), mask.get("occluded"), mask.get("z_order")) == ("object", "0", "0")
    assert runs_of(CHECK[:, 1:4]) == [1, 6, 1, 4]


def test_runs_begin_with_what_is_not_in_the_mask() -> None:
    assert runs_of(np.ones((2, 3), bool)) == [0, 6]
    assert runs_of(np.array([[True, False]])) == [0, 1, 1]
    assert runs_of(np.zeros((2, 3), bool)) == [6]


def test_the_xml_by_hand() -> None:
    root = ElementTree.fromstring(written(PHOTOS))
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == classes(PHOTOS)
    assert root.findtext("meta/task/labels/label/color") == "#800000"
    images = [(each.get("id"), each.get("name"), each.get("width")) for each in root.iterfind("image")]
    assert images[:2] == [("0", "a.jpg", "80"), ("1", "nothing.png", "20")]
    assert images[3] == ("3", "sub/ä & <b>.png", "300")


GOOD = written([PHOTOS[-1]]).decode()
LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotations>&c;</annotations>'
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>'
BROKEN = {
    "nothing": "",
    "no XML": "no XML",
    "cut short": GOOD[:-30],
    "entities": LAUGHS,
    "a document type": OUTSIDE,
    "an unknown entity": GOOD.replace("check.png", "&nobody;"),
    "no size": GOOD.replace('height="4"', 'tall="4"'),
    "a size that is none": GOOD.replace('width="5"', 'width="five"'),
    "a size beyond all": GOOD.replace('width="5"', 'width="50000000000"'),
    "no runs": GOOD.replace('rle="1, 6, 1, 4"', ""),
    "too few runs": GOOD.replace("1, 6, 1, 4", "1, 6, 1"),
    "too many runs": GOOD.replace("1, 6, 1, 4", "1, 6, 1, 4, 1"),
    "negative runs": GOOD.replace("1, 6, 1, 4", "-1, 8, 1, 4"),
    "endless runs": GOOD.replace("1, 6, 1, 4", "1, 99999999999999999999999999"),
    "beyond the photo": GOOD.replace('left="1"', 'left="3"'),
    "before the photo": GOOD.replace('left="1"', 'left="-1"'),
    "no width": GOOD.replace('width="3"', 'width="0"'),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_refused(content: str) -> None:
    assert content != GOOD
    with pytest.raises(ValueError, match=r"."):
        list(read(io.BytesIO(content.encode())))


def test_no_other_file_is_read() -> None:
    with pytest.raises(ValueError, match="document type is not read"):
        list(read(io.BytesIO(OUTSIDE.encode())))


def test_an_encoding_that_nobody_knows_is_not_looked_up() -> None:
    renamed = GOOD.replace('encoding="utf-8"', 'encoding="utf-1"')
    assert renamed != GOOD
    assert list(read(io.BytesIO(renamed.encode()))) == [without_scores(PHOTOS[-1])]
