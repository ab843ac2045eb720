"""`crate doctor` as its user meets it: on a sound machine, and where everything is broken at once."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cratecli import __version__
from tests.cli.conftest import Done, Here, Machine

TINY = "crate_tiny_patch16_224"


def told(done: Done) -> dict[str, list[tuple[str, str]]]:
    """Read the findings of `--json` by name, each as its level and its text."""
    findings: list[dict[str, Any]] = json.loads(done.out)
    names = {finding["name"] for finding in findings}
    return {
        name: [(each["level"], each["text"]) for each in findings if each["name"] == name] for name in names
    }


def test_a_sound_machine(machine: Machine) -> None:
    done = machine.crate("doctor")
    assert (done.code, done.err) == (0, "")
    assert {line.split()[0] for line in done.lines} <= {"ok", "warning"}
    assert re.search(rf"^ok +crate +{re.escape(__version__)}, /", done.lines[0])
    text = done.out.decode()
    for name in (
        "Python",
        "torch",
        "torchvision",
        "timm",
        "pillow",
        "numpy",
        "huggingface_hub",
        "threads",
        "AVIF",
    ):
        assert re.search(rf"^ok +{name} ", text, re.M)
    assert re.search(r"^ok +device +auto is \w+ in \w+; torch sees ", text, re.M)
    assert f"{machine.cache} is not there yet; " in text
    assert "crate-nano is here and as registered" in text
    assert "127.0.0.1:1" in text
    assert "HF_ENDPOINT            is not the Hub itself: your token is not sent there" in text
    assert not machine.cache.exists()
    assert not machine.user_registry.parent.exists()


def test_everything_broken_at_once_is_found_and_nothing_crashes(machine: Machine) -> None:
    """A torch that does not load, a file for a cache, registries with errors, and settings that lead nowhere."""
    torch = machine.home / "packages/torch/__init__.py"
    torch.parent.mkdir(parents=True)
    torch.write_text('raise OSError("libcuda.so.1: cannot open\\x1b[2J\\nsecond line")')
    machine.cache.parent.mkdir(parents=True)
    machine.cache.write_text("a file where a folder should be")
    machine.register("[models.m\n")
    typo: dict[str, Any] = {"CRATE_[red]": "1"}
    done = machine.crate(
        "doctor",
        PYTHONPATH=str(machine.home / "packages"),
        CRATE_MODEL="crate-nano\x1b[31m",
        CRATE_DEVICE="cuda",
        CRATE_WEIGHTS_TOML="none.toml",
        **typo,
        HF_HUB_OFFLINE="1",
        HF_TOKEN="hf_secret",
        HF_ENDPOINT="https://me:hunter2@mirror.example",
    )
    assert (done.code, done.err) == (1, "")
    text = done.out.decode()
    for expected in (
        r"problem torch +cannot be imported: OSError: libcuda\.so\.1: cannot open\\x1b\[2J; install it again: pip",
        r"problem device +cannot be examined: OSError: libcuda",
        rf"problem cache +{machine.cache} cannot be written: Not a directory; set CRATE_CACHE_DIR",
        rf"problem registry +{machine.user_registry}:1: .*; correct it, or remove the file",
        r"problem registry +none\.toml: No such file or directory; correct it",
        r"problem default model +crate-nano\\x1b\[31m, of CRATE_MODEL, is in no registry; run: crate models default",
        r"ok +models +1 here and as registered: crate-nano",
        r"warning CRATE_\[red\] +is not known; crate reads CRATE_CACHE_DIR, ",
        r"warning HF_HUB_OFFLINE +is on: ",
        r"ok +HF_TOKEN +set$",
        r"ok +HF_ENDPOINT +https://…@mirror\.example$",
        r"ok +CRATE_WEIGHTS_TOML +none\.toml$",
    ):
        assert re.search(f"^{expected}", text, re.M), expected
    assert "second line" not in text
    assert "\x1b" not in text
    assert "hf_secret" not in text
    assert "hunter2" not in text


def test_no_package_that_works_is_no_crash(machine: Machine) -> None:
    packages = ("torch", "torchvision", "timm", "PIL", "cv2", "numpy", "huggingface_hub", "safetensors")
    for name in packages:
        (machine.home / f"packages/{name}").mkdir(parents=True)
        (machine.home / f"packages/{name}/__init__.py").write_text("raise ImportError('undefined symbol')")
    done = machine.crate("doctor", "--json", PYTHONPATH=str(machine.home / "packages"))
    assert (done.code, done.err) == (1, "")
    found = told(done)
    for name in ("torch", "torchvision", "timm", "pillow", "opencv-python-headless", "numpy", "safetensors"):
        again = f"install it again: pip install --force-reinstall {name}"
        assert found[name] == [("problem", f"cannot be imported: ImportError: undefined symbol; {again}")]
    assert found["image formats"][0][0] == found["device"][0][0] == found["models"][0][0] == "problem"
    assert found["onnxruntime"][0][0] == found["engine"][0][0] == "problem"


def test_models_that_are_missing_damaged_or_left_over(machine: Machine, here: Here) -> None:
    far = f'[models.far]\narchitecture = "{TINY}"\nurl = "http://127.0.0.1:1/m"\nbytes = 9\n'
    near = f'[models.near]\narchitecture = "{TINY}"\nfile = "models/near/weights"\n'
    machine.register(far + near)
    for name in ("far/weights.unfinished", "near/weights", "near/.crate-0.part"):
        path = machine.cache / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"<html>")
    blobs = machine.home / "hub/models--timm--vit_small_patch8_224.dino/blobs"
    blobs.mkdir(parents=True)
    (blobs / "etag.01234567.incomplete").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(machine.home / "hub"))
        done = here("doctor", "--json", CRATE_MODEL="far")
    assert done.code == 1
    found = told(done)
    weights = machine.cache / "models/near/weights"
    remedy = "it has no download source; run: crate models add FILE --as near"
    assert found["near"] == [("problem", f"{weights} is an HTML page, not weights; {remedy}")]
    assert found["default model"] == [
        ("problem", "far, of CRATE_MODEL, is not on this machine; run: crate models pull far")
    ]
    assert found["models"] == [("ok", "1 here and as registered: crate-nano")]
    assert len(found["left over"]) == 3
    assert {level for level, _ in found["left over"]} == {"warning"}
    assert any(
        "weights.unfinished: " in text and "pull far goes on" in text for _, text in found["left over"]
    )
    assert found["CRATE_MODEL"] == [("ok", "far")]
    done = here("doctor", "--json", CRATE_MODEL="near")
    assert told(done)["default model"] == [("problem", f"near, of CRATE_MODEL, is damaged; {remedy}")]
    assert not (machine.cache / "hashes.json").exists()


def test_little_room_and_a_device_that_is_not_there(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 9, 9, 9, 9, 9, 9, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _: full)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = told(here("doctor", "--json", CRATE_DEVICE="cuda"))
    assert found["cache"][0][0] == "warning"
    assert "36.9 kB free, too little for a large model: set CRATE_CACHE_DIR" in found["cache"][0][1]
    assert found["device"][-1] == (
        "problem",
        "CRATE_DEVICE: cuda is not available: torch sees 0 CUDA devices; unset it, or set it to auto",
    )


def test_formats_that_cannot_be_read(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "avif")
    monkeypatch.setattr("cratecli.io.support.find_spec", lambda _: None)
    found = told(here("doctor", "--json"))
    assert found["AVIF"][0][0] == "warning"
    assert "pip install" in found["AVIF"][0][1]
    assert found["HEIC"] == [("ok", "is not read; run: pip install 'cratecli[heic]'")]
    assert found["WebP"] == [("ok", "is read")]


def test_a_terminal_gets_colour_and_folded_lines(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cratecli.cli.commands.doctor.stdout_is_terminal", lambda: True)
    done = here("doctor", COLUMNS="60", TERM="xterm-256color")
    assert b"\x1b[32mok" in done.out
    assert all(len(re.sub("\x1b[^m]*m", "", line)) <= 60 for line in done.lines)
