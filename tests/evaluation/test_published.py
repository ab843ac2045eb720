"""The published numbers: the page on comparing models shows those that stand beside measured ones."""

import re
from pathlib import Path

import pytest

from cratecli.evaluation.published import COCO, VOC, published
from cratecli.model.engine import WeightsId
from cratecli.weights.registry import load_registry

PAGE = Path(__file__).parents[2] / "docs/compare.md"


def table() -> dict[str, list[list[float]]]:
    """Read the page's table: VOC's, and COCO's numbers for boxes and masks, by the registry's name."""
    (rows,) = re.findall(r"<!-- published -->\n.*\n.*\n((?:\|.*\n)+)<!-- end -->", PAGE.read_text())
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    return {
        name.strip("`"): [[float(number) for number in cell.split(" / ")] for cell in numbers]
        for _, name, *numbers in cells
        if name
    }


def test_the_page_has_the_numbers_that_evaluations_print() -> None:
    shown = table()
    assert shown.keys() == VOC.keys() == COCO.keys()
    for name, (voc, box, mask) in shown.items():
        assert voc == [VOC[name]["mIoU"]]
        assert [*box, *mask] == list(COCO[name].values())


def test_numbers_are_of_models_of_the_registry() -> None:
    assert VOC.keys() <= set(load_registry().names)
    known = published(VOC, WeightsId("vit-base-patch8-dino", "0" * 64))
    assert known == {"mIoU": pytest.approx(0.273)}
    assert published(VOC, WeightsId("vit-base-patch14-dinov2", "0" * 64)) == {} == published(VOC, None)
