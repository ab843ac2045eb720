"""What is told of outputs before the first is written agrees with what the disk then says."""

import os
from pathlib import Path

import pytest

from cratecli.errors import OutputError
from cratecli.runs.jobs import deliver
from cratecli.runs.obstacles import Disk, forbidden_on_windows


def refused(output: Path) -> bool:
    try:
        Disk().refuse([output])
    except OutputError as error:
        assert error.alone
        return True
    return False


def fails(output: Path) -> bool:
    try:
        deliver(output, b"content")
    except OutputError as error:
        assert error.alone
        return True
    return False


@pytest.mark.parametrize("length", [200, 254, 255, 256, 300])
@pytest.mark.parametrize("letter", ["a", "ß", "語"])
def test_names_near_the_limit(tmp_path: Path, length: int, letter: str) -> None:
    """A name is measured in bytes."""
    wide = len(letter.encode())
    name = letter * ((length - 4) // wide) + "x" * ((length - 4) % wide) + ".png"
    assert len(name.encode()) == length
    for output in (tmp_path / name, tmp_path / name / "a.png", tmp_path / "new" / name / "a.png"):
        assert refused(output) == fails(output) == (length > 255)
        if length <= 255 and output.parent == tmp_path:
            output.unlink()


def deep(top: Path, length: int) -> Path:
    """Name a folder whose path has so many bytes."""
    path = top
    while (room := length - len(os.fsencode(path)) - 1) > 0:
        path /= "d" * (room if room <= 200 else min(200, room - 2))
    assert len(os.fsencode(path)) == length
    return path


@pytest.mark.parametrize("length", [3000, 4045, 4049, 4050, 4051, 4052, 4060, 4085, 4090])
def test_paths_near_the_limit(tmp_path: Path, length: int) -> None:
    """The name under which a file is written first counts too."""
    output = deep(tmp_path.resolve(), length) / "a.png"
    assert refused(output) == fails(output) == (length + 1 + 44 > 4095)


def test_a_file_system_with_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is encrypted has."""
    limits = {"PC_NAME_MAX": 143, "PC_PATH_MAX": 4096}
    monkeypatch.setattr(os, "pathconf", lambda _folder, which: limits[which])
    told = "cannot be written: its name has 154 bytes, and 143 fit there: rename the photo"
    Disk().refuse([tmp_path / f"{'a' * 139}.png"])
    with pytest.raises(OutputError, match=told):
        Disk().refuse([tmp_path / f"{'a' * 150}.png"])
    with pytest.raises(OutputError, match="the name of its folder has 150 bytes, and 143 fit there"):
        Disk().refuse([tmp_path / ("b" * 150) / "a.png"])


def test_a_file_system_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pathconf")
    assert not refused(tmp_path / f"{'a' * 300}.png")


def test_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"as before")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    for name, wrong in {
        "file": False,
        "file/a.png": True,
        "file/sub/a.png": True,
        "folder": True,
        "folder/a.png": False,
        "link": True,
        "link/a.png": False,
        "dangling": False,
        "itself/a.png": True,
        "new/sub/a.png": False,
    }.items():
        assert (name, refused(tmp_path / name), fails(tmp_path / name)) == (name, wrong, wrong)


def test_devices_are_for_who_names_them() -> None:
    Disk().refuse([Path(os.devnull)], regular=False)
    with pytest.raises(OutputError, match="a pipe or a device is in its place"):
        Disk().refuse([Path(os.devnull)])


@pytest.mark.parametrize("name", ["a.png", "auxiliary.png", "com10.png", "con-1.png", ".nul", "é b.png"])
def test_names_that_windows_takes(name: str, tmp_path: Path) -> None:
    assert forbidden_on_windows(name) is None
    Disk(windows=True).refuse([tmp_path / name, tmp_path / "new" / name])


@pytest.mark.parametrize(
    "name", ["a:b.png", "a?.png", "b\\c.png", "a\tb", "NUL.mask.png", "com1", "lpt² .png", "a."]
)
def test_names_that_windows_does_not_take(name: str, tmp_path: Path) -> None:
    """A photo's name in an archive may be one; elsewhere it is a name as any other."""
    outputs = [tmp_path / name, tmp_path / name / "a.png"]
    for output in outputs:
        with pytest.raises(OutputError, match="Windows") as refusal:
            Disk(windows=True).refuse([output])
        assert refusal.value.alone
    Disk(windows=False).refuse(outputs)


def test_a_drive_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a path's last folder, `Z:`, can be missing too."""
    monkeypatch.setattr("os.path.isdir", lambda _: False)
    monkeypatch.setattr("os.path.lexists", lambda _: False)
    with pytest.raises(OutputError, match=r"a\.png: cannot be written: there is no /"):
        Disk(windows=True).refuse([Path("/out/deep/a.png")])
