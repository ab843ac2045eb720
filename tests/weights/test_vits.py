"""Files of timm's ViTs: in timm's layout and in their authors', and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from cratecli.errors import WeightsError
from cratecli.model.vit import TimmViT, UnrolledViT
from cratecli.runs.cache import identity
from cratecli.weights import registry
from cratecli.weights.checkpoint import load_model
from cratecli.weights.registry import load_registry
from cratecli.weights.rows import TIMM, Hub
from tests.support.vits import FAMILIES, family_vit, register_families

TensorsByName = dict[str, Tensor]
Released = Callable[[TensorsByName], TensorsByName]


@pytest.fixture(autouse=True, scope="module")
def known_to_timm() -> None:
    register_families()


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[str, TensorsByName], UnrolledViT]:
    """Save tensors as the file of a family, register it, and load it."""

    def load(family: str, tensors: TensorsByName) -> UnrolledViT:
        file = tmp_path / "vit.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
        row = f'architecture = "timm:tiny_{family.replace("-", "_")}"\nfile = "{file}"\n'
        registry.user_registry().parent.mkdir(parents=True, exist_ok=True)
        registry.user_registry().write_text(f"[models.it]\n{row}")
        model = load_model("it", device="cpu")
        assert isinstance(model, UnrolledViT)
        return model

    return load


Loaded = Callable[[str, TensorsByName], UnrolledViT]


def photos(family: str) -> Tensor:
    side = FAMILIES[family].patch_size
    return torch.randn(1, 3, 3 * side, 5 * side)


def agree(model: UnrolledViT, vit: TimmViT, family: str) -> None:
    images = photos(family)
    torch.testing.assert_close(model(images), vit(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_by_its_registry_name(loaded: Loaded, family: str) -> None:
    """What no file holds, such as the angles of rotary embeddings, is as timm makes it."""
    vit = family_vit(family)
    agree(loaded(family, vit.state_dict()), vit, family)


def dinov2(tensors: TensorsByName) -> TensorsByName:
    return tensors | {"mask_token": torch.zeros(1, 24)}


def dinov2_with_registers(tensors: TensorsByName) -> TensorsByName:
    """There the class token has a position, too: the sum is what counts."""
    given = dinov2(tensors)
    given["register_tokens"] = given.pop("reg_token")
    position = torch.full((1, 1, 24), 0.25)
    given["pos_embed"] = torch.cat((position, given["pos_embed"]), dim=1)
    given["cls_token"] = given["cls_token"] - position
    return given


def dinov3(tensors: TensorsByName) -> TensorsByName:
    """There a bias of keys stands in the file and is masked, here by NaN; tables of the embedding are stored."""
    given = {re.sub(r"gamma_([12])$", r"ls\1.gamma", name): tensor for name, tensor in tensors.items()}
    given["storage_tokens"] = given.pop("reg_token")
    for block in range(2):
        bias = torch.cat((torch.zeros(24), torch.ones(24), torch.zeros(24)))
        given[f"blocks.{block}.attn.qkv.bias"] = bias
        given[f"blocks.{block}.attn.qkv.bias_mask"] = torch.full((72,), torch.nan)
    return given | {"mask_token": torch.zeros(1, 24), "rope_embed.periods": torch.ones(2)}


def deit3(tensors: TensorsByName) -> TensorsByName:
    return {re.sub(r"ls([12])\.gamma", r"gamma_\1", name): tensor for name, tensor in tensors.items()}


def siglip_by_open_clip(tensors: TensorsByName) -> TensorsByName:
    towers = {f"visual.trunk.{name}": tensor for name, tensor in tensors.items()}
    return towers | {"logit_scale": torch.ones(()), "text.token_embedding.weight": torch.ones(3, 3)}


@pytest.mark.parametrize(
    ("family", "released"),
    [
        ("dinov2", dinov2),
        ("dinov2-registers", dinov2_with_registers),
        ("dinov3", dinov3),
        ("deit3", deit3),
        ("siglip", siglip_by_open_clip),
    ],
)
def test_the_layouts_of_the_authors(
    loaded: Loaded, family: str, released: Released, capsys: pytest.CaptureFixture[str]
) -> None:
    vit = family_vit(family)
    agree(loaded(family, released(vit.state_dict())), vit, family)
    assert capsys.readouterr() == ("", "")


def test_biases_that_an_architecture_lacks_are_not_dropped(loaded: Loaded) -> None:
    given = dinov3(family_vit("dinov3").state_dict())
    given["blocks.1.attn.qkv.bias"][-1] = 0.5
    reason = r"unexpected: blocks\.1\.attn\.qkv\.bias; take the one of timm's with qkvb"
    with pytest.raises(WeightsError, match=reason):
        loaded("dinov3", given)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"patch_embed.proj.weight": torch.ones(24, 3, 8, 8)}, r"patch_embed\.proj\.weight \(24, 3, 8, 8\)"),
        ({"pos_embed": torch.ones(1, 10, 24)}, r"pos_embed \(1, 10, 24\)"),
        ({"blocks.1.ls1.gamma": torch.ones(3)}, r"blocks\.1\.ls1\.gamma \(3,\) for \(24,\)"),
    ],
)
def test_no_file_is_resized_to_fit(loaded: Loaded, changed: TensorsByName, reason: str) -> None:
    """timm would bring patches and positions to another size, in silence."""
    given = dinov2(family_vit("dinov2").state_dict())
    with pytest.raises(WeightsError, match=f"does not fit its architecture; misshapen: {reason}"):
        loaded("dinov2", given | changed)


def test_one_file_under_two_architectures_is_two_models(loaded: Loaded) -> None:
    """CLIP's file fits timm's model with its own activation, and the one with GELU: what was seen is not shared."""
    model = loaded("clip", family_vit("clip").state_dict())
    before = identity(model)
    model.architecture = "vit_base_patch16_clip_224"
    assert identity(model) != before


def test_rows_name_the_repositories_that_timm_itself_asks() -> None:
    rows = [row for row in load_registry().checkpoints.values() if row.architecture.startswith(TIMM)]
    assert len(rows) == 27
    for row in rows:
        known = timm.models.get_pretrained_cfg(row.architecture.removeprefix(TIMM))
        assert known is not None
        assert isinstance(row.source, Hub)
        assert (row.source.repository, row.pinned) == (known.hf_hub_id, False)
        licence = {None: known.license, "Apache-2.0": "apache-2.0", "DINOv3 License": "dinov3-license"}
        assert licence[row.licence] == known.license
