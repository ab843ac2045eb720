"""The projections of which any token's attention follows: the model's own, for MSSA and for a ViT."""

import numpy as np
import pytest
import torch

from cratecli.emergence.projections import Projections, project
from cratecli.geometry import Grid
from cratecli.model.unroll import WhiteBox
from cratecli.model.vit import UnrolledViT
from tests.support.models import small_crate, tiny_vit

IMAGES = torch.linspace(-1, 1, 3 * 32 * 24).sin().reshape(1, 3, 32, 24) * 2


def test_attention_of_hand_made_tokens() -> None:
    """Two patches after the class token: one like it, one at right angles; scores are 1, 1 and 0."""
    key = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32).reshape(1, 1, 3, 2) * 2**0.25
    found = Projections(None, key, Grid(1, 2), 1).attention(0)
    total = 2 * np.e + 1
    np.testing.assert_allclose(found[0, 0], [[np.e / total, 1 / total]], rtol=1e-6)


def models() -> list[WhiteBox]:
    return [small_crate(), UnrolledViT(tiny_vit())]


@pytest.mark.parametrize("model", models(), ids=["crate", "vit"])
def test_the_class_token_asks_as_the_model_does(model: WhiteBox) -> None:
    projections = project(model, IMAGES, range(model.depth))
    with torch.inference_mode():
        for layer, state in enumerate(list(model.unroll(IMAGES))[:-1]):
            expected = state.class_attention()[0].numpy().reshape(-1, *projections.grid)
            np.testing.assert_allclose(projections.attention(0)[layer], expected, rtol=1e-4, atol=1e-7)
    assert (projections.query is None) == isinstance(model, type(small_crate()))


@pytest.mark.parametrize("model", models(), ids=["crate", "vit"])
def test_any_patch_asks_by_the_equation(model: WhiteBox) -> None:
    projections = project(model, IMAGES, [1])
    patch = projections.grid.patches // 2
    with torch.inference_mode():
        state = list(model.unroll(IMAGES))[1]
        query, key, _ = state.projection
        maps = ((query @ key.mT) / key.shape[-1] ** 0.5).softmax(dim=-1)
    expected = maps[0, :, state.prefix + patch, state.prefix :].numpy()
    found = projections.attention(projections.prefix + patch)[0].reshape(len(expected), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_the_pass_stops_at_the_last_layer_asked() -> None:
    model = small_crate()
    assert len(project(model, IMAGES, [0]).key) == 1
    with torch.no_grad():
        for parameter in model.layers[1].parameters():
            parameter.fill_(torch.nan)
    assert np.isfinite(project(model, IMAGES, [0, 1][:1]).key).all()
    with pytest.raises(FloatingPointError):
        project(model, IMAGES, [2])
