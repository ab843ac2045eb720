"""What each layer does: the equations on the states of the unrolling, and pictures in the order of layers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

import cratecli
from cratecli.emergence.coding import coding_rate, zero_fraction
from cratecli.emergence.maskcut import maskcut
from cratecli.emergence.masks import enlarge, scale
from cratecli.errors import InputError, UsageError
from cratecli.geometry import Size
from cratecli.io.formats.png import overlay
from cratecli.io.plot import HEIGHT
from cratecli.io.sheet import CELL, GAP, TEXT, fit_within, heat
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox
from cratecli.model.vit import UnrolledViT
from cratecli.runs.cache import FeatureCache
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.planned import Plan
from cratecli.tasks.layers import LayersPhoto, LayerTrace, layers_run, layers_sheet, trace_batch
from cratecli.tasks.recipes import choose_layer_recipe
from tests.support.models import CONFIG, Counting, small_crate, tiny_vit
from tests.support.photos import photo

LINE = TEXT + 5
PHOTO = photo(30, 40)

MODELS: dict[str, Callable[[], WhiteBox]] = {
    "crate": small_crate,
    "folded nowhere": lambda: Crate(CONFIG),
    "vit": lambda: UnrolledViT(tiny_vit()),
    "vit with registers": lambda: UnrolledViT(tiny_vit(reg_tokens=2, no_embed_class=True)),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> WhiteBox:
    """Make a small model of each kind: patches of 4 or 8 px, three heads."""
    return MODELS[request.param]().eval()


def states(model: WhiteBox, size: int) -> Any:
    with torch.inference_mode():
        return list(model.unroll(cratecli.prepare(PHOTO, model, size=size)))


def test_the_numbers_are_the_equations_on_the_unrolled_states(model: WhiteBox) -> None:
    trace = cratecli.layers(PHOTO, model, size=32)
    assert trace.layers == tuple(range(model.depth))
    assert trace.weights is None
    unrolled = states(model, 32)
    for layer, state in enumerate(unrolled[:-1]):
        np.testing.assert_allclose(trace.coding_rate[layer], coding_rate(state.subspaces)[0], rtol=1e-5)
        np.testing.assert_allclose(
            trace.zero_fraction[layer], zero_fraction(unrolled[layer + 1].tokens)[0], rtol=1e-6
        )
        attention = state.class_attention()[0].numpy()
        expected = (attention / attention.sum(axis=1, keepdims=True)).mean(axis=0).reshape(state.grid)
        np.testing.assert_allclose(trace.attention[layer], expected, rtol=1e-4)
    assert (np.diff(trace.coding_rate) != 0).all()
    if isinstance(model, Crate):  # ISTA ends a layer with a ReLU
        assert trace.zero_fraction.min() > 0.1
    else:
        assert trace.zero_fraction.tolist() == [0, 0]


def patch_tokens(model: WhiteBox, layer: int, size: int) -> np.ndarray:
    """Give a layer's subspace tokens, heads side by side: rows, columns, entries."""
    state = states(model, size)[layer]
    heads = state.subspaces[0, :, state.prefix :].numpy()
    return np.concatenate(list(heads), axis=-1).reshape(*state.grid, -1)


def test_components_are_those_of_the_layers_tokens(model: WhiteBox) -> None:
    trace = cratecli.layers(PHOTO, model, size=32)
    for layer in range(model.depth):
        tokens = patch_tokens(model, layer, 32)
        flat = tokens.reshape(-1, tokens.shape[-1])
        expected = PCA(4, svd_solver="full").fit_transform(flat.astype(np.float64)).T
        for found, values in zip(trace.components[layer], expected, strict=True):
            assert (found.min(), found.max()) == (0, 1)
            either = [scale(sign * values.reshape(tokens.shape[:2])) for sign in (1, -1)]
            assert min(np.abs(found - one).max() for one in either) < 1e-3


def test_the_bright_side_of_the_first_component_has_more_attention(model: WhiteBox) -> None:
    trace = cratecli.layers(PHOTO, model, size=32)
    for attention, (first, *_) in zip(trace.attention, trace.components, strict=True):
        upper = first > np.median(first)
        assert attention[upper].mean() >= attention[~upper].mean()


def test_the_mask_is_maskcuts_first(model: WhiteBox) -> None:
    for tau in (0.0, 0.3):
        trace = cratecli.layers(PHOTO, model, size=32, tau=tau)
        for layer in range(model.depth):
            (expected,) = maskcut(patch_tokens(model, layer, 32), tau=tau, count=1)
            np.testing.assert_array_equal(trace.mask[layer], expected)


def test_some_layers_are_some_of_all() -> None:
    model = small_crate()
    everything = cratecli.layers(PHOTO, model, size=16)
    some = cratecli.layers(PHOTO, model, layers=[-1, 0], size=16)
    assert some.layers == (2, 0)
    for part in ("coding_rate", "zero_fraction", "attention", "components", "mask"):
        np.testing.assert_allclose(getattr(some, part), getattr(everything, part)[[2, 0]], rtol=1e-5)


def test_what_is_left_out_is_every_layer_at_the_largest_size_of_segment() -> None:
    model = small_crate()
    recipe = choose_layer_recipe(model)
    assert (recipe.layers, recipe.sizes) == ((0, 1, 2), (48,))
    assert choose_layer_recipe(model, layers=[-2], size=20) == replace(recipe, layers=(1,), sizes=(20,))
    assert cratecli.layers(PHOTO, model).mask.shape == (3, 12, 16)


ODD = {
    "black": np.zeros((30, 40, 3), np.uint8),
    "white": np.full((30, 40, 3), 255, np.uint8),
    "one pixel": np.full((1, 1, 3), 7, np.uint8),
    "a line": photo(1, 30),
    "a column": photo(30, 1),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("size", [1, 32])
def test_odd_photos_give_numbers(model: WhiteBox, name: str, size: int) -> None:
    trace = cratecli.layers(ODD[name], model, size=size)
    for values in (trace.coding_rate, trace.zero_fraction, trace.attention, trace.components):
        assert np.isfinite(values).all()
    assert trace.attention.sum(axis=(1, 2)) == pytest.approx(1, rel=1e-4)
    assert 0 <= trace.components.min() <= trace.components.max() <= 1
    assert trace.mask.any(axis=(1, 2)).all()


def test_components_that_narrow_tokens_lack_are_black() -> None:
    """LayerNorm leaves two dimensions of three; a fourth was never there."""
    components = cratecli.layers(PHOTO, small_crate(replace(CONFIG, width=3)), size=32).components
    assert components.shape[1] == 4
    assert (components[:, :2].max(axis=(2, 3)) == 1).all()
    assert not components[:, 2:].any()


def test_a_photo_seen_is_not_looked_at_again(tmp_path: Path) -> None:
    model, photos = small_crate(), [PHOTO, photo(40, 30), PHOTO]
    recipe = choose_layer_recipe(model, size=16, tau=0.2)
    first = trace_batch(photos, model, recipe, FeatureCache(tmp_path, model))
    assert model.shown == 3
    again = trace_batch(photos, model, recipe, FeatureCache(tmp_path, model))
    assert model.shown == 3
    for one, other, image in zip(first, again, photos, strict=True):
        (alone,) = trace_batch([image], small_crate(), recipe)
        for part in ("coding_rate", "zero_fraction", "attention", "components", "mask"):
            np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=1e-6)
            np.testing.assert_allclose(getattr(one, part), getattr(alone, part), atol=1e-3)


def test_what_was_kept_is_what_was_seen(tmp_path: Path) -> None:
    """To the last bit: `--jsonl` prints enough digits to tell."""
    model = small_crate()
    recipe = choose_layer_recipe(model, size=16)
    (first,), (again,) = (
        trace_batch([PHOTO], model, recipe, cache=FeatureCache(tmp_path, model)) for _ in "ab"
    )
    np.testing.assert_array_equal(again.coding_rate, first.coding_rate)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layers": [0, 3]}, "layer 3 of a model with 3 layers, 0 to 2"),
        ({"layers": []}, "at least one"),
        ({"size": 0}, "size"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        cratecli.layers(PHOTO, small_crate(), **options)


def test_what_cannot_be_seen_is_an_input_error(tmp_path: Path) -> None:
    broken = Crate(CONFIG)
    with pytest.raises(InputError, match="no such file"):
        cratecli.layers(tmp_path / "gone.jpg", broken)
    with torch.no_grad():
        broken.position_embedding.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        cratecli.layers(PHOTO, broken)


# The sheet.


def traced(folder: Path, model: Counting, count: int, **options: Any) -> list[LayersPhoto]:
    """Trace photos, the second broken."""
    for number in range(count):
        Image.fromarray(photo(60, 80, number)).save(folder / f"{number}.png")
    (folder / "1.png").write_bytes(b"no photo")
    jobs = [Job(folder / f"{number}.png", None) for number in range(count)]
    recipe = choose_layer_recipe(model, size=16, **options)
    outcomes = list(layers_run(Plan(tuple(jobs)), Desk(model, 2), recipe, drawn=False))
    assert [outcome.job for outcome in outcomes if isinstance(outcome, Failure)] == [jobs[1]]
    done = [outcome for outcome in outcomes if isinstance(outcome, LayersPhoto)]
    assert [each.job for each in done] == [jobs[0], *jobs[2:]]
    return done


def test_four_photos_are_pictured_and_all_are_traced(tmp_path: Path) -> None:
    done = traced(tmp_path, small_crate(), 7)
    assert [len(each.tiles) for each in done] == [4] * 6
    assert all(isinstance(each.trace, LayerTrace) for each in done)
    assert layers_sheet(done, "model").shape[0] == HEIGHT + GAP + LINE + 16 * (CELL.height + GAP + LINE)


def test_tau_reaches_the_masks(tmp_path: Path) -> None:
    done = traced(tmp_path, small_crate(), 3, tau=-1.0)
    (expected,) = trace_batch(
        [photo(60, 80, 0)], small_crate(), choose_layer_recipe(small_crate(), size=16, tau=-1.0)
    )
    np.testing.assert_array_equal(done[0].trace.mask, expected.mask)
    assert (
        expected.mask
        != trace_batch([photo(60, 80, 0)], small_crate(), choose_layer_recipe(small_crate(), size=16))[0].mask
    ).any()


def test_rows_are_attention_components_and_masks(tmp_path: Path) -> None:
    each = traced(tmp_path, small_crate(), 3)[0]
    shown = fit_within(photo(60, 80, 0), CELL)
    size = Size(*shown.shape[:2])

    def grown(grid_map: np.ndarray) -> np.ndarray:
        return np.asarray(enlarge(grid_map.astype(np.float32), size))

    attention, first, colours, masks = each.tiles
    np.testing.assert_array_equal(attention[0].picture, shown)
    assert all((row[0].picture == 255).all() for row in (first, colours, masks))
    for layer in range(3):
        trace, place = each.trace, layer + 1
        np.testing.assert_array_equal(attention[place].picture, heat(scale(grown(trace.attention[layer]))))
        levels = np.dstack([grown(component) * 255 for component in trace.components[layer]])
        np.testing.assert_allclose(first[place].picture, levels[..., [0, 0, 0]], atol=0.51)
        np.testing.assert_allclose(colours[place].picture, levels[..., 1:], atol=0.51)
        mask = grown(trace.mask[layer]) >= 0.5
        np.testing.assert_array_equal(masks[place].picture, overlay(shown, mask))


def test_the_sheet_has_the_curves_over_the_rows(tmp_path: Path) -> None:
    done = traced(tmp_path, small_crate(), 3)
    sheet = layers_sheet(done, "model")
    down, across = CELL.height + GAP + LINE, CELL.width + GAP
    assert sheet.shape == (HEIGHT + GAP + LINE + 8 * down, 4 * across + GAP, 3)
    for number, row in enumerate(row for each in done for row in each.tiles):
        for column, tile in enumerate(row):
            top, left = HEIGHT + GAP + 2 * LINE + number * down, GAP + column * across
            height, width = tile.picture.shape[:2]
            np.testing.assert_array_equal(sheet[top : top + height, left : left + width], tile.picture)
    more = layers_sheet(traced(tmp_path, small_crate(), 7), "model")
    assert (sheet[:HEIGHT] != more[:HEIGHT]).any()  # the curves are of all photos


def test_the_sheet_of_one_layer_is_as_wide_as_its_curves() -> None:
    model, job = small_crate(), Job(None, None)
    content = b"P6 4 3 255 " + bytes(range(36))
    recipe = choose_layer_recipe(model, layers=[1], size=16)
    (only,) = layers_run(Plan((job,)), Desk(model, 1, stdin=(content,)), recipe, drawn=False)
    assert isinstance(only, LayersPhoto)
    assert layers_sheet([only], "model").shape == (
        HEIGHT + GAP + LINE + 4 * (CELL.height + GAP + LINE),
        640,
        3,
    )
