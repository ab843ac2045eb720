"""Parts of painted photos, three stripes that differ in colour: every number by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cratecli.errors import InputError
from cratecli.evaluation.parts import evaluate_parts
from cratecli.geometry import Box
from tests.support.painted import GREEN, RED, Painter, labelled, paint, pairs, save

LEFT, RIGHT = Box(0, 64, 64, 128), Box(0, 128, 64, 192)
PHOTO = paint((LEFT, RED), (RIGHT, GREEN), width=192)
APART = labelled((LEFT, 1), (RIGHT, 2), width=192)
ONE = labelled((LEFT, 1), (RIGHT, 1), width=192)
THREE: dict[str, Any] = {"k": 3, "sizes": [64], "foreground": "none", "resamples": 0}


@pytest.fixture
def painter() -> Painter:
    """Make a model with one head."""
    return Painter((2.0, 2.0, -2.0))


def numbers(folder: Path, painter: Painter, **asked: Any) -> dict[str, float]:
    (row,) = evaluate_parts(folder, painter, **THREE, **asked).rows
    return {each.name: each.value for each in row.measures}


def test_stripes_that_are_found(tmp_path: Path, painter: Painter) -> None:
    result = numbers(pairs(tmp_path, "masks_part", (PHOTO, APART), (PHOTO, APART)), painter)
    assert result == pytest.approx(
        {"NMI": 1, "ARI": 1, "NMI, object": 1, "ARI, object": 1, "part IoU": 1}, abs=1e-9
    )


def test_a_truth_that_puts_two_stripes_together(tmp_path: Path, painter: Painter) -> None:
    """In stripes, clusters by true labels are 2 0 0 / 0 2 0 / 0 1 1.

    Parts: 2 of 3 for the red, 1 of 2 for the green. Pairs within the object: 4 stripes, of which the clusters are 2
    and 2 and the truth 3 and 1; many pixels a stripe, so a pair is a product of shares.
    """
    result = numbers(pairs(tmp_path, "masks_part", (PHOTO, APART), (PHOTO, ONE)), painter)
    assert result["part IoU"] == pytest.approx((2 / 3 + 1 / 2) / 2)

    def entropy(*shares: float) -> float:
        return float(-sum(share * np.log(share) for share in shares))

    clusters, truth, both = entropy(1 / 2, 1 / 2), entropy(3 / 4, 1 / 4), entropy(1 / 2, 1 / 4, 1 / 4)
    assert result["NMI, object"] == pytest.approx(2 * (clusters + truth - both) / (clusters + truth))
    together, expected = (1 / 4 + 1 / 16 + 1 / 16), (1 / 2) * (10 / 16)
    assert result["ARI, object"] == pytest.approx(
        (together - expected) / ((1 / 2 + 10 / 16) / 2 - expected), abs=1e-3
    )


def test_labels_that_are_doubtful_are_told(tmp_path: Path, painter: Painter) -> None:
    nothing, all_void, some_void = np.zeros_like(APART), np.full_like(APART, 255), APART.copy()
    some_void[:4] = 255
    maps = [nothing, all_void, some_void, APART, ONE]
    folder = pairs(tmp_path, "masks_part", *((PHOTO, each) for each in maps))
    notes = evaluate_parts(folder, painter, **THREE).notes
    assert [each for each in notes if "label maps" in each] == [
        "1 of 5 label maps label no part: all is background: a",
        "1 of 5 label maps have one label all over: b",
        "2 of 5 label maps have pixels of label 255, void in VOC, which counts as a part: b, c",
    ]


def test_known_scores_hold_for_the_same_photos_only(tmp_path: Path, painter: Painter) -> None:
    folder = pairs(tmp_path / "set", "masks_part", (PHOTO, APART), (PHOTO[::-1].copy(), APART))
    kept: dict[str, Any] = {"scores": tmp_path / "kept", "resume": True}
    first = numbers(folder, painter, **kept)
    shown = painter.shown
    assert shown
    assert numbers(folder, painter, **kept) == first
    assert painter.shown == shown
    assert not list((tmp_path / "kept").glob("*.features"))
    save(folder / "images/c.png", PHOTO)
    save(folder / "masks_part/c.png", ONE)
    assert numbers(folder, painter, **kept) != first
    assert painter.shown > shown


def test_a_resumed_run_does_not_ask_the_model_again(tmp_path: Path, painter: Painter) -> None:
    folder = pairs(tmp_path / "set", "masks_part", (PHOTO, APART), (PHOTO, np.zeros((8, 8), np.uint8)))
    kept: dict[str, Any] = {"scores": tmp_path / "kept", "resume": True}
    with pytest.raises(InputError, match=r"b\.png: 192 × 64 px, but 8 × 8 px"):
        numbers(folder, painter, **kept, batch_size=1)
    shown = painter.shown
    assert shown == 1
    save(folder / "masks_part/b.png", APART)
    numbers(folder, painter, **kept)
    assert painter.shown == shown  # the second photo is like the first


def test_what_is_wrong_is_raised(tmp_path: Path, painter: Painter) -> None:
    folder = pairs(tmp_path, "masks_part", (PHOTO, APART))
    save(folder / "masks_part/a.png", np.stack([APART] * 3, axis=-1))
    with pytest.raises(InputError, match="labels are indexed or grey, not RGB"):
        evaluate_parts(folder, painter, **THREE)
