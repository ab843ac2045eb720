"""`crate explain` as its user meets it: what is printed is evaluated by a shell, and makes the same bytes again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cratecli.io.formats import png
from tests.cli.conftest import Here, Machine
from tests.support.waiting import PATIENCE

SHELLS = [shell for shell in ("bash", "sh") if shutil.which(shell)]
QUICK = ("--refine", "none", "--size", "64", "--layer", "-1", "--heads", "agree")
SMALL = ("--size", "96")
DIGEST = "0" * 64
GOOD: dict[str, Any] = {
    "version": "0.1.0",
    "command": "segment",
    "recipe": {"layers": [7]},
    "as": "mask",
    "weights": "crate-nano",
    "weights_sha256": DIGEST,
    "device": "cpu",
    "dtype": "float32",
    "batch_size": 8,
    "input": "photo.png",
    "input_sha256": DIGEST,
}


def evaluated(command: str, folder: Path, shell: str = "bash") -> list[str]:
    """Let a shell read a line, in an empty folder where `crate` only says what it was given."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [shell, "-c", f'crate() {{ printf "%s\\0" "$@"; }}\n{command}'],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stderr == b""
    assert not list(folder.iterdir()), "the line did more than call crate"
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def made_again(machine: Machine, here: Here, *paths: Path) -> list[str]:
    """Explain outputs of one run, remove them, run what was printed, compare the bytes; give the words of it."""
    before = [path.read_bytes() for path in paths]
    told = [here("explain", path) for path in paths]
    assert {(each.code, each.err) for each in told} == {(0, "")}
    (line,) = {each.out for each in told}
    assert line.decode().removesuffix("\n").isprintable()
    words = evaluated(line.decode(), machine.home.with_name("empty"))
    for path in paths:
        path.unlink()
    assert here(*words, "-q").code == 0
    assert [path.read_bytes() for path in paths] == before
    return words


@pytest.fixture
def photos(machine: Machine) -> Machine:
    """Lay out a few photos, one a folder deeper."""
    for name, seed in {"a.png": 1, "b.png": 2, "sub/c.png": 3}.items():
        machine.photo(f"photos/{name}", seed=seed)
    return machine


# The same bytes.

RUNS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "masks": (
        ("segment", "photos", "-r", "-o", "masks", "--max-pixels", "9999", *SMALL),
        ["masks/sub/c.png"],
    ),
    "clicks": (
        (
            "segment",
            "photos/a.png",
            "-o",
            "out.png",
            "--at",
            "9,8",
            "--at",
            "20,8",
            "--not-at",
            "40,30",
            *SMALL,
        ),
        ["out.png"],
    ),
    "soft": (("segment", "photos/a.png", "--as", "soft", "-o", "out.png", "--largest", *SMALL), ["out.png"]),
    "soft16": (
        (
            "segment",
            "photos/a.png",
            "--as",
            "soft16",
            "-o",
            "out.png",
            "--heads",
            "0,2",
            "--layer",
            "-2,-1",
            *SMALL,
        ),
        ["out.png"],
    ),
    "cutout": (
        ("segment", "photos/a.png", "--as", "cutout", "-o", "out.png", "--keep", "mass:0.123456789", *SMALL),
        ["out.png"],
    ),
    "overlay": (
        (
            "segment",
            "photos/a.png",
            "--as",
            "overlay",
            "-o",
            "out.png",
            "--keep-holes",
            "--min-area",
            "0.1",
            "--min-confidence",
            "0.2",
            *SMALL,
        ),
        ["out.png"],
    ),
    "cropped, on a colour": (
        (*("segment", "photos", "-o", "out", "--background", "#fff", "--crop", "--margin", "0.1"), *SMALL),
        ["out/b.png"],
    ),
    "on a photo, as jpeg": (
        ("segment", "photos/a.png", "-o", "far/out.jpg", "--background", "photos/b.png", *SMALL),
        ["far/out.jpg"],
    ),
    "webp": (("segment", "photos", "-o", "out", "--ending", "webp", *SMALL), ["out/a.webp"]),
    "coco": (("segment", "photos", "-r", "-o", "run.json", "--exclude", "b*", *QUICK), ["run.json"]),
    "coco of a list": (
        ("segment", "--files-from", "list.txt", "-0", "--include", "*.png", "-o", "far/run.json", *QUICK),
        ["far/run.json"],
    ),
    "objects": (
        ("objects", "photos", "-o", "objects", "--by", "maskcut", "--n", "2", "--tau", "0.2", *SMALL),
        ["objects/a.png"],
    ),
    "object labels": (
        (
            "objects",
            "photos/a.png",
            "--as",
            "labels",
            "-o",
            "out.png",
            "--min-best",
            "0",
            "--size",
            "64,96",
        ),
        ["out.png"],
    ),
    "objects as coco": (("objects", "photos", "-o", "objects.json", "--size", "64"), ["objects.json"]),
    "parts": (
        ("parts", "photos", "-k", "2", "--seed", "5", "-o", "parts", "--names", "x y,z", *SMALL),
        ["parts/parts.json", "parts/sheet.png", "parts/labels/a.png", "parts/overlays/b.png"],
    ),
    "parts of a list": (
        ("parts", "--files-from", "list.txt", "-0", "--as", "rgb", "-k", "2", "-o", "parts", *SMALL),
        ["parts/rgb/photos/sub/c.png"],
    ),
    "components": (
        (
            "parts",
            "photos",
            "-r",
            "-k",
            "2",
            "--as",
            "components",
            "--foreground",
            "none",
            "-o",
            "deep/parts",
            *SMALL,
        ),
        ["deep/parts/components/sub/c.png"],
    ),
    "heads": (
        ("heads", "photos", "-o", "sheets/heads.png", "--layer", "all", "--size", "64"),
        ["sheets/heads.png"],
    ),
    "layers": (
        ("layers", "photos/a.png", "photos/b.png", "-o", "layers.png", "--tau", "0.3", "--size", "64"),
        ["layers.png"],
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_command_makes_the_same_bytes_again(photos: Machine, here: Here, name: str) -> None:
    (photos.desk / "list.txt").write_bytes(b"photos/sub/c.png\0photos/a.png\0")
    command, outputs = RUNS[name]
    assert here(*command).code == 0
    made_again(photos, here, *(photos.desk / output for output in outputs))


def test_nothing_is_left_to_a_default(photos: Machine, here: Here) -> None:
    here("segment", "photos/a.png", "-o", "mask.png", "--keep", "mass:0.123456789", "--layer", "-2,-1")
    words = made_again(photos, here, photos.desk / "mask.png")
    pairs = dict(pairwise(words))
    assert words[:2] == ["segment", "photos/a.png"]
    assert pairs["--keep"] == "mass:0.123456789"
    assert pairs["--layer"] == "6,7"
    assert (pairs["--model"], pairs["--device"], pairs["--batch-size"]) == ("crate-nano", "cpu", "8")
    assert "--fill-holes" in words
    assert "--all-pieces" in words


def test_a_photo_of_a_mixed_batch_is_its_photo_alone(machine: Machine, here: Here) -> None:
    sizes = [(48, 36), (48, 36), (36, 48), (60, 36), (48, 37)]
    for number, size in enumerate(sizes):
        machine.photo(f"photos/{number}.png", size, seed=number)
    assert here("segment", "photos", "--as", "soft16", "-o", "maps", *SMALL).code == 0
    for number in range(len(sizes)):
        made_again(machine, here, machine.desk / f"maps/{number}.png")


def test_in_a_real_shell(machine: Machine) -> None:
    """Evaluated as the page says, on a photo that was one of a batch."""
    for number in range(3):
        machine.photo(f"it's photos/{number}.png", seed=number)
    assert machine.crate("segment", "it's photos", "-o", "my masks").code == 0
    mask = machine.desk / "my masks/1.png"
    before = mask.read_bytes()
    mask.write_bytes(before + b"more")
    done = machine.shell('eval "$(crate explain -q "my masks/1.png") -q"')
    assert (done.code, done.err) == (0, "")
    assert mask.read_bytes() == before


def test_an_output_seen_from_another_folder(
    photos: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("segment", "photos", "-o", "masks", *QUICK)
    monkeypatch.chdir(photos.desk / "photos/sub")
    words = made_again(photos, here, Path("../../masks/a.png"))
    assert words[1] == "../a.png"


def test_absolute_names_stay_where_the_output_names_photos(photos: Machine, here: Here) -> None:
    here("segment", photos.desk / "photos", "-o", "run.json", *QUICK)
    made_again(photos, here, photos.desk / "run.json")


def test_a_vocabulary_that_handed_on_its_names(photos: Machine, here: Here) -> None:
    learned = ("parts", "photos", "-k", "2", "--save-parts", "v.safetensors", "-o", "parts", *SMALL)
    here(*learned, "--names", "ears,nose")
    here(*learned[:2], *learned[4:], "--seed", "3")
    words = made_again(photos, here, photos.desk / "parts/parts.json")
    assert words[words.index("--save-parts") + 1] == "v.safetensors"
    (photos.desk / "v.safetensors").unlink()
    told = here("explain", "parts/parts.json")
    assert told.err == "crate: v.safetensors: no longer there\n"
    assert b"save-parts" not in told.out


def test_a_known_vocabulary(photos: Machine, here: Here) -> None:
    here("parts", "photos", "-k", "2", "--save-parts", "v.safetensors", "-o", "first", *SMALL)
    here("parts", "photos", "--parts", "v.safetensors", "-o", "second")
    outputs = [photos.desk / "second" / name for name in ("labels/a.png", "sheet.png")]
    words = made_again(photos, here, *outputs)
    assert words[words.index("--parts") + 1] == "v.safetensors"


def test_an_export(photos: Machine, here: Here) -> None:
    here("segment", "photos", "-o", "masks", *QUICK)
    here("export", "masks", "--as", "coco", "-o", "out/coco.json", "-q")
    words = made_again(photos, here, photos.desk / "out/coco.json")
    assert words == ["export", "masks", "--as", "coco", "--output", "out/coco.json"]


def test_weights_of_a_file(photos: Machine, here: Here) -> None:
    from cratecli.weights.fetch import home
    from cratecli.weights.registry import load_registry

    weights = photos.desk / "my weights.safetensors"
    shutil.copy(home(load_registry().checkpoints["crate-nano"]), weights)
    here("segment", "photos/a.png", "-o", "out/mask.png", "-m", "my weights.safetensors")
    words = made_again(photos, here, photos.desk / "out/mask.png")
    assert words[words.index("--model") + 1] == "my weights.safetensors"
    with weights.open("ab") as stream:
        stream.write(b"more")
    told = here("explain", "out/mask.png")
    assert told.code == 0
    assert "my weights.safetensors: not the weights it was made with" in told.err
    weights.unlink()
    assert "the weights are not there any more" in here("explain", "out/mask.png").err


# Names.

ODD = [
    "with space",
    "it's",
    'say "hi"',
    "$(touch x)",
    "`touch x`",
    "*;&|<>!~#",
    "-rf",
    "über",
    "\\",
    "%s",
    "a=b",
]
STEERING = ["two\nlines", "\x1b[31mred", "tab\there", os.fsdecode(b"\xff"), "\u202etxt"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_quoted(machine: Machine, here: Here, name: str, shell: str) -> None:
    (machine.desk / f"{name}.png").write_bytes(picture(GOOD | {"input": f"{name}.png"}))
    told = here("explain", "-q", "--", f"{name}.png")
    words = evaluated(told.out.decode(), machine.home.with_name("empty"), shell)
    start = "./" if name.startswith("-") else ""
    assert words[:2] == ["segment", f"{start}{name}.png"]
    assert f"--output={name}.png" in words or words[-2:] == ["--output", f"{name}.png"]


@pytest.mark.parametrize("name", STEERING)
def test_what_could_steer_a_terminal_is_spelt_out(machine: Machine, here: Here, name: str) -> None:
    (machine.desk / f"{name}.png").write_bytes(picture(GOOD | {"input": f"{name}.png"}))
    told = here("explain", f"{name}.png")
    assert told.out.decode().removesuffix("\n").isprintable()
    assert told.err.replace("\n", "").isprintable()
    empty = machine.home.with_name("empty")
    words = evaluated(told.out.decode(), empty)
    assert (words[1], words[-1]) == (f"{name}.png", f"{name}.png")
    for shell in SHELLS:  # those that do not know $'…' read something else, and run nothing
        evaluated(told.out.decode(), empty, shell)


def test_odd_names_make_the_same_bytes_again(machine: Machine, here: Here) -> None:
    names = [f"{name}.png" for name in (*ODD, *STEERING)]
    for number, name in enumerate(names):
        machine.photo(f"photos/{name}", (48, 36), number)
    assert here("segment", "photos", "-o", "masks", *QUICK).code == 0
    for name in names[::4] + names[-2:]:
        made_again(machine, here, machine.desk / "masks" / name)


# What is not as it was.


def test_a_photo_from_standard_input(photos: Machine, here: Here) -> None:
    content = (photos.desk / "photos/a.png").read_bytes()
    piped = here("segment", "-", "-o", "out/mask.png", *QUICK, stdin=content)
    assert piped.code == 0
    told = here("explain", "out/mask.png")
    assert told.err.startswith("crate: the photo came through standard input: pipe in the one with sha256 ")
    before = (photos.desk / "out/mask.png").read_bytes()
    words = evaluated(told.out.decode(), photos.home.with_name("empty"))
    assert here(*words, stdin=content).code == 0
    assert (photos.desk / "out/mask.png").read_bytes() == before
    here("segment", "-", "photos/b.png", "-o", "run.json", *QUICK, stdin=content)
    assert here("explain", "run.json").err == "crate: the photo came through standard input: pipe it in\n"
    here("segment", "--files-from", "-", "-o", "run.json", *QUICK, stdin=b"photos/b.png\n")
    told = here("explain", "run.json")
    assert told.err == "crate: the list came through standard input: pipe it in\n"
    assert b" --files-from - --as coco " in told.out


def test_photos_that_changed_or_went(photos: Machine, here: Here) -> None:
    here("segment", "photos", "-o", "masks", *QUICK)
    here("heads", "photos", "-o", "heads.png", *QUICK[2:4])
    (photos.desk / "photos/a.png").write_bytes(b"other")
    changed = here("explain", "masks/a.png")
    assert changed.code == 0
    assert changed.err.startswith("crate: photos/a.png: not the photo it was made from, whose sha256 was ")
    assert here("explain", "-q", "masks/a.png").err == ""
    shutil.rmtree(photos.desk / "photos")
    assert (
        "photos/a.png: the photo is not there any more; its sha256 was" in here("explain", "masks/a.png").err
    )
    assert here("explain", "heads.png").err == "crate: photos: no longer there\n"
    (photos.desk / "elsewhere").mkdir()
    (photos.desk / "masks/b.png").rename(photos.desk / "elsewhere/b.png")
    assert here("explain", "elsewhere/b.png").lines[0].endswith("--output elsewhere/b.png")


def test_a_photo_that_would_never_end(machine: Machine, here: Here) -> None:
    os.mkfifo(machine.desk / "pipe")
    for source in ("pipe", "/dev/zero"):
        (machine.desk / "mask.png").write_bytes(
            picture(GOOD | {"input": source, "weights_are": "file", "weights": source})
        )
        told = here("explain", "mask.png")
        assert told.code == 0
        assert f"{source}: the photo is not there any more" in told.err
        assert f"{source}: the weights are not there any more" in told.err


def test_other_versions_and_weights(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    other = GOOD | {
        "version": "0.0.1",
        "libraries": {"torch": "1.0", "no-such-library": "2"},
        "weights": "mine",
    }
    (machine.desk / "mask.png").write_bytes(picture(other))
    err = here("explain", "mask.png").err
    assert "made by crate 0.0.1, this is " in err
    assert "made with torch 1.0, which is " in err
    assert "made with no-such-library 2, which is not installed here" in err
    assert "no model mine is registered here" in err
    (machine.desk / "mask.png").write_bytes(picture(GOOD))
    assert "crate-nano: not the weights it was made with" in here("explain", "mask.png").err


# What does not tell, or lies.


def picture(told: object) -> bytes:
    text = told if isinstance(told, str) else json.dumps(told)
    return png.encode_mask(np.zeros((2, 2), bool), text)


def changed(**fields: object) -> bytes:
    return picture(GOOD | fields)


def without(name: str) -> bytes:
    return picture({key: value for key, value in GOOD.items() if key != name})


def asked(**recipe: object) -> bytes:
    return picture(GOOD | {"recipe": recipe})


NOT_OURS = "what it says of how it was made is not ours"
SILENT = "does not say how it was made"
NO_KIND = "no picture, no arrays, no page, no rows and no JSON of ours"
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NO_KIND),
    "text": (b"hello", NO_KIND),
    "a jpeg": (b"\xff\xd8\xff\xe0 and more", NO_KIND),
    "half a png": (picture(GOOD)[:20], NO_KIND),
    "half json": (b'{"crate": {', NO_KIND),
    "deep json": (b'{"crate":' * 100_000, NO_KIND),
    "json in another encoding": ('{"crate": 1}'.encode("utf-16"), NO_KIND),
    "a picture of somebody": (png.encode_mask(np.zeros((2, 2), bool)), SILENT),
    "coco results": (b"[]", SILENT),
    "somebody's json": (b'{"info": {}}', SILENT),
    "a text that is a list": (picture([]), SILENT),
    "a text that is none": (picture("hello"), NO_KIND),
    "no recipe": (without("recipe"), NOT_OURS),
    "no command": (without("command"), NOT_OURS),
    "no input": (without("input"), NOT_OURS),
    "no hash": (without("input_sha256"), NOT_OURS),
    "no version": (without("version"), NOT_OURS),
    "a number for an input": (changed(input=3), NOT_OURS),
    "a word for inputs": (changed(inputs="abc"), NOT_OURS),
    "no inputs at all": (changed(inputs=[]), NOT_OURS),
    "a list for a recipe": (changed(recipe=[]), NOT_OURS),
    "a deep device": (picture(json.dumps(GOOD).replace('"cpu"', "[" * 900 + "]" * 900)), NOT_OURS),
    "a lone surrogate": (changed(input="\ud800.png"), NOT_OURS),
    "a NUL": (changed(input="a\0b"), NOT_OURS),
    "a name too long": (changed(inputs=["x" * 5000]), NOT_OURS),
    "explain": (changed(command="explain"), NOT_OURS),
    "models": (changed(command="models"), NOT_OURS),
    "worker": (changed(command="worker"), NOT_OURS),
    "rm": (changed(command="rm -rf ~;"), NOT_OURS),
    "another option": (asked(rm="-rf"), NOT_OURS),
    "an option that writes": (asked(features_cache="/"), NOT_OURS),
    "an option of another command": (asked(tau=0.1), NOT_OURS),
    "a switch that is none": (asked(keep=True), NOT_OURS),
    "a value for a switch": (asked(largest="yes"), NOT_OURS),
    "a number for a value": (asked(keep=0.5), NOT_OURS),
    "a list for one value": (asked(keep=["otsu"]), NOT_OURS),
    "a list of numbers": (changed(photos={"include": [1]}), NOT_OURS),
    "a value that is no choice": (asked(refine="$(touch x)"), NOT_OURS),
    "a number that is none": (asked(min_area="much"), NOT_OURS),
    "a folder elsewhere": (changed(folder="../somewhere", inputs=["photo.png"]), NOT_OURS),
    "a folder from the root": (changed(folder="/", inputs=["photo.png"]), NOT_OURS),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_tell_is_refused_in_one_line(machine: Machine, here: Here, name: str) -> None:
    content, reason = REFUSED[name]
    (machine.desk / "file").write_bytes(content)
    done = here("explain", "file")
    assert (done.code, done.out, done.err) == (1, b"", f"crate: file: {reason}\n")
    assert here("explain", "file", "--json").code == 1


def test_the_fields_that_refusals_change_are_fine_as_they_are(machine: Machine, here: Here) -> None:
    (machine.desk / "file").write_bytes(picture(GOOD))
    assert here("explain", "file").code == 0


def test_metacharacters_of_a_shell_stay_words(machine: Machine, here: Here) -> None:
    hostile = "x; touch x & $(touch x) `touch x` | > x 'x' \"x\""
    (machine.desk / "file").write_bytes(changed(device=hostile, weights="--output=/etc"))
    line = here("explain", "-q", "file").out.decode()
    for shell in SHELLS:
        words = evaluated(line, machine.home.with_name("empty"), shell)
        assert words[:2] == ["segment", "photo.png"]
        assert words[words.index("--device") + 1] == hostile
        assert "--model=--output=/etc" in words


@pytest.mark.parametrize("value", ["NaN", "1e999"])
def test_what_json_cannot_tell(machine: Machine, here: Here, value: str) -> None:
    (machine.desk / "file").write_bytes(picture(json.dumps(GOOD)[:-1] + f', "more": {value}}}'))
    done = here("explain", "file", "--json")
    assert (done.code, done.out, done.err) == (1, b"", f"crate: file: {NOT_OURS}\n")


def test_whatever_its_depth_json_is_explained_or_refused(machine: Machine, here: Here) -> None:
    codes = []
    for depth in (10, *range(700, 1000, 60), 100_000):
        deep = "[" * depth + "]" * depth
        (machine.desk / "file").write_bytes(picture(json.dumps(GOOD)[:-1] + f', "more": {deep}}}'))
        done = here("explain", "file", "--json", "-q")
        assert done.err in ("", f"crate: file: {NOT_OURS}\n", f"crate: file: {NO_KIND}\n")
        codes.append(done.code)
    assert (codes[0], codes[-1]) == (0, 1)


def test_no_file(machine: Machine, here: Here) -> None:
    os.mkfifo(machine.desk / "pipe")
    assert here("explain", "none.png").err == "crate: none.png: no such file\n"
    assert here("explain", "pipe").err == "crate: pipe: not a file\n"
    assert here("explain", ".").err == "crate: .: a folder, not a file: explain a file in it\n"
    machine.photo("in/a.png")
    assert here("segment", "in", "-o", "out").code == 0
    assert here("explain", "out").err.endswith("explain a file in it, as out/a.png\n")
    assert here("explain").code == 2


# All that is told.


def test_all_that_the_issue_names_is_told(photos: Machine, here: Here) -> None:
    here("segment", "photos/a.png", "-o", "mask.png", *SMALL)
    here("segment", "photos/a.png", "-o", "run.json", *SMALL)
    here("parts", "photos", "-k", "2", "--seed", "5", "-o", "parts", *SMALL)
    mask, run, parts = (
        json.loads(here("explain", "--json", name).out)
        for name in ("mask.png", "run.json", "parts/sheet.png")
    )
    assert len(mask["weights_sha256"]) == 64
    assert set(mask["recipe"]) >= {"layers", "heads", "keep", "refine"}
    assert mask["heads"]
    assert 0 < mask["threshold"] < 1
    assert mask["orientation"] == "upright, EXIF applied"
    assert (mask["seed"], run["seed"], parts["seed"]) == (0, 0, 5)
    assert run["weights_sha256"] == mask["weights_sha256"]
    assert set(mask["libraries"]) >= {"onnxruntime", "numpy", "pillow"}


def test_no_torch_is_loaded(machine: Machine) -> None:
    (machine.desk / "mask.png").write_bytes(picture(GOOD))
    script = "import sys; from cratecli.cli.app import main; "
    script += "sys.argv = ['crate', 'explain', '-q', 'mask.png']\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=machine.desk,
        env=machine.environment,
        capture_output=True,
        check=True,
    )
    line, *loaded = done.stdout.decode().split("\n", 1)
    assert line.startswith("crate segment ")
    modules = set(loaded[0].split())
    assert "cratecli.handover.explain" in modules
    assert not modules & {"torch", "timm", "sklearn", "matplotlib"}
