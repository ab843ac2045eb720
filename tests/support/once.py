"""What a process builds once for all runs of `crate` in it, or in forks of it."""

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import typer.main
from PIL import Image

from cratecli.cli import app
from cratecli.model.device import choose_device
from cratecli.model.graph import GraphModel
from cratecli.model.unroll import WhiteBox
from cratecli.weights import checkpoint, graphs, loading
from tests.support.photos import photo
from tests.support.sizes import ask_at_small_sizes

get_command = cache(typer.main.get_command)
"""What parses the command line: built once for all runs in this process."""

_load, _load_graph = checkpoint.load_model, loading.load_graph


@lru_cache(maxsize=4)
def _loaded(name: str | Path | None, options: tuple[tuple[str, Any], ...], *_file: object) -> WhiteBox:
    return _load(name, **dict(options))


def load_once(name: str | Path | None = None, **options: Any) -> WhiteBox:
    """Load a model as `load_model` does, but once for all runs in this process: until its file or row changes."""
    row, path = loading.find_weights(name)
    file = path.stat()
    place = choose_device(options.get("device", "auto"), options.get("dtype", "auto"))
    version = (
        row,
        path.resolve(),
        file.st_size,
        file.st_mtime_ns,
        file.st_ino,
        place,
        checkpoint.read_tensors,
    )
    return _loaded(name, tuple(options.items()), *version)


@lru_cache(maxsize=4)
def _graph(name: str | Path | None, *_file: object) -> GraphModel:
    return _load_graph(name)


def load_graph_once(name: str | Path | None = None) -> GraphModel:
    """Load a graph as `load_graph` does, but once; on one thread, which forks survive."""
    assert graphs.threads() == 1
    row, path = loading.find_weights(name)
    file = path.stat()
    return _graph(name, row, path.resolve(), file.st_size, file.st_mtime_ns, file.st_ino)


# Not `layers`, which leaves a thread behind: with it, forks hung.
COMMANDS = (
    "segment a.png b.png -o masks",
    "segment a.png -o a.jpg --as overlay --heads agree",
    "parts a.png b.png -k 2 -o parts",
    "objects a.png -o objects.json",
    "heads a.png -o heads.png",
    "export masks --as yolo -o yolo",
    "explain masks/a.png",
)


def warm_up(folder: Path) -> None:
    """Run every question once in a folder: forks find what this process built or imported for it."""
    ask_at_small_sizes()
    vars(typer.main)["get_command"] = get_command
    vars(checkpoint)["load_model"], vars(loading)["load_graph"] = load_once, load_graph_once
    given, place = sys.argv, Path.cwd()
    os.chdir(folder)
    for seed, name in enumerate(("a.png", "b.png")):
        Image.fromarray(photo(seed=seed)).save(name)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        for command in COMMANDS:
            sys.argv = ["crate", *command.split()]
            assert app._run() == 0, command
    os.chdir(place)
    sys.argv = given
