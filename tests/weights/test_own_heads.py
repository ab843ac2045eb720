"""The built-in mask head: both engines draw the same, and its files are those of the registry."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cratecli
from cratecli.emergence.masks import iou
from cratecli.errors import WeightsError
from cratecli.geometry import Grid
from cratecli.model.engine import WeightsId
from cratecli.model.head_inputs import CELL, FINE, VOTE, HeadInputs, MaskHeadConfig
from cratecli.model.unroll import WhiteBox
from cratecli.weights.graphs import ENDING
from cratecli.weights.mask_heads import network_of
from cratecli.weights.own_heads import GraphHead, built_in_heads, load_own_head, own_head, own_head_place
from cratecli.weights.registry import load_registry
from tests.support.models import small_crate

ROW = load_registry().find("crate-nano")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def head() -> GraphHead:
    return load_own_head(ROW)


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    return cratecli.load_model("crate-nano", device="cpu")


def inputs_of(config: MaskHeadConfig, grid: Grid) -> HeadInputs:
    """Make what a head reads on a grid, of noise."""
    random = np.random.default_rng(0)
    channels, maps = len(config.layers) * config.token_width, len(config.layers) * config.heads
    widths = (3, 1, channels, len(config.coarse) * maps, channels, maps)
    scales = (CELL, VOTE, 1, 1, FINE, FINE)
    arrays = [
        random.normal(size=(width, each * grid.rows, each * grid.cols)).astype(np.float32)
        for width, each in zip(widths, scales, strict=True)
    ]
    return HeadInputs(*arrays)


@pytest.mark.parametrize("grid", [(4, 4), (4, 16), (16, 4), (5, 7), (12, 12), (15, 60), (60, 15), (60, 60)])
def test_engines_draw_alike_on_every_grid(head: GraphHead, grid: tuple[int, int]) -> None:
    inputs = inputs_of(head.config, Grid(*grid))
    drawn, expected = head.draw(inputs), network_of(head.file).draw(inputs)
    assert drawn.shape == expected.shape == (4 * grid[0], 4 * grid[1])
    assert drawn.dtype == np.float32
    assert np.abs(drawn - expected).max() < 1e-4
    assert np.ptp(expected) > 0.1


@pytest.mark.usefixtures("shipped_sizes")
@pytest.mark.parametrize("name", ["raccoon", "chelsea"])
def test_engines_draw_alike_on_photos(model: WhiteBox, name: str) -> None:
    photo, graph = EXAMPLES / f"{name}.jpg", cratecli.load_graph("crate-nano")
    found, expected = cratecli.segment(photo, graph), cratecli.segment(photo, model)
    assert found.head == expected.head == WeightsId("built-in", str(ROW.head_sha256))
    assert np.abs(found.soft - expected.soft).max() < 1e-4
    assert iou(found.mask, expected.mask) > 0.999
    without = cratecli.segment(photo, graph, head="none")
    assert without.head is None
    assert np.abs(found.soft - without.soft).max() > 0.1


def test_a_head_is_found_by_its_models_weights(model: WhiteBox) -> None:
    own = own_head(model)
    assert own is not None
    assert own is own_head(cratecli.load_graph("crate-nano"))  # read once
    assert own.config.model_sha256 == ROW.sha256
    assert built_in_heads() == {own.sha256}
    assert own_head(small_crate()) is None
    named = small_crate()
    named.weights = WeightsId("crate-nano", "1" * 64)
    assert own_head(named) is None


def test_its_files_are_those_of_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = own_head_place(ROW)
    for path in (place, place.with_suffix(ENDING)):
        shutil.copy(path, tmp_path / path.name)
    monkeypatch.setattr("cratecli.weights.fetch.home", lambda _: tmp_path / "model.safetensors")
    load_own_head(ROW).prepare()
    with pytest.raises(WeightsError, match=r"head\.safetensors has sha256 .*; install cratecli again"):
        load_own_head(replace(ROW, head_sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"head\.onnx has sha256 .*; install cratecli again"):
        load_own_head(replace(ROW, head_graph_sha256="0" * 64)).prepare()
    (tmp_path / "head.onnx").unlink()
    with pytest.raises(WeightsError, match=r"head\.onnx: cannot be read: .*; install cratecli again"):
        load_own_head(ROW).prepare()
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"head\.safetensors: no such file"):
        load_own_head(ROW)
