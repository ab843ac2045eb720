"""Masks against painted truth: every number computed by hand."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cratecli
from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.evaluation.result import Evaluation
from cratecli.evaluation.saliency import (
    MEAN,
    ORACLE,
    evaluate_saliency,
    saliency_protocol,
)
from cratecli.evaluation.saliency_scores import MaskScores, SaliencyScores
from cratecli.geometry import Box
from cratecli.io import images
from tests.support.painted import GREEN, RED, Painter, labelled, paint, pairs, save

SEEN = Box(0, 16, 64, 48)  # a stripe of 64 × 96 px, red on blue: the mask, to the pixel
HALF, OTHER = Box(0, 16, 64, 32), Box(0, 64, 64, 80)
PHOTO = paint((SEEN, RED))
PLAIN: dict[str, Any] = {"heads": [0], "keep": "0.5", "sizes": [64], "refine": "none", "resamples": 0}
BLUR = 4  # px of error in every row: at each edge 1/16 + 3/16 + 5/16 + 7/16 on either side


def truth(*boxes: Box) -> np.ndarray:
    return labelled(*((box, 255) for box in boxes))


@pytest.fixture
def painter() -> Painter:
    """Make a model with one head that is drawn to red."""
    return Painter((2.0, 0.0, -2.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write three photos alike, of which the mask is right, covers twice the truth, and misses it."""
    return pairs(tmp_path / "set", "masks", (PHOTO, truth(SEEN)), (PHOTO, truth(HALF)), (PHOTO, truth(OTHER)))


def numbers(result: Evaluation, row: str) -> dict[str, float]:
    return {each.name: each.value for each in result[row].measures}


def test_every_number(folder: Path, painter: Painter) -> None:
    result = evaluate_saliency(folder, painter, **PLAIN)
    assert (result.protocol, result.photos, result.failed, result.weights) == ("saliency", 3, 0, None)
    measured = numbers(result, "heads 0")
    assert measured["IoU"] == pytest.approx((1 + 1 / 2 + 0) / 3, abs=1e-6)
    assert measured["accuracy"] == pytest.approx((1 + 80 / 96 + 48 / 96) / 3, abs=1e-6)
    assert measured["CorLoc"] == pytest.approx(2 / 3)
    half = 2 + (16 - 1) + 1  # the left edge, the half that is too much, and what lies beyond it
    assert measured["MAE"] == pytest.approx((BLUR + half + (32 + 16)) / 96 / 3, abs=1e-6)
    assert {each.paper for each in result["heads 0"].measures} == {None}


def test_the_error_of_a_map_that_is_right(tmp_path: Path, painter: Painter) -> None:
    result = evaluate_saliency(pairs(tmp_path, "masks", (PHOTO, truth(SEEN))), painter, **PLAIN)
    assert numbers(result, "heads 0") == pytest.approx(
        {"IoU": 1, "maxFβ": 1, "MAE": BLUR / 96, "accuracy": 1, "CorLoc": 1}, abs=1e-6
    )


@pytest.mark.parametrize(
    ("heads", "row", "told"),
    [
        ("auto", "auto", "Spearman's ρ 0.50, calibration error 0.20 (mean gap in ten bins)"),
        ([0], "heads 0", "Spearman's ρ 0.50"),
    ],
)
def test_confidence_is_held_to_account(
    folder: Path, painter: Painter, heads: Any, row: str, told: str
) -> None:
    def judged(*pairs_: tuple[float, float]) -> dict[str, SaliencyScores]:
        masks = [MaskScores(iou=iou, f_curve="", mae=0, accuracy=0, box_iou=0) for _, iou in pairs_]
        return {
            str(number): SaliencyScores(rows={row: mask}, confidence=confidence)
            for number, (mask, (confidence, _)) in enumerate(zip(masks, pairs_, strict=True))
        }

    protocol = saliency_protocol(folder, painter, heads=heads)
    assert protocol.findings(judged((0.1, 0.3), (0.5, 0.2), (0.9, 1.0))) == (f"confidence and IoU: {told}",)
    assert protocol.findings(judged((0.5, 0.2), (0.5, 0.4))) == protocol.findings(judged((0.5, 0.2))) == ()


@pytest.mark.usefixtures("shipped_sizes")
def test_a_mask_head_changes_nothing_in_what_confidence_is(folder: Path) -> None:
    """An expected IoU, whose error is told."""
    protocol = saliency_protocol(folder, cratecli.load_graph("crate-nano"))
    assert protocol.recipe.head == "built-in"
    masks = {
        str(said): SaliencyScores(
            rows={"auto": MaskScores(iou=found, f_curve="", mae=0, accuracy=0, box_iou=0)}, confidence=said
        )
        for said, found in ((0.1, 0.3), (0.5, 0.2), (0.9, 1.0))
    }
    (told,) = protocol.findings(masks)
    assert "calibration error 0.20" in told


def test_f_is_the_maximum_of_the_mean(tmp_path: Path, painter: Painter) -> None:
    """Of the first truth the mask is right, 32 of 32 columns; of the second half of it, 32 kept and 16 right.

    At the best level for the second, everything kept is the stripe too: there F = 1.3 · 16 / (0.3 · 16 + 32). Cut
    higher, 31 columns are kept, and F of the first is 1.3 · 31 / (0.3 · 32 + 31): less is lost there than won here,
    and so on inwards to the pixels that are 1.
    """
    result = evaluate_saliency(
        pairs(tmp_path, "masks", (PHOTO, truth(SEEN)), (PHOTO, truth(HALF))), painter, **PLAIN
    )
    means = [
        (1.3 * kept / (0.3 * 32 + kept) + 1.3 * kept / 2 / (0.3 * 16 + kept)) / 2 for kept in range(24, 33, 2)
    ]
    assert numbers(result, "heads 0")["maxFβ"] == pytest.approx(max(means), abs=1e-6)


def test_the_mean_of_heads_and_the_oracle(tmp_path: Path) -> None:
    """Of two heads the second alone sees what is true; which is chosen is the truth's to say."""
    painter = Painter((8.0, 0.0, 0.0), (0.0, 8.0, 0.0))
    red, green = Box(0, 8, 64, 32), Box(0, 56, 64, 80)
    photo = paint((red, RED), (green, GREEN))
    folder = pairs(tmp_path, "masks", (photo, truth(green)), (photo, truth(red)))
    result = evaluate_saliency(folder, painter, **PLAIN, oracle=True, mean_of_heads=True)
    assert [row.name for row in result.rows] == ["heads 0", MEAN, ORACLE]
    assert result["heads 0"]["IoU"] == pytest.approx(1 / 2)
    assert result[ORACLE]["IoU"] == pytest.approx(1)
    assert result[MEAN]["IoU"] == pytest.approx(24 / 48)
    assert any(note.startswith("mean of heads and oracle (best head") for note in result.notes)
    assert result[ORACLE]["MAE"] == pytest.approx(BLUR / 96, abs=1e-6)


def test_off_centre_the_photo_is_cut(tmp_path: Path, painter: Painter) -> None:
    """Of 64 × 96 px, 45 × 67 are kept; a truth that fills the photo leaves no window."""
    box = Box(16, 40, 32, 64)
    photo = paint((box, RED))
    folder = pairs(tmp_path, "masks", (photo, truth(box)), (photo, truth(Box(0, 0, 64, 96))))
    result = evaluate_saliency(folder, painter, **PLAIN, off_centre=True)
    assert result.photos == 1
    assert any("off-centre" in note and "; 1 photo has none and is left out" in note for note in result.notes)
    whole = evaluate_saliency(folder, painter, **PLAIN)
    assert whole.photos == 2
    assert 0.8 < numbers(result, "heads 0")["IoU"] < 1
    assert numbers(result, "heads 0")["accuracy"] == pytest.approx(1, abs=0.03)


def test_without_a_window_nothing_is_left(tmp_path: Path, painter: Painter) -> None:
    folder = pairs(tmp_path, "masks", (PHOTO, truth(Box(0, 0, 64, 96))))
    with pytest.raises(NothingMatchedError, match="off-centre"):
        evaluate_saliency(folder, painter, off_centre=True)


def test_by_default_it_judges_what_segment_makes(tmp_path: Path) -> None:
    model = cratecli.load_model("crate-nano", device="cpu")
    photo = images.read(Path(__file__).parents[2] / "examples/chelsea.jpg")[::3, ::3].copy()
    mask = cratecli.segment(photo, model).mask
    folder = pairs(tmp_path, "masks", (photo, mask * np.uint8(255)))
    result = evaluate_saliency(folder, model, resamples=0)
    assert result["auto"]["IoU"] == 1
    assert result.weights == model.weights
    assert result.recipe.endswith("refine guided")


def test_intervals_are_seeded_and_surround_the_mean(folder: Path, painter: Painter) -> None:
    first, same, other = (
        evaluate_saliency(folder, painter, **PLAIN | {"resamples": 200, "resample_seed": seed})
        for seed in (0, 0, 5)
    )
    assert first == same
    assert first != other
    for measure in first["heads 0"].measures:
        assert measure.low <= measure.value <= measure.high
    none = evaluate_saliency(folder, painter, **PLAIN)
    assert all(np.isnan([each.low, each.high]).all() for each in none["heads 0"].measures)


def test_known_scores_are_not_computed_again(folder: Path, painter: Painter, tmp_path: Path) -> None:
    kept: dict[str, Any] = {**PLAIN, "scores": tmp_path / "scores"}
    first = evaluate_saliency(folder, painter, **kept).as_record()
    assert painter.shown == 3
    assert evaluate_saliency(folder, painter, **kept, resume=True).as_record() == first
    assert painter.shown == 3
    save(folder / "masks/b.png", truth(Box(0, 16, 64, 40)))  # other bytes, other scores
    changed = evaluate_saliency(folder, painter, **kept, resume=True)
    assert painter.shown == 4
    assert changed["heads 0"]["IoU"] == pytest.approx((1 + 3 / 4 + 0) / 3)
    evaluate_saliency(folder, painter, **kept)
    assert painter.shown == 7
    evaluate_saliency(folder, painter, **{**kept, "keep": "0.6"}, resume=True)
    assert painter.shown == 10
    evaluate_saliency(folder, painter, **{**kept, "min_confidence": 0.5}, resume=True)
    assert painter.shown == 13


def test_a_misspelt_keyword_is_no_keyword(folder: Path, painter: Painter) -> None:
    for misspelt in ("off_center", "resample", "layer"):
        with pytest.raises(TypeError, match=misspelt):
            evaluate_saliency(folder, painter, **{misspelt: 1})  # type: ignore[arg-type]


def test_another_model_shares_no_scores(folder: Path, painter: Painter, tmp_path: Path) -> None:
    evaluate_saliency(folder, painter, **PLAIN, scores=tmp_path / "scores")
    other = Painter((0.0, 2.0, -2.0))
    evaluate_saliency(folder, other, **PLAIN, scores=tmp_path / "scores", resume=True)
    assert other.shown == 3


def test_what_is_wrong_is_raised(folder: Path, painter: Painter) -> None:
    with pytest.raises(UsageError, match="head 1 of a model with 1 heads"):
        evaluate_saliency(folder, painter, heads=[1])
    save(folder / "masks/b.png", np.full((10, 10), 255, np.uint8))
    with pytest.raises(InputError, match=r"b\.png: 96 × 64 px, but 10 × 10 px in .*masks/b\.png"):
        evaluate_saliency(folder, painter)
    (folder / "masks/b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png: nothing in masks/ goes with it"):
        evaluate_saliency(folder, painter)


def test_the_record_is_frozen(folder: Path, painter: Painter) -> None:
    result = evaluate_saliency(folder, painter, **PLAIN)
    with pytest.raises(FrozenInstanceError):
        result.photos = 4  # type: ignore[misc]
