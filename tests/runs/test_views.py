"""A photo seen once is not looked at again: views are kept, checked when read, and never mistaken."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cratecli.emergence.features import View
from cratecli.errors import OutputError, UsageError
from cratecli.geometry import Grid
from cratecli.model.engine import WeightsId
from cratecli.runs.cache import FeatureCache, MemoryCache, ViewCache, fingerprint
from cratecli.runs.views import FLAT, Question, flat, look, views_of
from tests.support.models import CONFIG, Counting, small_crate

PARTS = ("attention", "tokens", "coding_rate", "zero_fraction")


def photo(seed: int, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PHOTOS = [photo(0), photo(1, 30, 20), photo(2)]


def ask(
    photos: Sequence[np.ndarray],
    model: Counting,
    layers: Sequence[int],
    sizes: Sequence[int],
    *,
    cache: ViewCache | None = None,
    **how: Any,
) -> list[list[View]]:
    return views_of(photos, model, Question(tuple(layers), tuple(sizes), **how), cache=cache)


def assert_same(ones: list[list[View]], others: list[list[View]]) -> None:
    for one, other in zip(chain(*ones), chain(*others), strict=True):
        for part in PARTS:
            np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=1e-6)


def test_the_second_question_needs_no_inference(tmp_path: Path) -> None:
    model = small_crate()
    cache = FeatureCache(tmp_path / "kept", model)
    first = ask(PHOTOS, model, [0, 2], [16, 24], cache=cache)
    assert model.shown == 2 * len(PHOTOS)
    again = ask(PHOTOS[::-1], model, [-1, 0], [16, 24], cache=FeatureCache(tmp_path / "kept", model))
    assert model.shown == 2 * len(PHOTOS)
    assert_same([[view.only(1, 0) for view in views] for views in first], again[::-1])
    assert_same(first, ask(PHOTOS, model, [0, 2], [16, 24]))


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    model = small_crate()
    cache = FeatureCache(tmp_path, model)
    ask(PHOTOS[:2], model, [1], [16], cache=cache)
    model.shown = 0
    ask(PHOTOS, model, [1], [16], cache=cache)
    assert model.shown == 1
    ask(PHOTOS, model, [0, 1], [16], cache=cache)  # another layer
    assert model.shown == 1 + 3
    ask(PHOTOS, model, [1], [32], cache=cache)  # another size
    assert model.shown == 1 + 6
    ask(PHOTOS[:1], model, [1], [16, 16], cache=cache)  # mirrored
    assert model.shown == 1 + 7


def test_a_trace_is_computed_when_it_is_asked_for(tmp_path: Path) -> None:
    model = small_crate()
    cache = FeatureCache(tmp_path, model)
    assert np.isnan(ask(PHOTOS[:1], model, [2], [16], cache=cache)[0][0].zero_fraction).all()
    (view,) = ask(PHOTOS[:1], model, [2], [16], cache=cache, trace=True)[0]
    assert np.isfinite(view.zero_fraction).all()
    assert model.shown == 2
    assert_same(ask(PHOTOS[:1], model, [2], [16], cache=cache), [[view]])
    assert model.shown == 2


@pytest.mark.parametrize(
    "other",
    [
        small_crate(seed=1),
        small_crate(replace(CONFIG, sparsity_weight=0.5)),
        small_crate(replace(CONFIG, heads=2)),
        small_crate(replace(CONFIG, mean=(0.0, 0.0, 0.0))),
        small_crate().double(),
    ],
    ids=["weights", "lambda", "heads", "normalisation", "number format"],
)
def test_what_another_model_saw_is_not_taken(tmp_path: Path, other: Counting) -> None:
    model = small_crate()
    ask(PHOTOS[:1], model, [1], [16], cache=FeatureCache(tmp_path, model))
    other.shown = 0
    kept = ask(PHOTOS[:1], other, [1], [16], cache=FeatureCache(tmp_path, other))
    assert other.shown == 1
    assert_same(kept, ask(PHOTOS[:1], other, [1], [16]))


def test_weights_are_told_apart_by_their_hash(tmp_path: Path) -> None:
    model = small_crate()
    model.weights = WeightsId("mine", "a" * 64)
    ask(PHOTOS[:1], model, [1], [16], cache=FeatureCache(tmp_path, model))
    model.weights = WeightsId("renamed", "a" * 64)
    ask(PHOTOS[:1], model, [1], [16], cache=FeatureCache(tmp_path, model))
    assert model.shown == 1
    model.weights = WeightsId("mine", "b" * 64)
    ask(PHOTOS[:1], model, [1], [16], cache=FeatureCache(tmp_path, model))
    assert model.shown == 2


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[:-7],
        lambda c: b"",
        lambda c: b"<html>",
        flip,
        lambda c: c + b"\0",
        lambda c: c[:4] + b"\xff" * 60,
    ],
    ids=["cut", "empty", "html", "bit", "longer", "header"],
)
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    model = small_crate()
    cache = FeatureCache(tmp_path, model)
    first = ask(PHOTOS[:1], model, [1], [16], cache=cache)
    (entry,) = tmp_path.rglob("*.safetensors")
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert_same(ask(PHOTOS[:1], model, [1], [16], cache=cache), first)
    assert model.shown == 2
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here first")
    model = small_crate()
    with pytest.raises(OutputError, match=r"file.*: features cannot be kept: "):
        ask(PHOTOS[:1], model, [1], [16], cache=FeatureCache(tmp_path / "file", model))
    assert (tmp_path / "file").read_text() == "here first"


def test_a_photo_is_named_by_its_pixels_and_its_shape() -> None:
    assert fingerprint(PHOTOS[0]) == fingerprint(PHOTOS[0].copy())
    assert fingerprint(PHOTOS[0]) == fingerprint(np.asfortranarray(PHOTOS[0]))
    changed = PHOTOS[0].copy()
    changed[3, 4, 1] ^= 1
    assert fingerprint(changed) != fingerprint(PHOTOS[0])
    assert fingerprint(PHOTOS[0].reshape(24, 20, 3)) != fingerprint(PHOTOS[0])


def test_squares_are_views_of_their_own(tmp_path: Path) -> None:
    """Squeezed, photos of any shape share a grid, and are not mistaken for those that keep theirs."""
    model = small_crate()
    cache = FeatureCache(tmp_path, model)
    squares = ask(PHOTOS, model, [0], [16], cache=cache, square=True)
    assert {views[0].grid for views in squares} == {(4, 4)}
    kept = ask(PHOTOS, model, [0], [16], cache=cache)
    assert [views[0].grid for views in kept] == [(4, 5), (6, 4), (4, 5)]
    assert model.shown == 2 * len(PHOTOS)
    assert_same(ask(PHOTOS, model, [0], [16], cache=cache, square=True), squares)
    assert model.shown == 2 * len(PHOTOS)


GROUND = np.full((48, 64, 3), (90, 140, 200), np.uint8)


@pytest.mark.parametrize("shape", [(48, 64), (2, 3), (301, 403)])
def test_one_colour_but_for_grain_is_flat(shape: tuple[int, int]) -> None:
    plain = np.full((*shape, 3), 77, np.uint8)
    assert flat(plain, Grid(6, 8))
    grain = np.random.default_rng(0).normal(128, 5, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    assert flat(grain, Grid(6, 8))


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_patch_that_differs_in_one_channel_is_something(channel: int) -> None:
    for levels, expected in ((FLAT, True), (FLAT + 1, False)):
        rgb = GROUND.copy()
        rgb[8:16, 16:24, channel] += levels
        assert flat(rgb, Grid(6, 8)) is expected


def test_a_look_is_asked_many_questions_in_one_forward_pass() -> None:
    model = small_crate()
    opened = look(PHOTOS[0], model)
    assert look(opened) is opened
    assert model.shown == 0
    first = ask([opened.rgb], model, [0, 2], [16, 16], cache=opened.cache)
    assert model.shown == 2
    assert_same(ask([opened.rgb], model, [0, 2], [16, 16], cache=opened.cache), first)
    assert model.shown == 2
    fewer = ask([opened.rgb], model, [2], [16], cache=opened.cache)
    assert model.shown == 2
    assert_same(fewer, [[first[0][0].only(1)]])


def test_a_look_at_another_model_is_refused() -> None:
    opened = look(PHOTOS[0], small_crate())
    with pytest.raises(UsageError, match="opened for another model"):
        look(opened, small_crate(seed=1))


def test_memory_keeps_what_was_traced() -> None:
    """A view without a trace is no answer to a question that wants one, and does not take a traced one's place."""
    model, memory = small_crate(), MemoryCache()
    ask(PHOTOS[:1], model, [1], [16], cache=memory)
    ask(PHOTOS[:1], model, [1], [16], cache=memory, trace=True)
    assert model.shown == 2
    ask(PHOTOS[:1], model, [1, 2], [16], cache=memory)  # one layer is not known: both are looked at again
    assert model.shown == 3
    assert np.isfinite(ask(PHOTOS[:1], model, [1], [16], cache=memory, trace=True)[0][0].zero_fraction).all()
    assert model.shown == 3
