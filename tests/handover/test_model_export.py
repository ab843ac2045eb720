"""Exports answer as the model does; one that would not is not written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch

import cratecli
from cratecli.emergence.observe import observe
from cratecli.errors import OutputError, UsageError
from cratecli.geometry import Grid, PatchClicks
from cratecli.handover import model_export
from cratecli.handover.model_export import choose_export, choose_format, export_model, photos
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate, _resized_in_graph, resize_position_embedding
from cratecli.model.graph import GraphModel
from cratecli.model.unroll import WhiteBox
from cratecli.model.vit import UnrolledViT
from cratecli.runs.views import observe as observe_either
from cratecli.weights import fetch
from cratecli.weights.exporting import head_graph, own_graph
from cratecli.weights.graphs import graph_file
from cratecli.weights.mask_heads import load_head
from cratecli.weights.own_heads import own_head_place
from cratecli.weights.registry import load_registry
from tests.support.models import tiny_vit

CONFIG = CrateConfig(patch_size=8, width=24, heads=3, depth=2, image_size=32, classes=5, attention="mhsa")
"""One whose queries are not its subspace tokens."""


@pytest.fixture(autouse=True)
def unchecked() -> None:
    """Leave shapes unchecked: a traced size is no number."""
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.fixture(scope="module")
def model() -> Crate:
    torch.manual_seed(0)
    return Crate(CONFIG).fold().requires_grad_(False)


@pytest.fixture(scope="module")
def graph(model: Crate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the model as an ONNX graph of any size."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    jaxtyping.config.update("jaxtyping_disable", True)
    file = tmp_path_factory.mktemp("export") / "m.onnx"
    done = export_model(model, file, choose_export(model), "onnx")
    assert done.path == file
    assert (done.bytes, done.sha256) == fetch.fingerprint(file)
    assert 0 < done.attention_error <= done.error < 1e-5
    return file


def test_a_graph_answers_as_the_model(model: Crate, graph: Path) -> None:
    exported = cratecli.load_graph(graph)
    assert exported.learned == exported.original
    assert exported.original is not None
    assert exported.original.sha256 == model.weights_digest()
    clicks = PatchClicks(((0, 1), (2, 2)), ((1, 0),))
    for size in ((32, 32), (24, 56), (8, 8)):
        images = torch.randn(3, 3, *size)
        asked = PatchClicks(((0, 0),)) if size == (8, 8) else clicks
        expected = observe(model, images, [1, 0], clicks=asked)
        for one, other in zip(
            expected, observe_either(exported, images.numpy(), [1, 0], clicks=asked), strict=True
        ):
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-6)
            np.testing.assert_allclose(one.tokens, other.tokens, atol=2e-5)
            assert one.clicked is not None
            assert other.clicked is not None
            np.testing.assert_allclose(one.clicked, other.clicked, atol=2e-5)


def test_ten_lines_of_onnxruntime_run_it(model: Crate, graph: Path) -> None:
    """As the README has it: the outputs have their names, and the metadata has what an image needs."""
    session = onnxruntime.InferenceSession(graph)
    names = [each.name for each in session.get_outputs()]
    assert names == [
        *(
            "class_attention_0",
            "subspaces_0",
            "queries_0",
            "class_attention_1",
            "subspaces_1",
            "queries_1",
            "logits",
        )
    ]
    assert "/" not in str(
        session.get_modelmeta().custom_metadata_map
    )  # of this machine there is nothing in it
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 40)).astype(np.float32)
    attention, logits = session.run(["class_attention_1", "logits"], {"images": image})
    with torch.inference_mode():
        assert np.abs(model(torch.from_numpy(image)).numpy() - logits).max() < 1e-5
    assert attention.shape == (1, 3, 20)


def test_a_program_of_torch_answers_as_the_model(model: Crate, tmp_path: Path) -> None:
    done = export_model(model, tmp_path / "m.pt2", choose_export(model, layers=[-1]), "torch")
    assert done.error < 1e-5
    said = {"crate": ""}
    program = torch.export.load(done.path, extra_files=said).module()
    assert '"layers":[1]' in said["crate"]
    images = torch.randn(1, 3, 16, 48)
    with torch.inference_mode():
        attention, _subspaces, _queries, logits = program(images)
        torch.testing.assert_close(logits, model(images))
        torch.testing.assert_close(attention, list(model.unroll(images))[1].class_attention())


def test_what_answers_otherwise_is_not_written(
    model: Crate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.pt2"
    file.write_text("before")
    right = model_export._torch_run

    def off(content: bytes) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
        run = right(content)
        return lambda batch: [each * np.float32(1 + 3e-4) for each in run(batch)]

    monkeypatch.setattr(model_export, "_torch_run", off)
    choice = choose_export(model, layers=[0], sizes=[(32, 32)])
    with pytest.raises(
        OutputError, match=r"not written: it would answer otherwise .* by 3\.0e-04 of the largest"
    ):
        export_model(model, file, choice, "torch")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_exported_is_said(model: Crate) -> None:
    with pytest.raises(UsageError, match="layer 2 of a model with 2 layers"):
        choose_export(model, layers=[2])
    with pytest.raises(UsageError, match="33 × 32 px is no grid of 8-px patches"):
        choose_export(model, sizes=[(33, 32)])
    for path, form, refusal in (
        ("m.pt2", "onnx", "ends as a file of torch, and --format says onnx"),
        ("m.bin", None, r"end it in \.onnx or \.pt2"),
        ("m.bin", "onnx", r"call it m\.bin\.onnx"),
    ):
        with pytest.raises(UsageError, match=refusal):
            choose_format(Path(path), form)  # type: ignore[arg-type]
    assert choose_format(Path("m.ONNX"), None) == "onnx"
    assert choose_format(Path("m"), "torch") == "torch"


@pytest.mark.parametrize("side", [1, 2, 4, 12])
def test_a_position_embedding_is_fitted_in_a_graph_as_torch_does(side: int) -> None:
    """Smaller grids are antialiased along both axes, and the native one stays."""
    embedding = torch.randn(1, 1 + side**2, 6)
    for grid in (Grid(1, 1), Grid(1, 30), Grid(2, 3), Grid(5, 4), Grid(12, 12), Grid(13, 11), Grid(40, 17)):
        expected = resize_position_embedding(embedding, grid)
        torch.testing.assert_close(_resized_in_graph(embedding, side, grid), expected, atol=1e-5, rtol=1e-5)


def test_the_two_photos_differ() -> None:
    one, other = photos()
    assert one.shape == other.shape
    assert np.abs(one.astype(float) - other).mean() > 20


FAMILIES = {
    "nano": replace(CONFIG, attention="mssa"),
    "alpha": replace(CONFIG, attention="mssa", stem="conv", sparsifier="odl"),
    "mae": replace(CONFIG, attention="mssa", stem="conv", classes=0),
    "demo": replace(CONFIG, attention="mssa", sparsifier="soft-ista", pre_logits=True),
    "mlp": replace(CONFIG, sparsifier="mlp"),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "vit"])
def test_every_family_is_exported(family: str, tmp_path: Path) -> None:
    """With any size, one, and several; in both number formats."""
    torch.manual_seed(0)
    vit = family == "vit"
    model: WhiteBox = UnrolledViT(tiny_vit()) if vit else Crate(FAMILIES[family]).fold()
    model.eval().requires_grad_(False)
    for form in ("onnx", "torch"):
        for sizes in (None, [(32, 32)], [(32, 48), (64, 32)]):
            file = tmp_path / f"m.{'onnx' if form == 'onnx' else 'pt2'}"
            done = export_model(model, file, choose_export(model, sizes=sizes), form)
            assert done.error < 1e-5
        half = export_model(model, file, choose_export(model, layers=[1], dtype="float16"), form)
        assert half.error < 0.02
    assert isinstance(cratecli.load_graph(tmp_path / "m.onnx"), GraphModel)


@pytest.mark.slow
def test_the_built_in_graphs_are_what_is_made_now() -> None:
    """Other versions of the exporters may number nodes otherwise: then this says to make it again, or why not to."""
    row = load_registry().find("crate-nano")
    checkpoint = fetch.present(row)
    model = cratecli.load_model("crate-nano", device="cpu")
    assert isinstance(model, Crate)
    assert own_graph(model, checkpoint.read_bytes(), checkpoint.name) == graph_file(row).read_bytes()
    head = load_head(own_head_place(row), model)
    made = head_graph(head.network, head.path.read_bytes(), head.path.name)
    assert made == head.path.with_suffix(".onnx").read_bytes()
