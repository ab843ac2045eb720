"""What a forward pass leaves behind lies on the grid as the image does, and costs no layer too many."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from cratecli.emergence.coding import coding_rate
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.observe import observe
from cratecli.geometry import Grid, PatchClicks
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.unroll import LayerState, WhiteBox

CONFIG = CrateConfig(patch_size=4, width=12, heads=3, depth=3, image_size=16, classes=0)
IMAGES = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model() -> Crate:
    return Crate(CONFIG).eval()


class Counting(WhiteBox):
    """A model that counts the states it was asked for."""

    def __init__(self, model: Crate) -> None:
        super().__init__(
            depth=3, heads=3, patch_size=4, image_size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        )
        self.model, self.asked = model, 0

    def unroll(self, images: Tensor) -> Iterator[LayerState]:
        for state in self.model.unroll(images):
            self.asked += 1
            yield state


def test_layers_count_from_either_end() -> None:
    assert absolute_layers([0, 11, -1, -12], depth=12) == (0, 11, 11, 0)
    for absent in (12, -13):
        with pytest.raises(ValueError, match=f"layer {absent} of a model with 12 layers, 0 to 11"):
            absolute_layers([0, absent], depth=12)


def test_a_view_is_the_state_on_the_grid(model: Crate) -> None:
    with torch.inference_mode():
        states = list(model.unroll(IMAGES))
    views = observe(model, IMAGES, [2, 0])
    assert len(views) == 2
    for image, view in enumerate(views):
        assert view.grid == Grid(rows=3, cols=5)
        for place, layer in enumerate((2, 0)):
            attention = states[layer].class_attention()[image]
            subspaces = states[layer].subspaces[image]
            for row in range(3):
                for col in range(5):
                    patch = row * 5 + col
                    np.testing.assert_array_equal(view.attention[place, :, row, col], attention[:, patch])
                    np.testing.assert_array_equal(
                        view.tokens[place, row, col], subspaces[:, 1 + patch].flatten()
                    )


def test_what_is_seen_mirrored_is_mirrored_back(model: Crate) -> None:
    mirrored = observe(model, IMAGES, [1, 2], mirrored=True)
    plain = observe(model, IMAGES.flip(-1), [1, 2])
    for one, other in zip(mirrored, plain, strict=True):
        np.testing.assert_array_equal(one.attention, other.attention[..., ::-1])
        np.testing.assert_array_equal(one.tokens, other.tokens[:, :, ::-1])
    straight = observe(model, IMAGES, [1, 2])
    assert not np.allclose(mirrored[0].attention, straight[0].attention, atol=1e-4)


def test_no_layer_beyond_the_last_one_asked_for(model: Crate) -> None:
    for layers, states in (([0], 1), ([1, 0], 2), ([2], 3)):
        counting = Counting(model)
        observe(counting, IMAGES, layers)
        assert counting.asked == states


def test_views_do_not_hold_on_to_all_attention(model: Crate) -> None:
    """What a view keeps is its own memory, no window into something larger."""
    view = observe(model, IMAGES, [0, 1])[0]
    for kept in (view.attention, view.tokens):
        owner = kept if kept.base is None else kept.base
        assert owner.size == kept.size


def test_attention_that_is_not_finite_is_an_error(model: Crate) -> None:
    broken = IMAGES.clone()
    broken[1] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        observe(model, broken, [0])


def test_a_view_knows_how_compressed_and_how_sparse_it_is(model: Crate) -> None:
    with torch.inference_mode():
        states = list(model.unroll(IMAGES))
    for image, view in enumerate(observe(model, IMAGES, [2, 0], trace=True)):
        for place, layer in enumerate((2, 0)):
            rate = coding_rate(states[layer].subspaces)[image]
            assert view.coding_rate[place] == pytest.approx(float(rate), rel=1e-6)
            after = states[layer + 1].tokens[image]
            assert view.zero_fraction[place] == pytest.approx(int((after == 0).sum()) / after.numel())


def test_only_a_trace_goes_through_the_last_layer(model: Crate) -> None:
    counting = Counting(model)
    plain = observe(counting, IMAGES, [0, 2])[0]
    assert np.isnan([plain.coding_rate, plain.zero_fraction]).all()
    assert counting.asked == 3
    traced = observe(counting, IMAGES, [0, 2], trace=True)[0]
    assert np.isfinite([traced.coding_rate, traced.zero_fraction]).all()
    assert counting.asked == 3 + 4


def test_views_are_taken_apart_and_put_together(model: Crate) -> None:
    view = observe(model, IMAGES, [0, 1, 2])[0]
    again = View.stack([view.only(2), view.only(0, 1)])
    for part in ("attention", "tokens", "coding_rate", "zero_fraction"):
        np.testing.assert_array_equal(getattr(again, part), getattr(view, part)[[2, 0, 1]])


@pytest.mark.parametrize("mirrored", [False, True])
def test_clicked_patches_are_asked_where_they_are(model: Crate, mirrored: bool) -> None:
    clicks = PatchClicks(on=((0, 0), (2, 3)))
    shown = IMAGES.flip(-1) if mirrored else IMAGES
    with torch.inference_mode():
        state = list(model.unroll(shown))[1]
    full = torch.softmax(state.subspaces @ state.subspaces.mT / 2, dim=-1).numpy()
    for image, view in enumerate(observe(model, IMAGES, [1], mirrored=mirrored, clicks=clicks)):
        rows = [full[image, :, 1 + row * 5 + (4 - col if mirrored else col), 1:] for row, col in clicks.on]
        wanted = np.mean(rows, axis=0).reshape(3, 3, 5)
        asked = view.as_clicked()
        np.testing.assert_allclose(asked.attention[0], wanted[..., ::-1] if mirrored else wanted, atol=1e-6)
        np.testing.assert_array_equal(asked.tokens, view.tokens)


def test_nothing_is_asked_where_nothing_was_clicked(model: Crate) -> None:
    with pytest.raises(ValueError, match="nothing was clicked on"):
        observe(model, IMAGES, [1])[0].as_clicked()
