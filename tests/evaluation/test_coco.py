"""MaskCut on painted photos, where what is cut is known to the pixel: average precision by hand."""

from pathlib import Path
from typing import Any

import pytest

from cratecli.errors import InputError, NothingMatchedError
from cratecli.evaluation import coco as task
from cratecli.evaluation.coco import OURS, PUBLISHED, evaluate_coco
from cratecli.geometry import Box
from cratecli.model.engine import WeightsId
from tests.support.painted import GREEN, RED, Painter, coco, paint

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LARGE, SMALL, UNSEEN = Box(8, 8, 32, 40), Box(40, 40, 56, 56), Box(58, 2, 62, 6)
PHOTO = paint((LARGE, RED), (SMALL, GREEN), width=64)
SQUARE: dict[str, Any] = {"layers": [1], "size": 64, "resamples": 0}


@pytest.fixture
def painter() -> Painter:
    """Make a model with one head that is drawn to red more than to green."""
    return Painter((4.0, 2.0, -2.0))


def test_four_of_five_objects_and_nothing_else(tmp_path: Path, painter: Painter) -> None:
    """Both shapes of both photos are cut, whole: 81 of COCO's 101 recalls, 0 to 0.8, have precision 1."""
    folder = coco(tmp_path, (PHOTO, [LARGE, SMALL]), (PHOTO, [LARGE, SMALL, UNSEEN]))
    result = evaluate_coco(folder, painter, **SQUARE | {"resamples": 20})
    assert [(row.name, row.layer) for row in result.rows] == [(PUBLISHED, 1), (OURS, 1)]
    for row in result.rows:
        assert [each.value for each in row.measures] == pytest.approx([81 / 101] * 6)
        assert all(0.6 < each.low < each.high <= 1 + 1e-9 for each in row.measures)
    names = [each.name for each in result.rows[0].measures]
    assert names == [f"{kind} {ap}" for kind in ("box", "mask") for ap in ("AP50", "AP75", "AP")]


def test_scores_of_one_follow_the_cuts_and_ours_do_not(tmp_path: Path, painter: Painter) -> None:
    """Of two cuts in each photo the first is an object: right, wrong, right, wrong, where photos follow each other.

    By our scores, which are higher for what is larger and redder, both right ones come first.
    """
    folder = coco(tmp_path, (PHOTO, [LARGE]), (PHOTO, [LARGE]))
    result = evaluate_coco(folder, painter, **SQUARE)
    assert result[PUBLISHED]["mask AP"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert result[OURS]["mask AP"] == pytest.approx(1)


def test_an_object_that_is_found_in_part(tmp_path: Path, painter: Painter) -> None:
    """Of a truth half as large again the mask has IoU 24 · 32 / (24 · 48) = 2/3: four thresholds of ten."""
    photo = paint((LARGE, RED), width=64)
    result = evaluate_coco(coco(tmp_path, (photo, [Box(8, 8, 32, 56)])), painter, **SQUARE, count=1)
    assert result[PUBLISHED]["mask AP50"] == pytest.approx(1)
    assert result[PUBLISHED]["mask AP75"] == 0
    assert result[PUBLISHED]["mask AP"] == result[PUBLISHED]["box AP"] == pytest.approx(0.4)


def test_layers_are_cut_each_on_its_own(tmp_path: Path, painter: Painter) -> None:
    folder = coco(tmp_path, (PHOTO, [LARGE, SMALL]))
    result = evaluate_coco(folder, painter, **SQUARE | {"layers": [2, 0]})
    assert [row.layer for row in result.rows] == [2, 2, 0, 0]
    assert all(row["mask AP"] == pytest.approx(1) for row in result.rows)


def test_known_scores_are_not_computed_again(tmp_path: Path, painter: Painter) -> None:
    folder = coco(tmp_path / "set", (PHOTO, [LARGE]), (PHOTO, [SMALL]))
    kept: dict[str, Any] = {**SQUARE, "scores": tmp_path / "kept"}
    first = evaluate_coco(folder, painter, **kept).as_record()
    shown = painter.shown
    assert evaluate_coco(folder, painter, **kept, resume=True).as_record() == first
    assert painter.shown == shown


def test_the_papers_numbers_stand_beside_what_they_are_of(
    tmp_path: Path, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = coco(tmp_path, (PHOTO, [LARGE]))
    painter.weights = WeightsId("crate-base-demo-b8", "0")
    monkeypatch.setattr(task, "COCO_PHOTOS", 1)

    def papers(**asked: float) -> list[list[float | None]]:
        result = evaluate_coco(folder, painter, resamples=0, **asked)  # type: ignore[arg-type]
        return [[each.paper for each in row.measures] for row in result.rows]

    assert papers() == [[None] * 6] * 2
    (folder / "annotations").mkdir()
    (folder / "instances.json").rename(folder / "annotations/instances_val2017.json")
    (folder / "images").rename(folder / "val2017")
    published, ours = papers()
    assert published == pytest.approx([0.029, 0.010, 0.013, 0.022, 0.007, 0.010])
    assert ours == [None] * 6
    assert papers(tau=0.2) == [[None] * 6] * 2
    monkeypatch.setattr(task, "COCO_PHOTOS", 5000)
    assert papers() == [[None] * 6] * 2


def test_what_is_wrong_is_raised(tmp_path: Path, painter: Painter) -> None:
    with pytest.raises(NothingMatchedError, match="no object is annotated"):
        evaluate_coco(coco(tmp_path / "none", (PHOTO, [])), painter)
    folder = coco(tmp_path / "set", (PHOTO, [LARGE]))
    text = (folder / "instances.json").read_text()
    (folder / "instances.json").write_text(text.replace('"height": 64', '"height": 65'))
    with pytest.raises(InputError, match=r"001\.png: 64 × 64 px, but 64 × 65 px in .*instances\.json"):
        evaluate_coco(folder, painter)
