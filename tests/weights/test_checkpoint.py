"""Checkpoints: every wrapping and layout in, one strict model out; all else refused in one line."""

import json
import zipfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cratecli.errors import WeightsError
from cratecli.model.blocks import ISTA
from cratecli.model.config import Attention, CrateConfig, Sparsifier
from cratecli.model.crate import Crate
from cratecli.weights.checkpoint import load_model, read_config, read_tensors
from tests.support.checkpoints import released

SMALL = CrateConfig(patch_size=4, width=12, heads=3, depth=2, image_size=16, classes=5)


def loaded(file: Path | str, **options: Any) -> Crate:
    model = load_model(file, device="cpu", **options)
    assert isinstance(model, Crate)
    return model


@pytest.fixture
def model() -> Crate:
    model = Crate(SMALL).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 16, 24)


def write_bare(tensors: dict[str, Tensor], file: Path) -> None:
    torch.save(tensors, file)


def write_model(tensors: dict[str, Tensor], file: Path) -> None:
    """Write as MAE's training script does, its parsed options beside."""
    torch.save({"model": tensors, "epoch": 3, "args": Namespace(blr=1e-3), "optimizer": {"state": {}}}, file)


def write_ddp(tensors: dict[str, Tensor], file: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"epoch": 3, "arch": "vit", "state_dict": wrapped, "best_acc1": torch.tensor(0.5)}, file)


def write_parameters(tensors: dict[str, Tensor], file: Path) -> None:
    torch.save({name: nn.Parameter(tensor) for name, tensor in tensors.items()}, file)


def write_legacy(tensors: dict[str, Tensor], file: Path) -> None:
    torch.save(tensors, file, _use_new_zipfile_serialization=False)


def write_safetensors(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file)


def write_npz(tensors: dict[str, Tensor], file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, **{name: tensor.numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]


WRITERS = [
    write_bare,
    write_model,
    write_ddp,
    write_parameters,
    write_legacy,
    write_safetensors,
    write_npz,
]


@pytest.mark.parametrize("write", WRITERS)
def test_every_wrapping_whatever_the_file_is_called(
    tmp_path: Path, model: Crate, images: Tensor, write: Callable[[dict[str, Tensor], Path], None]
) -> None:
    file = tmp_path / "weights.jpg"
    write(released(model), file)
    got = loaded(file, heads=3)
    assert got.config == SMALL
    assert got.weights is not None
    assert (got.weights.name, got.weights.sha256) == (str(file), sha256(file.read_bytes()).hexdigest())
    assert not got.training
    assert not any(parameter.requires_grad for parameter in got.parameters())
    torch.testing.assert_close(got(images), model(images))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("crate/checkpoint_ddp.pth.tar", {}),
        ("crate_demo/checkpoint.pth", {"depth": 3, "pre_logits": True}),
        (
            "crate_alpha/weights.safetensors",
            {"sparsifier": "odl", "stem": "conv", "output_bias": False, "layer_norm_eps": 1e-6},
        ),
        (
            "crate_alpha_jax/weights_jax.npz",
            {
                "sparsifier": "odl",
                "stem": "conv",
                "output_bias": False,
                "layer_norm_eps": 1e-6,
                "final_norm_eps": 1e-6,
            },
        ),
        (
            "crate_mae/weights.safetensors",
            {"stem": "conv", "classes": 0, "sparsity_weight": 0.5, "final_norm_eps": 1e-6},
        ),
    ],
)
def test_every_layout_tells_its_config(golden: Path, file: str, expected: dict[str, Any]) -> None:
    base = CrateConfig(patch_size=8, width=48, heads=3, depth=4, image_size=64, classes=11)
    assert read_config(golden / file, heads=3) == replace(base, **expected)
    got = loaded(golden / file, heads=3)
    assert all(parameter.dtype == torch.float32 for parameter in got.parameters())
    assert all(parameter.is_contiguous() for parameter in got.parameters())


@pytest.mark.parametrize(("attention", "sparsifier"), [("mhsa", "ista"), ("mssa", "mlp"), ("mhsa", "mlp")])
def test_ablations_round_trip(
    tmp_path: Path, images: Tensor, attention: Attention, sparsifier: Sparsifier
) -> None:
    model = Crate(replace(SMALL, attention=attention, sparsifier=sparsifier)).eval().requires_grad_(False)
    write_bare(released(model), tmp_path / "a.pth")
    got = loaded(tmp_path / "a.pth", heads=3)
    assert got.config == model.config
    torch.testing.assert_close(got(images), model(images))


def test_a_config_stored_inside_is_believed(tmp_path: Path, model: Crate, images: Tensor) -> None:
    config = replace(SMALL, sparsifier="soft-ista", sparsity_weight=0.3, mean=(0.5, 0.5, 0.5))
    file = tmp_path / "soft.safetensors"
    save_file(released(model), file, {"config": json.dumps(config.to_dict())})
    got = loaded(file)
    assert got.config == read_config(file) == config
    twin = Crate(config).eval()
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(got(images), twin(images))
    assert loaded(file, heads=6, step_size=0.2).config == replace(config, heads=6, step_size=0.2)


ABSURD: list[dict[str, Any]] = [
    *({name: 10**9} for name in ("width", "depth", "classes", "patch_size", "image_size")),
    *({name: nan} for name in ("step_size", "sparsity_weight", "layer_norm_eps", "final_norm_eps")),
    {"step_size": inf},
    {"sparsity_weight": -1.0},
    {"std": [1.0, 1.0, 0.0]},
]


@pytest.mark.parametrize("absurd", ABSURD)
def test_an_absurd_config_stored_inside_is_refused_at_once(
    tmp_path: Path, model: Crate, absurd: dict[str, Any]
) -> None:
    file = tmp_path / "m.safetensors"
    save_file(released(model), file, {"config": json.dumps(SMALL.to_dict() | absurd)})
    with pytest.raises(
        WeightsError, match=rf"{file}: cannot be read as a checkpoint: {next(iter(absurd))}(\[2\])? is "
    ):
        loaded(file)


def test_the_largest_config_stored_inside_is_built_of_nothing(tmp_path: Path, model: Crate) -> None:
    """It costs seconds at most, and no memory: its tensors are not there."""
    large = replace(SMALL, depth=1024, width=65_536, heads=1, classes=1_000_000, image_size=65_536)
    file = tmp_path / "m.safetensors"
    save_file(released(model), file, {"config": json.dumps(large.to_dict())})
    with pytest.raises(
        WeightsError, match=r"does not fit its architecture; missing: .* and .* more; misshapen"
    ):
        loaded(file)


@pytest.mark.parametrize("stored", ["[]", "3", "{", '{"patch_size": 4}', '{"colour": 1}', "[" * 9999])
def test_a_broken_config_stored_inside_is_refused(tmp_path: Path, model: Crate, stored: str) -> None:
    file = tmp_path / "m.safetensors"
    save_file(released(model), file, {"config": stored})
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        loaded(file)


def test_what_the_caller_says_takes_effect(tmp_path: Path, model: Crate, images: Tensor) -> None:
    file = tmp_path / "m.pth"
    write_bare(released(model), file)
    got = loaded(file, heads=2, step_size=0.2, sparsity_weight=5.0)
    assert got.config == replace(SMALL, heads=2, step_size=0.2, sparsity_weight=5.0)
    twin = Crate(got.config).eval()
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(got(images), twin(images))
    assert not torch.allclose(got(images), model(images))


def test_heads_told_by_nobody(tmp_path: Path, model: Crate) -> None:
    file = tmp_path / "m.pth"
    write_bare(released(model), file)
    for read in (load_model, read_config):
        with pytest.raises(WeightsError, match=rf"crate models add {file} --as NAME --heads K"):
            read(file)
    with pytest.raises(WeightsError, match="width 12 is not a multiple of 5 heads"):
        load_model(file, heads=5, device="cpu")


def test_float16_becomes_float32(tmp_path: Path, model: Crate) -> None:
    save_file(
        {name: tensor.half() for name, tensor in released(model).items()}, tmp_path / "half.safetensors"
    )
    got = loaded(tmp_path / "half.safetensors", heads=3)
    for name, tensor in got.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().float())


def test_bfloat16_is_folded_in_float32(tmp_path: Path, model: Crate) -> None:
    write_bare(released(model), tmp_path / "m.pth")
    got = loaded(tmp_path / "m.pth", heads=3, dtype="bfloat16")
    for ours, theirs in zip(got.modules(), model.modules(), strict=True):
        if isinstance(ours, ISTA) and isinstance(theirs, ISTA):
            assert ours.folded is not None
            assert torch.equal(ours.folded, theirs.gradient_matrix().bfloat16())


def test_every_fault_of_a_state_dict_is_listed(tmp_path: Path, model: Crate) -> None:
    tensors = released(model)
    del tensors["cls_token"]
    tensors["mlp_head.1.bias"] = torch.zeros(7)
    tensors["transformer.layers.1.1.fn.net.0.weight"] = torch.zeros(2)
    tensors["pos_embedding"] = tensors["pos_embedding"].clone()
    tensors["pos_embedding"][0, 3, 3] = torch.nan
    tensors["mlp_head.0.bias"] = torch.zeros(12, dtype=torch.int64)
    file = tmp_path / "m.pth"
    write_bare(tensors, file)
    with pytest.raises(WeightsError) as caught:
        loaded(file, heads=3)
    assert str(caught.value) == (
        f"{file}: does not fit its architecture; missing: class_token; "
        "unexpected: layers.1.sparsifier.up.weight; misshapen: head.bias (7,) for (5,); "
        "not finite: norm.bias, position_embedding"
    )


def test_a_long_list_is_cut(tmp_path: Path, model: Crate) -> None:
    write_bare({"long" * 999: torch.zeros(1)}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"its tensors are (long){24}lon…$"):
        loaded(tmp_path / "m.pth", heads=3)
    tensors = released(model) | {f"transformer.layers.9.1.fn.x{i}": torch.zeros(1) for i in range(9)}
    write_bare(tensors, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"unexpected in the CRATE layout: .*x0, .*x5 and 3 more$"):
        loaded(tmp_path / "m.pth", heads=3)


def test_a_layer_number_without_end_costs_nothing(tmp_path: Path, model: Crate) -> None:
    tensors = released(model) | {f"transformer.layers.{'9' * 5000}.1.fn.weight": torch.zeros(1)}
    write_bare(tensors, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"missing: .*; unexpected: "):
        loaded(tmp_path / "m.pth", heads=3)


@pytest.mark.parametrize("name", ["embedding", "head", "Transformer/encoderblock_0/OvercompleteISTABlock_0"])
def test_a_tensor_of_other_dimensions_than_its_layout(golden: Path, tmp_path: Path, name: str) -> None:
    with np.load(golden / "crate_alpha_jax/weights_jax.npz") as arrays:
        tensors = {each: torch.from_numpy(arrays[each]) for each in arrays.files}
    renamed = next(each for each in tensors if each.startswith(f"params/{name}/"))
    for shape in ((), (1,), (1, 1, 1, 1, 1)):
        write_npz(tensors | {renamed: torch.zeros(shape)}, tmp_path / "m.npz")
        with pytest.raises(WeightsError, match=r"m\.npz: "):
            loaded(tmp_path / "m.npz", heads=3)


def test_numbers_that_torch_cannot_read_are_refused(tmp_path: Path, model: Crate) -> None:
    odd = torch.zeros(6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    write_bare(released(model) | {"mlp_head.0.bias": odd}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"misshapen: norm\.bias .* not finite: norm\.bias"):
        loaded(tmp_path / "m.pth", heads=3)


@pytest.mark.parametrize("gone", ["pos_embedding", "transformer.layers.0.0.fn.qkv.weight"])
def test_a_file_too_incomplete_to_tell_its_shapes(tmp_path: Path, model: Crate, gone: str) -> None:
    tensors = released(model)
    del tensors[gone]
    write_bare(tensors, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match="incomplete: the model's sizes cannot be read off its tensors"):
        loaded(tmp_path / "m.pth", heads=3)


def test_somebody_elses_model_is_no_crate(tmp_path: Path) -> None:
    write_bare(nn.Linear(2, 2).state_dict(), tmp_path / "m.pth")
    with pytest.raises(WeightsError, match="not a CRATE checkpoint; its tensors are bias, weight"):
        loaded(tmp_path / "m.pth", heads=3)


def test_exports_are_no_checkpoints(tmp_path: Path) -> None:
    """What `crate models export` writes is refused by its name, not as a broken file."""
    (tmp_path / "m.onnx").write_bytes(b"graph")
    with pytest.raises(WeightsError, match="is an ONNX graph, and this needs the model"):
        read_tensors(tmp_path / "m.onnx")
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/archive_format", "pt2")
    with pytest.raises(WeightsError, match=r"is a program of torch\.export: -m takes its model"):
        read_tensors(tmp_path / "m.pt2")
