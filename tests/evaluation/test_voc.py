"""Coarse segmentation of painted photos: which patches a head keeps, and so every IoU, is known."""

from pathlib import Path

import numpy as np
import pytest

from cratecli.errors import InputError, UsageError
from cratecli.evaluation import voc as task
from cratecli.evaluation.voc import AGREE, BEST_MASS, BEST_TOP, evaluate_voc
from cratecli.geometry import Box
from cratecli.model.engine import WeightsId
from tests.support.painted import Painter, devkit, labelled, save

SIDE = 40  # px, 5 × 5 patches: 60 % are 15, three rows
FALLING = np.zeros((5, 5, 3), np.uint8)
FALLING[..., 0] = 250 - 10 * np.arange(25).reshape(5, 5)
PHOTO = np.kron(FALLING, np.ones((8, 8, 1), np.uint8))
FIRST_ROWS, THIRD_ROW, LAST_ROW = Box(0, 0, 16, 40), Box(16, 0, 24, 40), Box(32, 0, 40, 40)
PLAIN = labelled((FIRST_ROWS, 1), (LAST_ROW, 7), height=SIDE, width=SIDE)
VOID = labelled((FIRST_ROWS, 1), (THIRD_ROW, 255), height=SIDE, width=SIDE)


@pytest.fixture
def painter() -> Painter:
    """Make a model of two heads, drawn to red and driven away, so sharply that one patch gets most of the mass."""
    return Painter((100.0, 0.0, 0.0), (-100.0, 0.0, 0.0))


def test_the_best_head_of_every_class(tmp_path: Path, painter: Painter) -> None:
    """The first head keeps three rows, of which class 1 has two; the second keeps the last three, class 7 has one.

    Of the mass it is a patch: of ten for class 1, of five for class 7. In the second photo the third row is void.
    """
    folder = devkit(tmp_path, (PHOTO, PLAIN), (PHOTO, VOID))
    result = evaluate_voc(folder, painter, size=SIDE)
    assert (result.photos, [row.layer for row in result.rows]) == (2, [2, 2, 2])
    assert result[BEST_TOP]["mIoU"] == pytest.approx(((2 / 3 + 1 / 3) / 2 + 1) / 2, abs=1e-6)
    assert result[BEST_MASS]["mIoU"] == pytest.approx(((1 / 10 + 1 / 5) / 2 + 1 / 10) / 2, abs=1e-6)
    assert "40 × 40 px" in result.recipe
    assert "40 × 40 px" in evaluate_voc(folder, painter, size=43).recipe
    assert any("nearest" in note for note in result.notes)


def test_agreement_needs_no_truth(tmp_path: Path) -> None:
    """Two heads that agree on the upper six rows of ten: 60 % of the patches, whatever was chosen by truth."""
    rows = np.zeros((10, 10, 3), np.uint8)
    rows[:6, :, 0], rows[6:, :, 2] = 255, 255
    photo = np.kron(rows, np.ones((8, 8, 1), np.uint8))
    labels = labelled((Box(0, 0, 48, 80), 3), height=80, width=80)
    painter = Painter((2.0, 0.0, -2.0), (3.0, 0.0, -1.0))
    result = evaluate_voc(devkit(tmp_path, (photo, labels)), painter, size=80)
    assert result[AGREE]["mIoU"] == result[BEST_TOP]["mIoU"] == 1
    other = evaluate_voc(
        devkit(tmp_path / "other", (photo, labelled((Box(48, 0, 80, 80), 3), height=80, width=80))),
        painter,
        size=80,
    )
    assert other[AGREE]["mIoU"] == 0


def test_layers_are_judged_each_on_its_own(tmp_path: Path, painter: Painter) -> None:
    folder = devkit(tmp_path, (PHOTO, PLAIN))
    result = evaluate_voc(folder, painter, layers=[-1, 0], size=SIDE)
    assert [row.layer for row in result.rows] == [2, 2, 2, 0, 0, 0]
    assert len({row["mIoU"] for row in result.rows if row.name == BEST_TOP}) == 1


def test_maps_reach_a_photo_that_is_no_square(tmp_path: Path, painter: Painter) -> None:
    """The photo is squeezed to 5 × 5 patches, and masks spread over its own size."""
    wide = np.kron(FALLING, np.ones((8, 24, 1), np.uint8))
    labels = labelled((Box(0, 0, 24, 120), 5), height=40, width=120)
    result = evaluate_voc(devkit(tmp_path, (wide, labels)), painter, size=SIDE)
    assert result[BEST_TOP]["mIoU"] == 1


def test_the_papers_number_stands_beside_what_it_is_of(
    tmp_path: Path, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for the model of that name, on as many photos, at the default size, in its row and layer."""
    folder = devkit(tmp_path, (PHOTO, PLAIN), (PHOTO, VOID))
    monkeypatch.setattr(task, "VOC_PHOTOS", 2)

    def papers(**asked: int | list[int]) -> list[float | None]:
        return [row.measures[0].paper for row in evaluate_voc(folder, painter, resamples=0, **asked).rows]  # type: ignore[arg-type]

    assert papers() == [None] * 3
    painter.weights = WeightsId("vit-small-patch8-dino", "0")
    assert papers() == [0.27, None, None]
    assert papers(layers=[0, 2]) == [None] * 3 + [0.27, None, None]
    assert papers(size=SIDE) == [None] * 3
    monkeypatch.setattr(task, "VOC_PHOTOS", 1449)
    assert papers() == [None] * 3


def test_what_is_wrong_is_raised(tmp_path: Path, painter: Painter) -> None:
    folder = devkit(tmp_path, (PHOTO, PLAIN), (PHOTO, VOID))
    with pytest.raises(UsageError, match="layer 3 of a model with 3 layers"):
        evaluate_voc(folder, painter, layers=[3])
    truth = folder / "VOC2012/SegmentationClass/2007_000001.png"
    save(truth, np.zeros((SIDE, SIDE), np.uint8))
    with pytest.raises(InputError, match=r"2007_000001\.png: shows no class"):
        evaluate_voc(folder, painter)
    save(truth, np.zeros((SIDE, 8), np.uint8))
    with pytest.raises(InputError, match="40 × 40 px, but 8 × 40 px"):
        evaluate_voc(folder, painter)
