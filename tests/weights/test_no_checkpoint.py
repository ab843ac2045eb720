"""Files that are no checkpoints: refused in one line, and never run."""

import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cratecli.errors import WeightsError
from cratecli.weights.checkpoint import read_tensors


class Bomb:
    """Pickles as a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("force", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", ""])
def test_code_is_refused_and_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, force: str
) -> None:
    if force:
        monkeypatch.setenv(force, "1")
    file, marker = tmp_path / "m.pth", tmp_path / "ran"
    content = {"model": {"a": torch.zeros(1)}, "args": Bomb(marker)}
    if zipped:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content["args"]))
    with pytest.raises(WeightsError) as caught:
        read_tensors(file)
    assert str(caught.value) == f"{file}: refused: it is not a file of plain tensors"
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()


def a_zip(compression: int) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with zipfile.ZipFile(file, "w", compression) as archive:
            archive.writestr("hello/data.pkl", b"hello" * 100)

    return write


def an_npz(array: Any, save: Callable[..., None] = np.savez) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with file.open("wb") as stream:
            save(stream, a=array)

    return write


def a_torchscript(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"m/{name}", b"3")


def an_old_tar(file: Path) -> None:
    """Write what torch before 0.4 wrote."""
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))


def a_nested_tensor(file: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.save({"a": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])}, file)


def a_giant_of_one_number(file: Path) -> None:
    """Write a tensor of 4 TB, which is one number seen again and again."""
    torch.save({"cls_token": torch.zeros(1).expand(10**6, 10**6)}, file)


def a_crate_cut_short(file: Path) -> None:
    save_file({"cls_token": torch.zeros(99)}, file)
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda file: file.write_bytes(b""), "cannot be read as a checkpoint"),
        (lambda file: file.write_text("A few words, no weights."), "refused: it is not a file of plain"),
        (lambda file: file.write_text("<!DOCTYPE html><title>Quota</title>"), "refused: it is not a file"),
        (lambda file: file.write_bytes(b"12345678{"), "cannot be read as a checkpoint"),
        (lambda file: file.write_bytes(b"PK\x03\x04 no zip"), "File is not a zip file"),
        (lambda file: file.write_bytes(bytes(range(256))), ""),
        (a_zip(zipfile.ZIP_STORED), "cannot be read as a checkpoint"),
        (a_zip(zipfile.ZIP_DEFLATED), "its records are compressed, or more than the file holds"),
        (lambda file: zipfile.ZipFile(file, "w").close(), "holds no tensors by name"),
        (a_crate_cut_short, "cannot be read as a checkpoint"),
        (lambda file: torch.save(torch.zeros(2), file), "holds no tensors by name"),
        (lambda file: torch.save({}, file), "holds no tensors by name"),
        (lambda file: torch.save({"model": {"a": 3}}, file), "'a' is not a plain tensor"),
        (lambda file: torch.save({"a": torch.zeros(2).to_sparse()}, file), "'a' is not a plain tensor"),
        (lambda file: torch.save({"a": torch.zeros(2, device="meta")}, file), "'a' is not a plain tensor"),
        (a_nested_tensor, "'a' is not a plain tensor"),
        (a_torchscript, "refused: it is not a file of plain tensors"),
        (an_old_tar, "refused: it is not a file of plain tensors"),
        (a_giant_of_one_number, "refused: its tensors claim to be larger than the file"),
        (an_npz(np.array(["text"])), "cannot be read as a checkpoint"),
        (an_npz(np.array([None])), "cannot be read as a checkpoint"),
        (an_npz(np.zeros(999), np.savez_compressed), "its records are compressed"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    tmp_path: Path, write: Callable[[Path], object], reason: str
) -> None:
    file = tmp_path / "m.pth"
    write(file)
    with pytest.raises(WeightsError) as caught:
        read_tensors(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert reason in message
    assert "\n" not in message
    assert "weights_only" not in message
