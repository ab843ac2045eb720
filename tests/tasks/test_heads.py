"""What every head looks at: the numbers `segment` goes by, and a sheet whose columns are heads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cratecli
from cratecli.emergence.masks import enlarge, scale
from cratecli.errors import InputError, UsageError
from cratecli.geometry import Size
from cratecli.io.sheet import CELL, GAP, TEXT, fit_within, heat
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox
from cratecli.model.vit import UnrolledViT
from cratecli.runs.cache import FeatureCache
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.planned import Plan
from cratecli.tasks.heads import HeadMaps, HeadsPhoto, heads_batch, heads_run, heads_sheet
from cratecli.tasks.recipes import ViewRecipe, choose_recipe
from cratecli.tasks.segment import segment_batch
from tests.support.models import CONFIG, small_crate, tiny_vit
from tests.support.photos import photo

LINE = TEXT + 5
PHOTOS = [photo(30, 40, 1), photo(40, 30, 2), photo(30, 40, 3)]


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    """Make a small CRATE: three layers, three heads, patches of 4 px."""
    return small_crate()


@pytest.mark.parametrize("layers", [[0], [1, -1], [2, 0]])
@pytest.mark.parametrize("sizes", [[16], [16, 24, 32]])
def test_scores_are_what_segment_goes_by(
    model: WhiteBox, layers: Sequence[int], sizes: Sequence[int]
) -> None:
    recipe = choose_recipe(model, layers=layers, sizes=sizes, heads="agree")
    judged = heads_batch(PHOTOS, model, recipe)
    for maps, segmentation in zip(judged, segment_batch(PHOTOS, model, recipe), strict=True):
        assert maps.layers == segmentation.layers == tuple(layer % 3 for layer in layers)
        np.testing.assert_allclose(maps.scores, segmentation.head_scores, atol=1e-6)
        assert maps.shares.sum() == pytest.approx(1)
        assert maps.shares.min() >= 0
        np.testing.assert_array_equal(maps.trusted, maps.shares >= 1 / maps.shares.size - 1e-12)
        if len(layers) == 1:  # there segment's heads are a layer's heads
            assert tuple(np.flatnonzero(maps.trusted[0])) == segmentation.heads


def test_attention_is_the_models_own(model: WhiteBox) -> None:
    maps = cratecli.heads(PHOTOS[0], model, layers=[0, 2], sizes=[16])
    with torch.inference_mode():
        states = list(model.unroll(cratecli.prepare(PHOTOS[0], model, size=16)))
    for place, layer in enumerate((0, 2)):
        attention = states[layer].class_attention()[0].numpy()
        expected = (attention / attention.sum(axis=-1, keepdims=True)).reshape(3, *states[0].grid)
        np.testing.assert_allclose(maps.attention[place], expected, rtol=1e-4)


def test_attention_of_several_sizes_is_on_the_finest_grid(model: WhiteBox) -> None:
    maps = cratecli.heads(PHOTOS[0], model, layers=[1], sizes=[32, 16])
    assert maps.attention.shape == (1, 3, 8, 11)
    np.testing.assert_allclose(maps.attention.sum(axis=(2, 3)), 1, rtol=1e-5)
    assert cratecli.heads(PHOTOS[1], model, layers=[1], sizes=[32, 16]).attention.shape == (1, 3, 11, 8)


def test_what_is_left_out_is_as_segment_has_it() -> None:
    model = cratecli.load_model("crate-nano", device="cpu")
    maps = cratecli.heads(photo(48, 64))
    assert maps.layers == choose_recipe(model).layers
    assert maps.weights == model.weights
    assert maps.scores.shape == (4, 6)


def test_a_vit_has_heads_too() -> None:
    maps = cratecli.heads(PHOTOS[0], UnrolledViT(tiny_vit()), layers=[0, 1], sizes=[32])
    assert maps.attention.shape == (2, 3, 4, 5)
    assert maps.weights is None
    assert np.isfinite(maps.scores).all()


def test_a_batch_equals_singles(model: WhiteBox, tmp_path: Path) -> None:
    recipe = choose_recipe(model, sizes=[16, 24])
    together = heads_batch(PHOTOS, model, recipe, FeatureCache(tmp_path, model))
    kept = heads_batch(PHOTOS, model, recipe, FeatureCache(tmp_path, model))
    for image, maps, again in zip(PHOTOS, together, kept, strict=True):
        (alone,) = heads_batch([image], model, recipe)
        for part in ("attention", "scores", "shares"):
            np.testing.assert_allclose(getattr(maps, part), getattr(alone, part), atol=1e-4)
            np.testing.assert_array_equal(getattr(maps, part), getattr(again, part))
    assert heads_batch([], model, recipe) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1), (5, 7)])
@pytest.mark.parametrize("colour", [0, 255])
def test_photos_with_nothing_to_see_give_numbers(model: WhiteBox, size: tuple[int, int], colour: int) -> None:
    maps = cratecli.heads(np.full((*size, 3), colour, np.uint8), model, sizes=[4, 16])
    for values in (maps.attention, maps.scores, maps.shares):
        assert np.isfinite(values).all()
    assert maps.shares.sum() == pytest.approx(1)
    assert maps.trusted.any()


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (4, 6), (2, 12), (2, 10), (1, 16)])
def test_an_even_share_is_trusted(layers: int, heads: int) -> None:
    """Where nobody stands out all are trusted; the mean of even shares must not come out above them."""
    shares = np.full((layers, heads), 1 / (layers * heads))
    assert HeadMaps(np.zeros((layers, heads, 1, 1)), shares, shares, (0,), None).trusted.all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layers": [3]}, "layer 3 of a model with 3 layers, 0 to 2"),
        ({"layers": []}, "at least one"),
        ({"sizes": [0]}, "size"),
        ({"sizes": []}, "at least one"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    model: WhiteBox, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        cratecli.heads(PHOTOS[0], model, **options)


def test_what_cannot_be_seen_is_an_input_error(tmp_path: Path) -> None:
    broken = Crate(CONFIG)
    with pytest.raises(InputError, match="no such file"):
        cratecli.heads(tmp_path / "gone.jpg", broken)
    with torch.no_grad():
        broken.position_embedding.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        cratecli.heads(PHOTOS[0], broken)


# The contact sheet.


def laid_out(folder: Path) -> list[Job]:
    """Lay out three photos, landscape, broken and portrait."""
    Image.fromarray(photo(30, 40, 1)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no photo")
    Image.fromarray(photo(80, 60, 2)).save(folder / "c.png")
    return [Job(folder / f"{name}.png", None) for name in "abc"]


def judge(folder: Path, model: WhiteBox, recipe: ViewRecipe, batch_size: int = 8) -> list[HeadsPhoto]:
    plan = Plan(tuple(laid_out(folder)))
    outcomes = list(heads_run(plan, Desk(model, batch_size), recipe, drawn=False))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [failure.job.name for failure in failures] == [str(folder / "b.png")]
    return [outcome for outcome in outcomes if isinstance(outcome, HeadsPhoto)]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_photo_has_a_row_a_layer_and_a_tile_a_head(
    tmp_path: Path, model: WhiteBox, batch_size: int
) -> None:
    judged = judge(tmp_path, model, choose_recipe(model, layers=[2, 0], sizes=[16, 24]), batch_size)
    assert [Path(each.job.name).name for each in judged] == ["a.png", "c.png"]
    for each, shape in zip(judged, ((120, 160), (120, 90)), strict=True):
        maps = each.maps
        assert [len(row) for row in each.tiles] == [4, 4]
        for layer, (first, *others) in enumerate(each.tiles):
            with Image.open(each.job.name) as image:
                np.testing.assert_array_equal(first.picture, fit_within(np.asarray(image), CELL))
            assert (first.caption, first.marked) == ("", False)
            for head, tile in enumerate(others):
                grown = enlarge(maps.attention[layer, head].astype(np.float32), Size(*shape))
                np.testing.assert_array_equal(tile.picture, heat(scale(grown)))
                assert tile.caption == f"{maps.scores[layer, head]:.2f}"
                assert tile.marked == maps.trusted[layer, head]


def test_a_column_of_the_sheet_is_one_head(tmp_path: Path, model: WhiteBox) -> None:
    judged = judge(tmp_path, model, choose_recipe(model, layers=[2, 0], sizes=[16, 24]))
    sheet = heads_sheet(judged)
    down, across = CELL.height + GAP + 2 * LINE, CELL.width + GAP
    assert sheet.shape == (GAP + LINE + 4 * down, 4 * across + GAP, 3)
    rows = [row for each in judged for row in each.tiles]
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            top, left = GAP + 2 * LINE + number * down, GAP + column * across
            height, width = tile.picture.shape[:2]
            np.testing.assert_array_equal(sheet[top : top + height, left : left + width], tile.picture)
