"""What every model keeps to, whatever its blocks: one forward path, paid for as far as it is walked."""

from collections import Counter
from dataclasses import replace
from itertools import islice, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cratecli.geometry import Grid
from cratecli.model.blocks import MHSA, MSSA
from cratecli.model.config import Attention, CrateConfig, Sparsifier, Stem
from cratecli.model.crate import Crate, Layer, resize_position_embedding
from cratecli.model.unroll import WhiteBox
from cratecli.weights.checkpoint import load_model

SMALL = CrateConfig(patch_size=4, width=12, heads=3, depth=3, image_size=16, classes=5)
LAYERS: list[tuple[Attention, Sparsifier]] = [
    ("mssa", "ista"),
    ("mssa", "soft-ista"),
    ("mssa", "odl"),
    ("mhsa", "mlp"),
]
STEMS: list[Stem] = ["linear", "conv"]
CONFIGS = [
    replace(SMALL, attention=attention, sparsifier=sparsifier, stem=stem)
    for (attention, sparsifier), stem in product(LAYERS, STEMS)
]
WIDE = (2, 3, 24, 40)  # a grid of 6 × 10
DEVICES = [
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS")),
]


@pytest.fixture(params=CONFIGS, ids=lambda config: f"{config.attention}-{config.sparsifier}-{config.stem}")
def model(request: pytest.FixtureRequest) -> Crate:
    return Crate(request.param).fold().requires_grad_(False)


def walk(model: Crate, images: Tensor) -> list[Tensor]:
    """Collect all that a model tells of images."""
    states = list(model.unroll(images))
    told = [
        part for state in states[:-1] for part in (state.tokens, state.subspaces, state.class_attention())
    ]
    return [*told, states[-1].tokens, model(images)]


def test_a_batch_is_its_images_one_by_one(model: Crate) -> None:
    images = torch.randn(WIDE)
    for together, *apart in zip(
        walk(model, images), *(walk(model, one[None]) for one in images), strict=True
    ):
        torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-5)


def test_twice_is_once_and_leaves_the_model_alone(model: Crate) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(WIDE)
    given = images.clone()
    first, second = walk(model, images), walk(model, images)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert torch.equal(images, given)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_unroll_ends_at_forward(model: Crate) -> None:
    images = torch.randn(WIDE)
    *layers, last = model.unroll(images)
    assert [state.index for state in (*layers, last)] == [0, 1, 2, 3]
    assert all(state.grid == Grid(6, 10) for state in (*layers, last))
    assert torch.equal(model.head(model.norm(last.tokens)[:, 0]), model(images))
    assert torch.equal(model.norm(last.tokens), model.forward_features(images))


@pytest.mark.parametrize(("depth", "layer"), [(1, -1), (2, -2), (12, -2)])
def test_the_papers_layer_is_the_penultimate(depth: int, layer: int) -> None:
    assert Crate(replace(SMALL, depth=depth)).paper_layer == layer


def test_a_model_without_unroll_cannot_be_made() -> None:
    class Opaque(WhiteBox):
        """No white box at all."""

    sizes = {"depth": 1, "heads": 1, "patch_size": 8, "image_size": 32}
    with pytest.raises(TypeError, match="Opaque"):
        Opaque(**sizes, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # type: ignore[abstract]


def test_the_last_state_has_no_layer_to_ask(model: Crate) -> None:
    *_, last = model.unroll(torch.randn(WIDE))
    with pytest.raises(ValueError, match="no layer follows"):
        last.class_attention()


def test_class_attention_is_one_row_of_the_softmax(model: Crate) -> None:
    for state in islice(model.unroll(torch.randn(WIDE)), model.depth):
        query, key, _ = state.projection
        full = (query @ key.mT / key.shape[-1] ** 0.5).softmax(dim=-1)
        torch.testing.assert_close(state.class_attention(), full[:, :, 0, 1:], rtol=0, atol=1e-6)
        for patch in (0, 17, 59):
            torch.testing.assert_close(
                state.patch_attention(patch), full[:, :, 1 + patch, 1:], rtol=0, atol=1e-6
            )
        assert torch.equal(state.subspaces, key)


def count_calls(model: Crate) -> Counter[str]:
    calls: Counter[str] = Counter()

    def count(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda *_: calls.update([name]))

    for name, module in model.named_modules():
        count(name, module)
    return calls


def test_who_stops_early_pays_for_nothing_more(model: Crate) -> None:
    calls, state_1 = count_calls(model), islice(model.unroll(torch.randn(WIDE)), 1, None)
    state = next(state_1)
    assert calls["layers.0"] == calls["layers.0.attention.subspaces"] == 1
    assert not [name for name in calls if name.startswith(("layers.1", "layers.2", "norm", "head"))]
    before = calls.copy()
    state.class_attention()
    state.class_attention()
    assert calls - before == Counter({"layers.1.attention.norm": 1, "layers.1.attention.subspaces": 1})


def test_asking_costs_the_forward_pass_nothing(model: Crate) -> None:
    calls = count_calls(model)
    for state in islice(model.unroll(torch.randn(WIDE)), model.depth):
        state.class_attention()
    assert {calls[f"layers.{index}.attention.subspaces"] for index in range(model.depth)} == {1}


class Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note the shape of whatever any operation gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen |= {tuple(leaf.shape) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        return result


@pytest.mark.parametrize("training", [False, True])
def test_no_map_of_all_tokens_by_all_is_ever_held(model: Crate, training: bool) -> None:
    model.train(training).requires_grad_(training)
    images, tokens = torch.randn(WIDE), 61
    with Shapes() as shapes:
        walk(model, images)
    assert (2, 3, 61, 4) in shapes.seen
    assert not [shape for shape in shapes.seen if shape.count(tokens) > 1]
    assert max(torch.Size(shape).numel() for shape in shapes.seen) < 2 * 3 * tokens**2
    with Shapes() as literal:
        query, key, _ = next(model.unroll(images)).projection
        (query @ key.mT).softmax(dim=-1)
    assert (2, 3, tokens, tokens) in literal.seen


@pytest.mark.parametrize("size", [(23, 40), (24, 41), (0, 40), (24, 2)])
def test_a_size_off_the_grid_is_refused(model: Crate, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie on a grid of 4-px patches"):
        next(model.unroll(torch.randn(1, 3, *size)))


def test_position_embedding_at_its_native_size_is_itself() -> None:
    embedding = torch.randn(1, 17, 12)
    assert resize_position_embedding(embedding, Grid(4, 4)) is embedding


@pytest.mark.parametrize("grid", [Grid(6, 10), Grid(10, 6), Grid(2, 3), Grid(3, 8), Grid(1, 1)])
def test_a_row_index_survives_a_resize_to_any_shape(grid: Grid) -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    patches = torch.stack((rows, columns, torch.full((4, 4), 7.0)), dim=-1).reshape(1, 16, 3)
    embedding = torch.cat((torch.full((1, 1, 3), 9.0), patches), dim=1)
    given = embedding.clone()
    resized = resize_position_embedding(embedding, grid)
    assert torch.equal(embedding, given)
    assert torch.equal(resized[:, :1], embedding[:, :1])
    by_row, by_column, constant = resized[0, 1:].reshape(*grid, 3).unbind(-1)
    for index in (by_row, by_column.T):
        torch.testing.assert_close(index, index[:, :1].expand_as(index), rtol=0, atol=1e-5)
        assert (index[:, 0].diff() > 0).all()
        torch.testing.assert_close(index.mean(), torch.tensor(1.5))
    torch.testing.assert_close(constant, torch.full(grid, 7.0))


@pytest.mark.parametrize("size", [(24, 40), (40, 24)])
def test_a_picture_of_rows_gives_a_grid_of_rows(model: Crate, size: tuple[int, int]) -> None:
    """Tokens that depend on the row only come back, by `grid`, equal within a row and unlike between rows."""
    nn.init.zeros_(model.position_embedding)
    rows = torch.randn(1, 3, size[0], 1).expand(-1, -1, -1, size[1])
    for state in islice(model.unroll(rows), model.depth):
        subspaces = torch.unflatten(state.subspaces[0, :, state.prefix :], 1, state.grid)
        attention = torch.unflatten(state.class_attention()[0], 1, state.grid)[..., None]
        for grid in (subspaces, attention):
            torch.testing.assert_close(grid, grid[:, :, :1].expand_as(grid), rtol=0, atol=1e-5)
            assert (grid[:, 1:, 0] - grid[:, :-1, 0]).abs().max() > 1e-3


def test_bfloat16_is_close(model: Crate) -> None:
    images = torch.randn(WIDE)
    exact = [state.class_attention() for state in islice(model.unroll(images), model.depth)]
    model.to(torch.bfloat16)
    states = islice(model.unroll(images.bfloat16()), model.depth)
    for state, expected in zip(states, exact, strict=True):
        assert state.tokens.dtype == torch.bfloat16
        assert state.class_attention().dtype == torch.float32
        torch.testing.assert_close(state.class_attention(), expected, rtol=0.2, atol=0.01)
    assert model(images.bfloat16()).isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
def test_other_devices_are_close(model: Crate, device: str) -> None:
    images = torch.randn(WIDE)
    expected = model(images)
    torch.testing.assert_close(model.to(device)(images.to(device)).cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_compiled_forward_is_the_same(model: Crate) -> None:
    images = torch.randn(WIDE)
    compiled = torch.compile(model)
    torch.testing.assert_close(compiled(images), model(images), rtol=0, atol=1e-5)


def test_a_layer_is_made_of_what_its_config_names() -> None:
    assert isinstance(Layer(SMALL).attention, MSSA)
    assert isinstance(Layer(replace(SMALL, attention="mhsa")).attention, MHSA)


@pytest.mark.parametrize("classes", [0, 7])
def test_reset_classifier(classes: int) -> None:
    model, images = Crate(SMALL), torch.randn(WIDE)
    model.reset_classifier(classes)
    assert model.config == replace(SMALL, classes=classes)
    assert model(images).shape == (2, classes or SMALL.width)
    assert Crate(model.config).state_dict().keys() == model.state_dict().keys()


def test_pre_logits_come_before_the_classifier() -> None:
    model = Crate(replace(SMALL, pre_logits=True))
    features = model.forward_features(torch.randn(WIDE))
    before = model.forward_head(features, pre_logits=True)
    assert torch.equal(before, model.pre_logits(features[:, 0]))
    assert torch.equal(model.head(before), model.forward_head(features))


@pytest.mark.parametrize("grid", [Grid(8, 8), Grid(8, 11), Grid(12, 16), Grid(18, 12)])
def test_a_photo_does_not_see_those_beside_it_to_the_last_bit(grid: Grid) -> None:
    """On a CPU, for the model in the box: an output can be made again alone that was made in a batch."""
    model = load_model("crate-nano", device="cpu")
    size = grid.pixels(model.patch_size)
    images = torch.randn(8, 3, size.height, size.width)

    def seen(some: Tensor) -> list[Tensor]:
        states = islice(model.unroll(some), model.depth)
        return [part for state in states for part in (state.class_attention(), state.subspaces)]

    alone = [torch.cat(parts) for parts in zip(*(seen(image[None]) for image in images), strict=True)]
    for count in (1, 2, 3, 5, 8):
        assert all(map(torch.equal, seen(images[:count]), (part[:count] for part in alone)))
