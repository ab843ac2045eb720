"""`heads`, `layers` and `parts` as arrays: what they hold, where they go, and what is refused."""

import io
import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import cratecli
from tests.cli.conftest import Here, Machine, failed, never

QUICK = ("--size", "64", "-q")


def opened(machine: Machine, name: str) -> Mapping[str, np.ndarray]:
    if name.endswith(".safetensors"):
        return load_file(machine.desk / name)
    return dict(np.load(machine.desk / name, allow_pickle=False))


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_heads_are_those_of_python(machine: Machine, here: Here, ending: str) -> None:
    path = machine.photo("photo.png")
    done = here("heads", "photo.png", *QUICK, "--layer", "0,-1", "-o", f"new/out.{ending}", "--json")
    assert json.loads(done.out)[0]["output"] == f"new/out.{ending}"
    arrays = opened(machine, f"new/out.{ending}")
    expected = cratecli.heads(path, layers=(0, -1), sizes=(64,))
    assert arrays["attention"].shape == (2, 6, *expected.attention.shape[2:])
    np.testing.assert_allclose(arrays["attention"], expected.attention, atol=1e-6)
    np.testing.assert_allclose(arrays["attention"].sum(axis=(2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(arrays["scores"], expected.scores, atol=1e-6)
    np.testing.assert_allclose(arrays["shares"].sum(), 1, atol=1e-5)
    assert arrays["layers"].tolist() == [0, 7]
    assert arrays["attention"].dtype == np.float32


def test_layers_hold_the_subspace_tokens_of_the_model(machine: Machine, here: Here) -> None:
    path = machine.photo("photo.png")
    assert here("layers", "photo.png", *QUICK, "--layer", "1,2", "-o", "out.npz").code == 0
    arrays = opened(machine, "out.npz")
    model = cratecli.load_model(device="cpu")
    images = cratecli.prepare(path, model, size=64)
    with torch.inference_mode():
        states = list(model.unroll(images))
    rows, cols = arrays["attention"].shape[2:]
    for place, layer in enumerate((1, 2)):
        subspaces = states[layer].subspaces[0, :, 1:].numpy().reshape(6, rows, cols, -1)
        np.testing.assert_allclose(arrays["subspaces"][place], subspaces, atol=1e-5)
        attention = states[layer].class_attention()[0].numpy().reshape(6, rows, cols)
        np.testing.assert_allclose(arrays["attention"][place], attention, atol=1e-6)
    expected = cratecli.layers(path, model, layers=(1, 2), size=64)
    np.testing.assert_allclose(arrays["coding_rate"], expected.coding_rate, rtol=1e-4)
    np.testing.assert_allclose(arrays["zero_fraction"], expected.zero_fraction, atol=1e-4)
    np.testing.assert_array_equal(arrays["maskcut"], expected.mask)
    assert arrays["components"].shape == (2, 4, rows, cols)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_parts_hold_labels_and_descriptors(machine: Machine, here: Here, ending: str) -> None:
    for seed, name in enumerate(("a.png", "sub/b.png")):
        machine.photo(f"photos/{name}", (96, 72), seed=seed)
    run = ("parts", "photos", "-r", *QUICK, "--k", "2", "--foreground", "none", "-o")
    assert here(*run, "arrays", "--as", ending).code == 0
    assert here(*run, "pictures").code == 0
    assert [name for name in machine.files() if name.startswith("arrays/")] == sorted(
        [
            f"arrays/{ending}/a.{ending}",
            f"arrays/{ending}/sub/b.{ending}",
            "arrays/parts.json",
            "arrays/sheet.png",
        ]
    )
    arrays = opened(machine, f"arrays/{ending}/sub/b.{ending}")
    labels = np.asarray(Image.open(machine.desk / "pictures/labels/sub/b.png"))
    np.testing.assert_array_equal(arrays["labels"], labels)
    rows, cols = arrays["inside"].shape
    assert arrays["inside"].dtype == bool
    assert arrays["colours"].shape == (rows, cols, 3)
    assert arrays["components"].shape == (rows, cols, 4)
    assert arrays["tokens"].shape[:2] == (rows, cols)
    assert f"--as {ending}" in here("explain", f"arrays/{ending}/a.{ending}").out.decode()


@pytest.mark.parametrize("command", ["heads", "layers"])
def test_a_folder_is_resumed_and_explained(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        machine.photo(f"photos/{name}")
    (machine.desk / "photos/broken.png").write_text("no photo")
    run = (command, "photos", "-r", *QUICK, "--as", "npz", "-o", "out")
    assert here(*run).code == 1
    files = ["out/a.npz", "out/b.npz", "out/sub/c.npz"]
    assert [name for name in machine.files() if name.startswith("out")] == files
    with monkeypatch.context() as patch:
        patch.setattr("cratecli.tasks.arrays_run.encode", never)
        assert here(*run, "--resume").code == 1
    before = (machine.desk / "out/b.npz").read_bytes()
    told = here("explain", "out/b.npz")
    assert told.err == ""
    (machine.desk / "out/b.npz").unlink()
    (machine.desk / "photos/broken.png").unlink()
    assert here(*told.out.decode().split()[1:], "-q").code == 0
    assert (machine.desk / "out/b.npz").read_bytes() == before
    failed(here("export", "out", "--as", "coco", "-o", "x.json"), 1, f"a run of crate {command} has no masks")


def test_one_photo_goes_to_a_pipe(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    done = here("heads", "photo.png", *QUICK, "--as", "npz")
    assert np.load(io.BytesIO(done.out))["attention"].ndim == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("photo.png", "-o", "x.png", "--as", "npz"), "x.png: NPZ is written: let the name end with .npz"),
        (("photo.png", "-o", "x.npz", "--as", "safetensors"), "x.npz: SAFETENSORS is written"),
        (("photo.png", "-o", "x.npz", "--as", "sheet"), "x.npz: PNG is written"),
        (("photo.png", "other.png", "-o", "x.npz"), "x.npz is one file, and there are several"),
        (("photo.png", "other.png", "-o", "x.png", "--resume"), "--resume is of a file a photo"),
        (("photo.png", "--as", "npz", "--json", "-o", "-"), "not both"),
    ],
)
def test_what_means_nothing_is_one_line(
    machine: Machine, here: Here, arguments: tuple[str, ...], reason: str
) -> None:
    machine.photo("photo.png")
    machine.photo("other.png")
    failed(here("heads", *QUICK, *arguments), 2, reason)
    assert machine.files() == ["other.png", "photo.png"]
