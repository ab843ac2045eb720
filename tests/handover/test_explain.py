"""Reading how an output was made: the record, with paths as the working folder has them, and what has changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from cratecli import __version__
from cratecli.cli.app import app
from cratecli.errors import InputError
from cratecli.handover.explain import SETTINGS, explain
from cratecli.io.formats import png

TOLD = {
    "version": __version__,
    "command": "parts",
    "settings": {"k": "2", "files-from": "../list.txt", "recursive": True, "include": ["*.jpg"]},
    "device": "cpu",
    "batch_size": 4,
    "inputs": ["../photos", "/far/photos"],
    "folder": ".",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()


def test_the_record() -> None:
    Path("out/parts.json").write_text(json.dumps({"crate": TOLD}))
    made = explain(Path("out/parts.json"))
    assert (made.command, made.inputs, made.output) == ("parts", ("photos", "/far/photos"), "out")
    assert made.settings == {
        "k": "2",
        "files-from": "list.txt",
        "recursive": True,
        "include": ["*.jpg"],
        "device": "cpu",
        "batch-size": "4",
    }
    assert made.told == TOLD
    assert made.doubts == tuple(f"{each}: no longer there" for each in ("list.txt", "photos", "/far/photos"))
    for each in ("photos", "list.txt"):
        Path(each).touch()
    assert explain(Path("out/parts.json")).doubts == ("/far/photos: no longer there",)


def test_a_picture_and_a_dataset_tell_the_same() -> None:
    Path("out/a.png").write_bytes(png.encode_mask(np.zeros((1, 1), bool), json.dumps(TOLD)))
    Path("out/b.json").write_text(json.dumps({"info": {"crate": TOLD}}))
    assert explain(Path("out/a.png")) == explain(Path("out/b.json"))


def test_a_film_is_not_read_to_its_end() -> None:
    with Path("out/film.mp4").open("wb") as stream:
        stream.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(InputError, match="no PNG and no JSON of ours"):
        explain(Path("out/film.mp4"))


def test_settings_are_options_and_none_of_them_only_says_how_a_run_goes() -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    known = {
        flag.removeprefix("--")
        for name in ("segment", "objects", "parts", "heads", "layers", "export")
        for param in commands[name].params
        for flag in param.opts
    }
    place = {"model", "device", "dtype", "batch-size", "output"}
    how = {
        "features-cache",
        "fail-fast",
        "dry-run",
        "no-progress",
        "json",
        "jsonl",
        "quiet",
        "rle",
        "exists",
        "resume",
    }
    short = {"-r", "-0", "-o", "-m", "-q", "-k"}
    arguments = {"photos", "run"}
    assert known - place - how - short - arguments == SETTINGS
