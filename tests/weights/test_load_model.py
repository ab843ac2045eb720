"""Models by their registry names: CRATEs, ViTs, and names that lead nowhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from cratecli.errors import DeviceError, UsageError, WeightsError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.engine import Model
from cratecli.model.unroll import WhiteBox
from cratecli.model.vit import UnrolledViT
from cratecli.weights import fetch, registry
from cratecli.weights.checkpoint import load_model
from cratecli.weights.loading import cached_model
from cratecli.weights.store import store_model


def test_the_built_in_model_by_name_and_by_default() -> None:
    row = registry.load_registry().find(registry.BUILT_IN)
    for name in ("crate-nano", None):
        model = load_model(name, device="cpu")
        assert isinstance(model, Crate)
        assert model.config == row.config
        assert model.weights is not None
        assert (model.weights.name, model.weights.sha256) == ("crate-nano", row.sha256)
    stored = load_file(fetch.require(row)[0])
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert model(torch.zeros(1, 3, 64, 96)).isfinite().all()


def test_what_the_registry_says_is_replaced_by_the_caller() -> None:
    model = load_model("crate-nano", sparsity_weight=0.4, device="cpu")
    assert isinstance(model, Crate)
    assert model.config.sparsity_weight == 0.4
    assert model.config.step_size == 0.1


@pytest.mark.parametrize("name", ["crate-nono", "", "no/such/file.pth", "x" * 300, "nul\0"])
def test_an_unknown_name_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="no model"):
        load_model(name)


def test_what_was_measured_of_weights_comes_with_their_name_alone() -> None:
    row = registry.load_registry().find(registry.BUILT_IN)
    measured = row.least_confidence, row.least_agreement
    unknown, known = load_model(fetch.require(row)[0], device="cpu"), load_model(device="cpu")
    assert (known.least_confidence, known.least_agreement) == measured
    assert unknown.least_confidence == WhiteBox.least_confidence > 0
    assert unknown.least_agreement == WhiteBox.least_agreement > 0


def test_a_known_name_without_its_file_says_how_to_get_it() -> None:
    with pytest.raises(WeightsError, match="crate models pull crate-alpha-b16-in1k"):
        load_model("crate-alpha-b16-in1k", device="cpu")


def test_a_device_is_checked_before_any_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="device 'tpu'"):
        load_model("no-such-model", device="tpu")
    with pytest.raises(DeviceError, match="cuda is not available"):
        load_model("no-such-model", device="cuda")


def register(row: str) -> None:
    registry.user_registry().parent.mkdir(parents=True, exist_ok=True)
    registry.user_registry().write_text(row)


def test_a_vit_by_its_registry_name(tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit.r160_in1k").state_dict(), file)
    register(f'[models.vit]\narchitecture = "timm:test_vit.r160_in1k"\nfile = "{file}"\n')
    model = load_model("vit", device="cpu")
    assert isinstance(model, UnrolledViT)
    images = torch.randn(1, 3, 160, 96)
    torch.testing.assert_close(model(images), model.vit(images))
    with pytest.raises(UsageError, match="heads, η and λ cannot be chosen"):
        load_model("vit", heads=3, device="cpu")


def test_a_timm_name_that_is_no_vit_is_a_usage_error(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    register(f'[models.net]\narchitecture = "timm:resnet18"\nfile = "{tmp_path}/a.safetensors"\n')
    with pytest.raises(UsageError, match="net: resnet18 of timm is no ViT that can be unrolled"):
        load_model("net", device="cpu")


# The model that is kept


SMALL = CrateConfig(patch_size=4, width=12, heads=3, depth=1, image_size=8, classes=2)


def store(file: Path, classes: int = 2) -> Path:
    """Write a small CRATE with random weights."""
    store_model(file, replace(SMALL, classes=classes), Crate(replace(SMALL, classes=classes)).state_dict())
    return file


def test_a_model_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store(tmp_path / "a.safetensors")
    model = cached_model(file)
    monkeypatch.setattr("cratecli.weights.checkpoint.read_tensors", lambda _: pytest.fail("read again"))
    assert cached_model(file) is model
    assert cached_model(str(file)) is model


def test_a_file_that_is_replaced_is_loaded_anew(tmp_path: Path) -> None:
    file = store(tmp_path / "a.safetensors")
    model = cached_model(file)
    store(file)  # of the same size
    again = cached_model(file)
    assert model.weights != again.weights
    assert again.weights is not None
    assert again.weights.sha256 == fetch.fingerprint(file)[1]
    file.unlink()
    with pytest.raises(UsageError, match="no model"):
        cached_model(file)


def test_a_link_that_leads_elsewhere_is_loaded_anew(tmp_path: Path) -> None:
    link = tmp_path / "link"
    for name in ("a", "b"):
        file = store(tmp_path / name)
        link.unlink(missing_ok=True)
        link.symlink_to(file)
        weights = cached_model(link).weights
        assert weights is not None
        assert (weights.name, weights.sha256) == (str(link), fetch.fingerprint(file)[1])


def test_a_name_that_is_registered_anew_is_loaded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRATE_MODEL", "mine")
    sizes = "patch_size = 4\nwidth = 12\nheads = 3\ndepth = 1\nimage_size = 8\nclasses = 2"
    models: list[Model] = []
    hashes = []
    for name, step_size in (("a", 0.1), ("b", 0.1), ("b", 0.2)):
        file = tmp_path / name if (tmp_path / name).exists() else store(tmp_path / name)
        hashes.append(fetch.fingerprint(file)[1])
        register(
            f'[models.mine]\narchitecture = "custom"\n{sizes}\nstep_size = {step_size}\n'
            f'file = "{file}"\nsha256 = "{hashes[-1]}"\n'
        )
        models.append(cached_model())
        assert cached_model() is models[-1]
    assert [model.weights and model.weights.sha256 for model in models] == hashes
    assert [model.config.step_size for model in models if isinstance(model, Crate)] == [0.1, 0.1, 0.2]
