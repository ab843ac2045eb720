"""Models by their address on the Hub: pinned at first use, and checked as any row of the registry is."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import cratecli.model.zoo  # noqa: F401 - timm finds our architectures
from cratecli.errors import CrateError, UsageError, WeightsError
from cratecli.weights import registry
from cratecli.weights.checkpoint import load_model
from cratecli.weights.hub import MODEL_FILE, pull_by_name
from cratecli.weights.pull import pull
from cratecli.weights.rows import Hub
from cratecli.weights.store import store_model
from tests.support.hub import FakeHub, Repository, serving_hub
from tests.support.models import CONFIG, small_crate
from tests.support.server import lead_hub_client


@pytest.fixture
def hub(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Serve a Hub, and give the user a token and a registry of their own."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(registry, "user_registry", lambda: tmp_path / "weights.toml")
    with serving_hub() as server:
        lead_hub_client(server.address, tmp_path / "hub", monkeypatch)
        yield server


@pytest.fixture
def model_file(tmp_path: Path) -> bytes:
    store_model(tmp_path / "m.safetensors", CONFIG, small_crate().state_dict())
    return (tmp_path / "m.safetensors").read_bytes()


def offer(hub: FakeHub, files: dict[str, bytes], name: str = "lab/crate") -> str:
    return hub.repositories.setdefault(name, Repository()).commit(files)


def headed(header: str) -> bytes:
    """Write a safetensors file of a header alone."""
    return len(header).to_bytes(8, "little") + header.encode()


def test_waiting_for_the_hub_is_said_once(
    hub: FakeHub,
    model_file: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The Hub's client tries five times, with pauses of 23 s in all."""
    pauses, notes = list[float](), list[str]()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", pauses.append)
    offer(hub, {MODEL_FILE: model_file})
    pull_by_name("hf:lab/crate", note=notes.append)
    assert notes == []
    elsewhere = Hub("lab/other", MODEL_FILE, "0" * 40)
    row = replace(registry.load_registry().find("hf:lab/crate"), name="another", source=elsewhere)
    nowhere = "http://127.0.0.1:1"
    lead_hub_client(nowhere, tmp_path / "hub", monkeypatch)
    with pytest.raises(WeightsError, match="Connection refused"):
        pull(row, note=notes.append)
    assert len(pauses) > 1
    assert notes == [f"{nowhere} does not answer yet: trying again, for half a minute at most"]
    assert capfd.readouterr() == ("", "")


def test_a_model_is_pinned_at_first_use(hub: FakeHub, model_file: bytes) -> None:
    hub.about = {"cardData": {"license": "mit"}}
    commit = offer(hub, {MODEL_FILE: model_file, "README.md": b"card"})
    with pytest.raises(WeightsError, match="run: crate models pull hf:lab/crate"):
        load_model("hf:lab/crate")
    path = pull_by_name("hf:lab/crate")
    row = registry.load_registry().find("hf:lab/crate")
    assert (row.config, row.licence, row.bytes) == (CONFIG, "mit", len(model_file))
    assert row.sha256 == hashlib.sha256(model_file).hexdigest()
    assert row.source == Hub("lab/crate", MODEL_FILE, commit)

    other = small_crate(seed=1)
    store_model(path.parent / "new.safetensors", CONFIG, other.state_dict())
    offer(hub, {MODEL_FILE: (path.parent / "new.safetensors").read_bytes()})  # the branch goes on
    asked = len(hub.asked)
    assert pull_by_name("hf:lab/crate") == path
    assert len(hub.asked) == asked
    model = load_model("hf:lab/crate")
    assert model.weights is not None
    assert model.weights.name == "hf:lab/crate"
    assert hub.tokens == []

    pull_by_name("hf:lab/crate@main")  # another name, pinned to what the branch is now
    assert load_model("hf:lab/crate@main").weights != model.weights


def test_a_file_that_changed_is_refused(hub: FakeHub, model_file: bytes) -> None:
    offer(hub, {MODEL_FILE: model_file})
    path = pull_by_name("hf:lab/crate").resolve()
    path.write_bytes(model_file[:-4] + b"\1\1\1\1")
    with pytest.raises(WeightsError, match="refused as hf:lab/crate"):
        load_model("hf:lab/crate")
    assert pull_by_name("hf:lab/crate").read_bytes() == model_file


def test_one_file_of_another_name_will_do(hub: FakeHub, model_file: bytes) -> None:
    offer(hub, {"weights/best.safetensors": model_file})
    assert pull_by_name("hf:lab/crate").name == "best.safetensors"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"m.bin": b"x"}, "this has none"),
        ({"a.safetensors": b"x", "b.safetensors": b"x"}, r"this has a\.safetensors, b\.safetensors"),
        ({MODEL_FILE: b"\xff" * 64}, "refused as a CRATE: it is no safetensors file"),
        ({MODEL_FILE: headed("{}")}, "holds no config of a CRATE"),
        ({MODEL_FILE: headed("[[[[")}, "refused as a CRATE"),
        (
            {MODEL_FILE: headed('{"__metadata__": {"config": "{}"}}')},
            "refused as a CRATE: patch_size is missing",
        ),
    ],
)
def test_what_is_no_crate_is_refused_and_not_pinned(
    hub: FakeHub, files: dict[str, bytes], reason: str
) -> None:
    offer(hub, files)
    with pytest.raises(WeightsError, match=reason):
        pull_by_name("hf:lab/crate")
    assert "hf:lab/crate" not in registry.load_registry().names


def test_tensors_without_a_config_need_a_row(hub: FakeHub, tmp_path: Path) -> None:
    save_file(small_crate().state_dict(), tmp_path / "plain.safetensors")
    offer(hub, {MODEL_FILE: (tmp_path / "plain.safetensors").read_bytes()})
    with pytest.raises(WeightsError, match="a row of your own registry can give one"):
        pull_by_name("hf:lab/crate")


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("hf:lab", UsageError, "write hf:OWNER/NAME"),
        ("hf:lab/../x", UsageError, "write hf:OWNER/NAME"),
        ("hf:../x", UsageError, "write hf:OWNER/NAME"),
        ("hf:lab/none", WeightsError, "the server answered 404"),
        ("hf:lab/crate@v9", WeightsError, "the server answered 404"),
        ("crate-nan", UsageError, "did you mean crate-nano"),
    ],
)
def test_what_is_not_there(hub: FakeHub, name: str, error: type[CrateError], reason: str) -> None:
    offer(hub, {MODEL_FILE: b""})
    with pytest.raises(error, match=reason):
        pull_by_name(name)


def test_offline(hub: FakeHub) -> None:
    with pytest.raises(WeightsError, match="--offline forbids to fetch it"):
        pull_by_name("hf:lab/crate", offline=True)
    assert hub.asked == []


def test_timm_takes_the_same_files(hub: FakeHub, model_file: bytes, tmp_path: Path) -> None:
    from cratecli.handover.publish import prepare_publication

    (tmp_path / "m.safetensors").write_bytes(model_file)
    offer(hub, dict(prepare_publication(tmp_path / "m.safetensors", "lab/crate").files))
    pull_by_name("hf:lab/crate")
    theirs = timm.create_model("hf-hub:lab/crate", pretrained=True, cache_dir=str(tmp_path / "timm"))
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(theirs.eval().get_submodule("")(images), load_model("hf:lab/crate")(images))
