"""Pages of ViTs: the attention of the whole photo, where no class token asks."""

import json
import re
import zlib
from base64 import b64decode
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cratecli
from cratecli.explorer.run import choose_explore_recipe, explore_run
from cratecli.model.vit import UnrolledViT
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import Inputs
from cratecli.runs.outputs import Outputs, plan_run
from tests.support.photos import photo
from tests.support.vits import family_vit


def page_of(model: UnrolledViT, folder: Path, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Explore one photo, and give the page's facts and the photo's data."""
    with chdir(folder):
        Image.fromarray(photo(40, 60)).save("photo.png")
        plan = plan_run(Inputs(("photo.png",)), Outputs("page.html", "explore", "one", "html"))
        list(explore_run(plan, Desk(model), choose_explore_recipe(model, size=size)))
        page = Path("page.html").read_text("utf-8")
    contents, data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S)
    return json.loads(contents), json.loads(data)


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(b64decode(packed["data"])), np.uint8).reshape(2, -1)
    scale = np.array(packed["scale"])
    numbers = planes.T.copy().view("<i2").reshape(*scale.shape, -1)
    return np.asarray(numbers * scale[:, :, None])


@pytest.mark.parametrize("family", ["siglip", "mean-pooled", "dinov3"])
def test_a_page_knows_who_asks_for_the_whole_photo(tmp_path: Path, family: str) -> None:
    model = UnrolledViT(family_vit(family))
    size = 4 * model.patch_size
    facts, data = page_of(model, tmp_path, size)
    assert (facts["classToken"], facts["pooling"]) == (model.has_class_token, model.pooling)
    assert (data["prefix"], data["layers"]) == (model.vit.num_prefix_tokens, list(range(model.depth)))
    if model.has_class_token:
        assert data["whole"] is None
        return
    images = cratecli.prepare(photo(40, 60), model, size=size)
    with torch.inference_mode():
        *states, _ = model.unroll(images)
        expected = np.stack([state.class_attention()[0].numpy() for state in states])
    np.testing.assert_allclose(np.exp(unpacked(data["whole"])), expected, rtol=3e-3)
