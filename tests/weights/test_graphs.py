"""The built-in model's graph answers as the model does; what is no graph of ours, or damaged, is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cratecli
from cratecli.emergence.features import View
from cratecli.emergence.masks import iou
from cratecli.emergence.observe import observe
from cratecli.emergence.observe_graph import observe_graph
from cratecli.errors import InputError, UsageError, WeightsError
from cratecli.geometry import PatchClicks
from cratecli.model.engine import Place, WeightsId
from cratecli.model.graph import GraphModel
from cratecli.model.unroll import WhiteBox
from cratecli.runs.cache import identity
from cratecli.weights import graphs, loading
from cratecli.weights.registry import load_registry
from tests.support.photos import photo

ROW = load_registry().find("crate-nano")


@pytest.fixture(scope="module")
def graph() -> GraphModel:
    return cratecli.load_graph("crate-nano")


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    return cratecli.load_model("crate-nano", device="cpu")


def alike(one: View, other: View) -> bool:
    """Tell whether two views differ by rounding alone."""
    pairs = [(one.attention, other.attention), (one.tokens, other.tokens)]
    pairs += [(one.clicked, other.clicked)] if one.clicked is not None and other.clicked is not None else []
    return all(a.shape == b.shape and np.abs(a - b).max() < 1e-5 * np.abs(a).max() for a, b in pairs)


def test_it_tells_of_itself_what_the_model_tells(graph: GraphModel, model: WhiteBox) -> None:
    for name in ("depth", "heads", "patch_size", "image_size", "mean", "std", "weights", "labels"):
        assert getattr(graph, name) == getattr(model, name), name
    for name in ("least_confidence", "least_agreement", "paper_layer", "learned"):
        assert getattr(graph, name) == getattr(model, name), name
    assert identity(graph) == identity(model)  # a part vocabulary of one is the other's
    assert graph.place == Place("onnx", "cpu", "float32")
    assert graph.place.numbers != model.place.numbers  # features of one are not the other's
    assert cratecli.defaults(graph) == cratecli.defaults(model)


@pytest.mark.parametrize("size", [(96, 96), (64, 104), (8, 8), (8, 40), (112, 136)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_any_size_and_batch_is_seen_as_by_the_model(
    graph: GraphModel, model: WhiteBox, size: tuple[int, int], mirrored: bool
) -> None:
    """At the native grid, and fitted to smaller, larger and mixed ones."""
    images = torch.randn(2, 3, *size)
    clicks = PatchClicks(((0, 0),), ((size[0] // 8 - 1, 0),))
    expected = observe(model, images, [7, 2], mirrored=mirrored, clicks=clicks)
    for count in (1, 2):
        seen = observe_graph(graph, images[:count].numpy(), [7, 2], mirrored=mirrored, clicks=clicks)
        assert len(seen) == count
        assert all(map(alike, expected, seen))
        assert all(np.isnan(view.coding_rate).all() for view in seen)


def test_a_clicked_patch_is_no_matter_of_the_class_token(graph: GraphModel) -> None:
    """Its attention, with the prefix left out, sums to less than one."""
    (state,) = graph.states(np.zeros((1, 3, 24, 32), np.float32), [3], queries=True)
    rows = np.stack([state.patch_attention(patch) for patch in range(12)])
    assert rows.shape == (12, 1, 6, 12)
    assert (rows.sum(-1) < 1).all()
    assert (rows > 0).all()
    (silent,) = graph.states(np.zeros((1, 3, 24, 32), np.float32), [3])
    with pytest.raises(ValueError, match="not asked"):
        silent.patch_attention(0)


def test_questions_in_python_take_a_graph(graph: GraphModel, model: WhiteBox) -> None:
    shown = photo(36, 48)
    look = cratecli.look(shown, graph)
    mask = cratecli.segment(look, sizes=[32]).mask
    assert iou(mask, cratecli.segment(shown, model, sizes=[32]).mask) >= 0.999
    assert mask.any()
    many = list(cratecli.segment_many([shown] * 3, graph, sizes=[32], batch_size=2))
    assert [(each.mask == mask).all() for each in many] == [True] * 3
    theirs = cratecli.heads(shown, model, sizes=[32]).attention
    np.testing.assert_allclose(cratecli.heads(look, sizes=[32]).attention, theirs, atol=1e-6)
    assert len(cratecli.objects(look, sizes=[32], min_best=0.0)) > 0
    with pytest.raises(UsageError, match="crate-nano is an ONNX graph, which holds no trace"):
        cratecli.layers(look)


def test_what_a_graph_lacks_is_refused(graph: GraphModel) -> None:
    images = np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(UsageError, match="crate-nano is an ONNX graph, which holds no trace"):
        observe_graph(graph, images, [0], trace=True)
    some = GraphModel(
        graph.facts.model_copy(update={"layers": [1, 2], "sizes": [[24, 24]]}),
        graph._run,
        WeightsId("f.onnx", "0"),
    )
    with pytest.raises(UsageError, match="gives layers 1,2, and layer 0 is asked for"):
        observe_graph(some, images, [2, 0])
    with pytest.raises(InputError, match="takes images of 24 × 24 px, and this one is shown at 16 × 16"):
        observe_graph(some, images, [2])
    with pytest.raises(FloatingPointError):
        observe_graph(graph, np.full_like(images, np.nan), [0])
    with pytest.raises(WeightsError, match=r"model\.onnx: cannot be run: .*images"):
        graph._run(["logits"], images[:, :2])
    with pytest.raises(UsageError, match="says of itself cannot be"):
        GraphModel(graph.facts.model_copy(update={"layers": [8]}), graph._run, WeightsId("f.onnx", "0"))


def test_its_files_are_those_of_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = graphs.graph_file(ROW)
    for name in (place.name, "model.safetensors"):
        shutil.copy(place.with_name(name), tmp_path / name)
    monkeypatch.setattr("cratecli.weights.fetch.home", lambda _: tmp_path / "model.safetensors")
    assert graphs.load_own_graph(ROW).named == "crate-nano"
    for name in ("model.safetensors", place.name):
        content = bytearray((tmp_path / name).read_bytes())
        content[-1] ^= 1
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} has sha256 .*; install cratecli again"):
            graphs.load_own_graph(ROW)
    (tmp_path / place.name).unlink()
    with pytest.raises(WeightsError, match=r"model\.onnx: cannot be read: .*; install cratecli again"):
        graphs.load_own_graph(ROW)
    with pytest.raises(UsageError, match="crate-nano has no ONNX graph in the package: crate models export"):
        graphs.load_own_graph(replace(ROW, graph_sha256=None))


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\3\4", b"\x08\x0a" * 200])
def test_what_is_no_graph_is_refused_in_a_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.ONNX"
    file.write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"broken\.ONNX: (cannot be read as an ONNX graph|no graph of ours)"
    ):
        cratecli.load_graph(file)


def test_a_graph_whose_parts_are_in_other_files_is_refused(tmp_path: Path) -> None:
    """No file beside one that is named is read."""
    place = graphs.graph_file(ROW)
    for name in (place.name, "model.safetensors"):
        shutil.copy(place.with_name(name), tmp_path / name)
    with pytest.raises(WeightsError, match="cannot be read as an ONNX graph"):
        cratecli.load_graph(tmp_path / place.name)


def test_a_graph_of_others_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["images"], ["logits"])
    shape = ["b", 3, "h", "w"]
    images, logits = value("images", 1, shape), value("logits", 1, shape)
    whole = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [images], [logits]), ir_version=9)
    file = tmp_path / "other.onnx"
    facts = json.loads(cratecli.load_graph().facts.model_dump_json())
    for said, refusal in (
        (None, "no graph of ours: `crate models export` makes one"),
        ("[]", "what it says of itself is not ours"),
        (json.dumps(facts | {"depth": 0}), "what it says of itself is not ours: depth is 0"),
        (json.dumps(facts), "its inputs and outputs are not what it says of itself"),
    ):
        onnx.helper.set_model_props(whole, {} if said is None else {"crate": said})
        file.write_bytes(whole.SerializeToString())
        with pytest.raises(WeightsError, match=f"other.onnx: {refusal}"):
            cratecli.load_graph(file)


def test_which_engine_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading, "gpu_here", lambda: False)

    def engine(name: str | None = None, **asked: str) -> str:
        return loading.load(name, **asked).place.engine  # type: ignore[arg-type]

    assert engine() == engine(device="cpu", dtype="float32") == engine(engine="onnx") == "onnx"
    assert engine(engine="torch") == engine(dtype="bfloat16") == "torch"
    for asked in ({"device": "cuda"}, {"dtype": "bfloat16"}):
        with pytest.raises(UsageError, match="--engine onnx runs on the CPU, in float32"):
            engine(engine="onnx", **asked)
    monkeypatch.setattr(loading, "gpu_here", lambda: True)
    assert engine(device="cpu") == "onnx"
    assert engine() == "torch"
    monkeypatch.setattr(loading, "gpu_here", lambda: False)
    monkeypatch.setattr(graphs, "find_spec", lambda _: None)
    assert engine() == "torch"
    file = tmp_path / "m.onnx"
    file.touch()
    for named, refusal in (
        ({"engine": "torch"}, "which torch does not run: leave --engine out"),
        ({"device": "mps"}, "runs on the CPU: not on mps"),
        ({"dtype": "float32"}, "leave --dtype out"),
    ):
        with pytest.raises(UsageError, match=refusal):
            engine(str(file), **named)
    with pytest.raises(UsageError, match="is an ONNX graph, and this needs the model itself"):
        cratecli.load_model(file)
