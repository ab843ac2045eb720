"""Every question, asked of every family of ViTs."""

import numpy as np
import pytest
import torch

import cratecli
from cratecli.errors import UsageError
from cratecli.model.vit import UnrolledViT
from cratecli.runs.views import Look
from cratecli.tasks.recipes import defaults
from tests.support.photos import photo
from tests.support.vits import family_vit

HEIGHT, WIDTH = 40, 60
PHOTO = photo(HEIGHT, WIDTH)
SIDE = 4  # patches along the short side
GRID = (SIDE, 6)


ASKED = ("dinov2-registers", "dinov3", "clip", "siglip", "mean-pooled")
"""Families that differ in what is before the patches, how places are told, and who asks for the whole photo."""


@pytest.fixture(scope="module", params=ASKED)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def seen(family: str) -> Look:
    """Open one photo before a family's model: the questions share its passes."""
    return cratecli.look(PHOTO, UnrolledViT(family_vit(family)))


def size_of(seen: Look) -> int:
    return SIDE * seen.model.patch_size


def test_masks(seen: Look) -> None:
    for heads in ("auto", "agree"):
        found = cratecli.segment(seen, sizes=[size_of(seen)], heads=heads, refine="none", min_confidence=0)
        assert found.mask.shape == (HEIGHT, WIDTH)
        assert 0 < found.mask.mean() < 1
        assert found.layers == (seen.model.depth - 1,)
        assert found.head_shares.shape == (1, 3)


def test_heads_and_layers_show_the_same_attention(seen: Look) -> None:
    depth = seen.model.depth
    trace = cratecli.layers(seen, size=size_of(seen))
    maps = cratecli.heads(seen, layers=list(range(depth)), sizes=[size_of(seen)])
    assert trace.attention.shape == (depth, *GRID)
    assert maps.attention.shape == (depth, 3, *GRID)
    np.testing.assert_allclose(maps.attention.mean(axis=1), trace.attention, atol=1e-6)
    np.testing.assert_allclose(trace.attention.sum(axis=(1, 2)), 1, rtol=1e-5)
    assert np.isfinite(trace.coding_rate).all()
    assert (trace.coding_rate > 0).all()
    assert trace.mask.any(axis=(1, 2)).all()


def test_the_maps_are_those_of_the_unrolling(seen: Look) -> None:
    """Prefix tokens are left out, and the grid is the photo's, row by row."""
    assert isinstance(seen.model, UnrolledViT)
    images = cratecli.prepare(PHOTO, seen.model, size=size_of(seen))
    maps = cratecli.heads(seen, layers=[-1], sizes=[size_of(seen)]).attention[0]
    with torch.inference_mode():
        *_, asked, last = seen.model.unroll(images)
        expected = asked.class_attention()[0].reshape(3, *GRID).numpy()
    assert (last.grid, last.tokens.shape[1]) == (GRID, last.prefix + GRID[0] * GRID[1])
    np.testing.assert_allclose(
        maps, expected / expected.sum(axis=(1, 2), keepdims=True), atol=1e-6, rtol=1e-4
    )


def test_objects(seen: Look) -> None:
    for by in ("candidates", "maskcut"):
        found = cratecli.objects(seen, by=by, refine="none", sizes=[size_of(seen)], min_score=0, min_best=0)
        assert found
        assert all(each.mask.shape == (HEIGHT, WIDTH) and each.mask.any() for each in found)


def test_parts(seen: Look) -> None:
    (found,) = cratecli.parts([seen], k=3, foreground="none", sizes=[size_of(seen)])
    assert found.labels.shape == (HEIGHT, WIDTH)
    assert set(np.unique(found.labels)) == {1, 2, 3}


def test_a_click_is_asked_of_patches_and_not_of_a_pooling_head(seen: Look) -> None:
    model, asked = seen.model, {"at": [(20, 20)], "sizes": [size_of(seen)], "refine": "none"}
    if model.pooling:
        with pytest.raises(
            UsageError, match=r"layer 2 is a pooling head, .* choose another layer, such as 1"
        ):
            cratecli.segment(seen, **asked)  # type: ignore[arg-type]
        asked["layers"] = [-2]
    found = cratecli.segment(seen, **asked)  # type: ignore[arg-type]
    assert 0 < found.mask.mean() < 1


def test_a_family_is_asked_at_the_size_it_was_trained_at(family: str) -> None:
    model = UnrolledViT(family_vit(family))
    assert defaults(model).segment.sizes == (model.image_size,) * 2
    assert model.image_size % model.patch_size == 0
    assert min(model.std) > 0


def test_any_size_is_brought_to_the_nearest_grid(seen: Look) -> None:
    for patches in (1, 3, 7):
        size = patches * seen.model.patch_size + 3
        found = cratecli.heads(seen, layers=[-1], sizes=[size])
        assert found.attention.shape == (1, 3, patches, round(1.5 * size / seen.model.patch_size))
