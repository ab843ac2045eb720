"""Labels as an indexed PNG are the labels again, and VOC's colours are VOC's."""

import io

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError
from cratecli.io.formats.compare import classes_apart
from cratecli.io.formats.indexed import (
    GREY,
    TINT,
    decode_classes,
    decode_labels,
    encode_classes,
    encode_labels,
    paint,
    tint,
    voc_palette,
)
from cratecli.io.formats.record import Annotated, annotate, classes
from tests.support.annotations import CHECK, MET, PHOTOS

VOC = {
    0: (0, 0, 0),
    1: (128, 0, 0),  # aeroplane
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),  # person
    20: (0, 64, 128),  # tv monitor
    64: (32, 0, 0),
    255: (224, 224, 192),  # void
}
"""Colours as VOC's own files have them."""


@pytest.mark.parametrize(("label", "colour"), VOC.items())
def test_the_palette_is_vocs(label: int, colour: tuple[int, int, int]) -> None:
    assert tuple(voc_palette()[label].tolist()) == colour


def test_the_palette_is_the_bits_of_the_index() -> None:
    """Bits 0, 3, 6 of the index are red's from the highest down, bits 1, 4, 7 green's, bits 2, 5 blue's."""
    for index, colour in enumerate(voc_palette().tolist()):
        bits = f"{index:08b}"[::-1]
        channels = [bits[0::3], bits[1::3], bits[2::3]]
        assert colour == [int(channel.ljust(8, "0"), 2) for channel in channels]
    assert len(set(map(tuple, voc_palette().tolist()))) == 256


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (1, 300), (31, 3)])
def test_labels_are_the_same_again(shape: tuple[int, int]) -> None:
    labels = (np.arange(shape[0] * shape[1]) % 256).reshape(shape)
    with Image.open(io.BytesIO(encode_labels(labels))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "P", shape[::-1])
        np.testing.assert_array_equal(np.asarray(image), labels)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), voc_palette()[labels])
    np.testing.assert_array_equal(decode_labels(encode_labels(labels)), labels)


def test_classes_are_the_same_again() -> None:
    photos = [*PHOTOS, MET]
    names = classes(photos)
    for photo in photos:
        back = decode_classes(encode_classes(photo, names), photo.name, names)
        assert (back.name, back.height, back.width) == (photo.name, photo.height, photo.width)
        assert [(each.label, each.rle) for each in back.objects] == [
            (each.label, each.rle) for each in classes_apart(photo).objects
        ]


def test_an_index_is_its_class_and_the_earlier_object_keeps_the_pixel() -> None:
    two = Annotated("x", 4, 5, [annotate(CHECK, 1.0, "b"), annotate(np.ones((4, 5), bool), 1.0, "a")])
    labels = decode_labels(encode_classes(two, ["a", "b"]))
    np.testing.assert_array_equal(labels, np.where(CHECK, 2, 1))


def test_void_is_never_written() -> None:
    photo = Annotated("x.jpg", 4, 5, [annotate(CHECK, 1.0)])
    assert paint(photo, [254]).max() == 254
    for index in (255, 256, 1000):
        with pytest.raises(InputError, match=f"x.jpg: an indexed PNG holds 254 labels, not {index}"):
            paint(photo, [index])


def test_an_index_that_is_no_class() -> None:
    with pytest.raises(ValueError, match="index 3 is no class"):
        decode_classes(encode_labels(np.full((2, 2), 3)), "x", ["a", "b"])


def test_a_tinted_photo_by_hand() -> None:
    rgb = np.array([[[100, 200, 50], [100, 200, 50], [100, 200, 50]]], np.uint8)
    colours = np.array([[255, 255, 255], [200, 0, 0], [0, 0, 255]], np.uint8)
    shown = tint(rgb, np.array([[0, 1, 2]]), colours)
    grey = GREY * (0.299 * 100 + 0.587 * 200 + 0.114 * 50)
    assert (TINT, GREY) == (0.6, 0.5)
    np.testing.assert_allclose(shown[0, 0], [grey] * 3, atol=1)
    light = 0.4 * grey / GREY
    np.testing.assert_allclose(shown[0, 1], [120 + light, light, light], atol=1)
    np.testing.assert_allclose(shown[0, 2], [light, light, 153 + light], atol=1)
    assert shown.dtype == np.uint8


def test_a_tint_keeps_within_its_range_and_leaves_the_photo_alone() -> None:
    rgb = np.full((2, 3, 3), 255, np.uint8)
    labels = np.full((2, 3), 255)
    assert (tint(rgb, labels, np.full((256, 3), 255, np.uint8)) >= 254).all()
    assert (rgb == 255).all()
    assert (labels == 255).all()
