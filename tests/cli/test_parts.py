"""`crate parts` as its user meets it: folders of pictures, one parts.json, and vocabularies that outlive the run."""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster  # noqa: F401 - its threads can be held back once they are there
import torch
from safetensors.torch import save_file

from cratecli.io.formats.indexed import tint, voc_palette
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.tasks.parts_features import Album
from cratecli.tasks.parts_pictures import SHEET
from tests.cli.conftest import Done, Here, Machine, failed, picture, see_nothing
from tests.support.checkpoints import released

CONFIG = CrateConfig(patch_size=4, width=12, heads=3, depth=3, image_size=16, classes=0)
Tree = dict[str, bytes]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Give two checkpoint files, of one shape and other weights, as options."""
    folder = tmp_path_factory.mktemp("weights")
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        tensors = {name: tensor.contiguous() for name, tensor in released(Crate(CONFIG)).items()}
        files.append(str(folder / f"{seed}.safetensors"))
        save_file(tensors, files[-1], {"config": json.dumps(CONFIG.to_dict())})
    return files[0], files[1]


Parts = Callable[..., Done]


@pytest.fixture
def parts(here: Here, machine: Machine, weights: tuple[str, str]) -> Parts:
    """Run `crate parts` with a tiny model, and four photos in a folder."""
    for number in range(4):
        machine.photo(f"in/{number}.png", (48, 36) if number else (33, 47), seed=number)

    def run(*arguments: str | Path, **more: Any) -> Done:
        return here("parts", "-m", weights[0], *arguments, **more)

    return run


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a temporary folder of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def tree(machine: Machine, folder: str = "") -> Tree:
    """Give all files on the desk, or of a folder there, with what they hold."""
    return {
        name.removeprefix(folder): (machine.desk / name).read_bytes()
        for name in machine.files()
        if name.startswith(folder)
    }


def shown(files: Tree) -> Tree:
    """Give files as they look: a picture without the text that says how it was made."""
    return {
        name: picture(content).convert("RGB").tobytes() if name.endswith(".png") else content
        for name, content in files.items()
    }


def labels_of(machine: Machine, name: str) -> np.ndarray:
    return np.asarray(picture((machine.desk / name).read_bytes()))


def told(machine: Machine, folder: str) -> dict[str, Any]:
    """Read a folder's parts.json."""
    return dict(json.loads((machine.desk / folder / "parts.json").read_bytes()))


# What is written.


def test_a_folder_in_a_process_of_its_own(machine: Machine) -> None:
    """With the built-in model."""
    machine.photo("in/a.jpg", (64, 48))
    machine.photo("in/b.png", (48, 64), seed=1)
    done = machine.crate("parts", "in", "--size", "32", "-k", "2")
    assert done.code == 0
    assert done.lines == [
        "in-parts/labels/a.png",
        "in-parts/overlays/a.png",
        "in-parts/labels/b.png",
        "in-parts/overlays/b.png",
        "in-parts/parts.json",
        "in-parts/sheet.png",
    ]
    assert [name for name in machine.files() if not name.startswith("in/")] == sorted(done.lines)
    assert done.err.startswith("crate: crate-nano, layers ")
    assert ", k 2, foreground attention, refine none, seed 0, onnx cpu float32" in done.err
    assert done.err.count("\n") == 1


def test_help_loads_no_torch(machine: Machine) -> None:
    done = machine.crate("parts", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.code == 0
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.err.splitlines()}
    assert not {"torch", "timm", "cv2", "scipy", "sklearn"} & loaded


def test_labels_overlays_sheet(machine: Machine, parts: Parts) -> None:
    done = parts("in", "-o", "out", "-k", "3", "-q")
    assert (done.code, done.err) == (0, "")
    for number in range(4):
        photo = picture((machine.desk / f"in/{number}.png").read_bytes())
        labels = picture((machine.desk / f"out/labels/{number}.png").read_bytes())
        assert (labels.mode, labels.size) == ("P", photo.size)
        assert labels.getpalette() == voc_palette().reshape(-1).tolist()
        assert set(np.unique(np.asarray(labels))) <= {0, 1, 2, 3}
        overlay = picture((machine.desk / f"out/overlays/{number}.png").read_bytes())
        expected = tint(np.asarray(photo), np.asarray(labels), voc_palette())
        np.testing.assert_array_equal(np.asarray(overlay), expected)
    sheet = picture((machine.desk / "out/sheet.png").read_bytes())
    shown = {colour for _, colour in sheet.getcolors(1 << 20) or []}
    assert shown >= {tuple(colour) for colour in voc_palette()[1:4].tolist()}


def test_parts_json_says_what_the_pictures_show(
    machine: Machine, parts: Parts, weights: tuple[str, str]
) -> None:
    done = parts("in", "-o", "out", "-k", "3", "--names", "head, body,legs", "--seed", "5", "--json", "-q")
    about = told(machine, "out")
    assert json.loads(done.out) == about["images"]
    assert about["parts"] == [
        {"name": name, "label": label} for label, name in enumerate(("head", "body", "legs"), 1)
    ]
    assert (about["k"], about["seed"], about["foreground"], about["refine"]) == (3, 5, "attention", "none")
    assert (about["layers"], about["sizes"]) == ([2], [16, 24, 48])
    assert about["weights"] == weights[0]
    assert len(about["weights_sha256"]) == 64
    names = {part["label"]: part["name"] for part in about["parts"]}
    for number, record in enumerate(about["images"]):
        assert record["input"] == f"in/{number}.png"
        assert record["outputs"] == [f"out/labels/{number}.png", f"out/overlays/{number}.png"]
        labels = labels_of(machine, record["outputs"][0])
        assert (record["height"], record["width"]) == labels.shape
        assert {part["label"] for part in record["parts"]} == set(np.unique(labels)) - {0}
        assert sum(part["area"] for part in record["parts"]) == np.count_nonzero(labels)
        for part in record["parts"]:
            assert part["name"] == names[part["label"]]
            rows, cols = (labels == part["label"]).nonzero()
            assert part["area"] == len(rows)
            left, top, width, height = part["box"]
            assert (left, top) == (cols.min(), rows.min())
            assert (left + width - 1, top + height - 1) == (cols.max(), rows.max())
            assert part["centroid"] == pytest.approx([cols.mean(), rows.mean()], abs=0.0051)


def test_records_a_line(machine: Machine, parts: Parts) -> None:
    done = parts("in", "--jsonl", "-q")
    assert [json.loads(line) for line in done.lines] == told(machine, "in-parts")["images"]


def test_components_as_colours(machine: Machine, parts: Parts) -> None:
    assert parts("in", "-o", "out", "--as", "rgb", "-q").lines[:2] == ["out/rgb/0.png", "out/rgb/1.png"]
    assert parts("in", "-o", "out", "--as", "components", "-q").lines[0] == "out/components/0.png"
    assert parts("in", "-o", "out", "-q").code == 0
    for number in range(4):
        labels = labels_of(machine, f"out/labels/{number}.png")
        rgb = labels_of(machine, f"out/rgb/{number}.png")
        assert rgb.shape == (*labels.shape, 3)
        assert not rgb[labels == 0].any()
        pair = labels_of(machine, f"out/components/{number}.png")
        assert pair.shape == (labels.shape[0], 2 * labels.shape[1], 3)
        grey, three = pair[:, : labels.shape[1]], pair[:, labels.shape[1] :]
        assert (grey == grey[..., :1]).all()
        assert not (three == three[..., :1]).all()


def test_places(machine: Machine, parts: Parts) -> None:
    machine.photo("other/0.png", seed=7)
    machine.photo("loose.jpg", seed=8)
    written = set(tree(machine))
    assert parts("in/0.png", "loose.jpg", "-q").lines[0::2] == [
        "parts/labels/in/0.png",
        "parts/labels/loose.png",
        "parts/parts.json",
    ]
    assert parts("in", "other", "loose.jpg", "-o", "all", "-q").code == 0
    assert parts("loose.jpg", "-o", "new/one/", "-q").code == 0
    new = {name for name in set(tree(machine)) - written if "/labels/" in name}
    assert new == {
        *("parts/labels/in/0.png", "parts/labels/loose.png"),
        *(f"all/labels/in/{number}.png" for number in range(4)),
        *("all/labels/other/0.png", "all/labels/loose.png", "new/one/labels/loose.png"),
    }
    assert labels_of(machine, "new/one/labels/loose.png").shape == (36, 48)


def test_standard_input_among_photos(machine: Machine, parts: Parts) -> None:
    content = (machine.desk / "in/0.png").read_bytes()
    paths = [f"in/{number}.png" for number in range(1, 4)]
    done = parts("-", *paths, "-o", "out", "-q", stdin=content)
    assert done.lines[0] == "out/labels/stdin.png"
    assert told(machine, "out")["images"][0]["input"] == "standard input"
    assert parts("in", "-o", "plain", "-q").code == 0
    outputs = [
        labels_of(machine, f"{folder}/labels/{name}.png")
        for folder, name in (("out", "stdin"), ("plain", "0"))
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_the_sheet_shows_the_first_photos(machine: Machine, parts: Parts) -> None:
    for number in range(SHEET + 1):
        machine.photo(f"many/{number:02}.png", (16, 16), seed=number)
    done = parts("many", "-o", "out", "--foreground", "none", "--size", "16")
    assert done.code == 0
    assert done.err.splitlines()[1:] == ["crate: the sheet shows 60 of 61 photos"]
    assert len(told(machine, "out")["images"]) == SHEET + 1


def test_auto_chooses_how_many(machine: Machine, parts: Parts) -> None:
    assert parts("in", "-o", "out", "-k", "auto", "-q").code == 0
    about = told(machine, "out")
    assert 1 <= about["k"] <= 10
    assert about["k"] == len(about["parts"])


@pytest.mark.parametrize("refine", ["guided", "grabcut"])
def test_refined(machine: Machine, parts: Parts, refine: str) -> None:
    assert parts("in", "-o", "out", "--refine", refine, "-k", "2", "-q").code == 0
    assert told(machine, "out")["refine"] == refine
    assert set(np.unique(labels_of(machine, "out/labels/1.png"))) <= {0, 1, 2}


# The same whatever the order, the names and the company.


def same(machine: Machine, ones: Sequence[str], others: Sequence[str]) -> float:
    """Give the share of pixels with the same label."""
    pairs = zip(ones, others, strict=True)
    return float(np.mean([np.mean(labels_of(machine, a) == labels_of(machine, b)) for a, b in pairs]))


def test_order_batches_and_names_change_nothing(machine: Machine, parts: Parts) -> None:
    for number in range(4):
        content = (machine.desk / f"in/{number}.png").read_bytes()
        (machine.desk / "renamed").mkdir(exist_ok=True)
        (machine.desk / f"renamed/{9 - number}.png").write_bytes(content)
    expected = [f"in-parts/labels/{number}.png" for number in range(4)]
    assert parts("in", "-q").code == 0
    assert parts("in", "-o", "one", "--batch-size", "1", "-q").code == 0
    assert parts("in", "-o", "seven", "--batch-size", "7", "-q").code == 0
    assert parts(*(f"in/{number}.png" for number in (2, 0, 3, 1)), "-o", "order", "-q").code == 0
    assert parts("renamed", "-o", "renamed-out", "-q").code == 0
    for folder in ("one", "seven", "order"):
        assert same(machine, expected, [f"{folder}/labels/{number}.png" for number in range(4)]) > 0.999
    assert same(machine, expected, [f"renamed-out/labels/{9 - number}.png" for number in range(4)]) > 0.999


def test_the_same_command_twice_writes_the_same(machine: Machine, parts: Parts) -> None:
    first = parts("in", "-o", "out", "-q")
    before = tree(machine, "out/")
    assert parts("in", "-o", "out", "-q") == first
    assert tree(machine, "out/") == before


def test_a_broken_photo_is_not_the_end(machine: Machine, parts: Parts) -> None:
    assert parts("in", "-o", "plain", "-q").code == 0
    (machine.desk / "in/broken.png").write_bytes(b"<html>no photo</html>")
    done = parts("in", "-o", "out", "-q")
    assert done.code == 1
    assert done.err.splitlines() == [
        "crate: in/broken.png: an HTML page, not an image",
        "crate: 1 of 5 photos failed",
    ]
    plain, out = (tree(machine, f"{folder}/") for folder in ("plain", "out"))
    assert set(out) == set(plain)
    for name in set(out) - {"parts.json"}:
        assert out[name] == plain[name]
    assert [record["input"] for record in told(machine, "out")["images"]] == [f"in/{n}.png" for n in range(4)]


def test_a_photo_that_changed_meanwhile(
    machine: Machine, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(album: Album) -> object:
        machine.photo("in/1.png", seed=99)
        return learn(album)

    learn = Album.learn
    monkeypatch.setattr(Album, "learn", meddle)
    done = parts("in", "-o", "out", "-q")
    assert done.code == 1
    assert done.err.splitlines() == [
        "crate: in/1.png: changed while it was in use",
        "crate: 1 of 4 photos failed",
    ]
    assert "out/labels/1.png" not in machine.files()
    assert len(told(machine, "out")["images"]) == 3


def test_when_all_photos_are_broken_nothing_is_written(machine: Machine, parts: Parts) -> None:
    for name in ("a.png", "b.png"):
        (machine.desk / "bad").mkdir(exist_ok=True)
        (machine.desk / "bad" / name).write_bytes(b"no photo")
    before = tree(machine)
    done = parts("bad", "-q", "--save-parts", "v")
    assert (done.code, done.out) == (1, b"")
    assert done.err.splitlines()[-1] == "crate: no photo could be read: there is nothing to learn parts from"
    assert tree(machine) == before


# Vocabularies.


def test_a_vocabulary_labels_as_it_did(machine: Machine, parts: Parts) -> None:
    """To the byte; with its own layers, size and foreground, whatever is the default."""
    options = ("--foreground", "pca", "--layer", "0,2", "--size", "20", "-k", "3", "--names", "a,b,c")
    done = parts("in", "-o", "out", "--save-parts", "some/v", "-q", *options)
    assert (done.code, done.lines[0]) == (0, "some/v")
    again = parts("in", "-o", "again", "--parts", "some/v")
    assert again.code == 0
    assert ", layers 0,2, sizes 20, k 3, foreground pca, refine none" in again.err
    first, second = (shown(tree(machine, f"{folder}/")) for folder in ("out", "again"))
    assert {name: first[name] for name in first if name != "parts.json"} == {
        name: second[name] for name in second if name != "parts.json"
    }
    about = told(machine, "again")
    assert about.pop("crate")["parts"] == "../some/v"
    for image in about["images"]:
        image["outputs"] = [name.replace("again", "out") for name in image["outputs"]]
    assert about == {name: value for name, value in told(machine, "out").items() if name != "crate"}


def test_a_photo_alone_has_the_parts_it_had_in_company(machine: Machine, parts: Parts) -> None:
    parts("in", "-o", "out", "--save-parts", "v", "-q")
    for kind in ("labels", "rgb"):
        assert parts("in/2.png", "-o", "one", "--parts", "v", "--as", kind, "-q").code == 0
    assert same(machine, ["out/labels/2.png"], ["one/labels/2.png"]) > 0.999
    assert parts("in/2.png", "-o", "one", "--parts", "v", "--refine", "guided", "-q").code == 0
    assert told(machine, "one")["refine"] == "guided"


def test_known_parts_can_be_named(machine: Machine, parts: Parts) -> None:
    parts("in", "-k", "3", "--save-parts", "v", "-q")
    before = (machine.desk / "v").read_bytes()
    assert parts("in", "-o", "out", "--parts", "v", "--names", "x, y,z", "-q").code == 0
    assert [part["name"] for part in told(machine, "out")["parts"]] == ["x", "y", "z"]
    assert (machine.desk / "v").read_bytes() == before


def test_names_and_colours_stand_when_parts_are_learned_again(machine: Machine, parts: Parts) -> None:
    parts("in", "-o", "first", "-k", "3", "--save-parts", "v", "--names", "head,body,legs", "-q")
    pairs = {part["name"]: part["label"] for part in told(machine, "first")["parts"]}
    assert pairs == {"head": 1, "body": 2, "legs": 3}
    parts("in", "-o", "again", "-k", "3", "--save-parts", "v", "-q")
    for number in range(4):  # the same photos: the same picture
        name = f"labels/{number}.png"
        np.testing.assert_array_equal(
            labels_of(machine, f"first/{name}"), labels_of(machine, f"again/{name}")
        )
    for number in range(4):
        machine.photo(f"other/{number}.png", (40, 30), seed=50 + number)
    before = (machine.desk / "v").read_bytes()
    assert parts("other", "-o", "other-out", "-k", "3", "--save-parts", "v", "-q").code == 0
    assert (machine.desk / "v").read_bytes() != before
    assert {part["name"]: part["label"] for part in told(machine, "other-out")["parts"]} == pairs
    assert parts("other", "-o", "known", "--parts", "v", "-q").code == 0
    assert told(machine, "known")["parts"] == told(machine, "other-out")["parts"]


def test_more_and_fewer_parts_than_before(machine: Machine, parts: Parts) -> None:
    parts("in", "-k", "3", "--save-parts", "v", "--names", "head,body,legs", "-q")
    assert parts("in", "-o", "five", "-k", "5", "--save-parts", "v", "-q").code == 0
    found = {part["label"]: part["name"] for part in told(machine, "five")["parts"]}
    assert found == {1: "head", 2: "body", 3: "legs", 4: "part 4", 5: "part 5"}
    assert parts("in", "-o", "two", "-k", "2", "--save-parts", "v", "-q").code == 0
    assert {part["label"]: part["name"] for part in told(machine, "two")["parts"]}.items() <= found.items()
    assert set(np.unique(labels_of(machine, "two/labels/0.png"))) <= {
        0,
        *(part["label"] for part in told(machine, "two")["parts"]),
    }


def test_another_model_is_refused(
    machine: Machine, parts: Parts, here: Here, weights: tuple[str, str]
) -> None:
    parts("in", "-k", "3", "--save-parts", "v", "-q")
    before = tree(machine)
    reason = f"v: learned with {weights[0]} ("
    failed(here("parts", "-m", weights[1], "in", "-o", "new", "--parts", "v", "-q"), 2, reason)
    failed(here("parts", "-m", weights[1], "in", "-o", "new", "--save-parts", "v", "-q"), 2, reason)
    assert tree(machine) == before


@pytest.mark.parametrize("option", ["--parts", "--save-parts"])
@pytest.mark.parametrize("content", [b"", b"notes", b"<html>404</html>", "half", "photo", "weights"])
def test_what_is_no_vocabulary_is_left_alone(
    machine: Machine, parts: Parts, weights: tuple[str, str], option: str, content: bytes | str
) -> None:
    """Whatever it is, and whichever way it was taken for one: nothing is written, that file least of all."""
    if content == "half":
        parts("in", "--save-parts", "v", "-q")
        content = (machine.desk / "v").read_bytes()[:-200]
    elif isinstance(content, str):
        content = (machine.desk / {"photo": "in/0.png", "weights": weights[0]}[content]).read_bytes()
    (machine.desk / "v").write_bytes(content)
    before = tree(machine)
    done = parts("in", "-o", "new", option, "v", "-q")
    failed(done, 1, "crate: v: ")
    assert "part vocabulary" in done.err
    assert tree(machine) == before


def test_a_checkpoint_in_bfloat16_is_no_vocabulary(machine: Machine, parts: Parts) -> None:
    save_file({"weight": torch.ones(3, dtype=torch.bfloat16)}, machine.desk / "v")
    failed(parts("in", "-o", "new", "--parts", "v", "-q"), 1, "crate: v: ")


@pytest.mark.parametrize("layers", ["1", "0,1", "-1"])
def test_learning_again_from_other_layers_is_refused(machine: Machine, parts: Parts, layers: str) -> None:
    """Descriptors of other layers are not alike: no part has a partner among the old."""
    parts("in", "--layer", "0", "--save-parts", "v", "-q")
    before = tree(machine)
    failed(
        parts("in", "-o", "new", "--layer", layers, "--save-parts", "v", "-q"),
        2,
        "v: was learned from layer 0: give --layer 0, or another file",
    )
    assert tree(machine) == before
    assert parts("in", "-o", "new", "--layer", "-3", "--save-parts", "v", "-q").code == 0


# What goes wrong.


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "missing argument 'PHOTO...'"),
        (["in", "-o", "-"], 2, "parts fill a folder: give -o DIR"),
        (["in/0.png", "-o", "-"], 2, "parts fill a folder: give -o DIR"),
        (["in", "-o", "in"], 2, "in is an input: choose another output"),
        (["in", "-o", "in/"], 2, "in is an input: choose another output"),
        (["in", "-o", "./in/../in"], 2, "is an input: choose another output"),
        (["in/0.png", "-o", "in/0.png"], 2, "in/0.png is a file, or named like one: parts fill a folder"),
        (["in", "-o", "notes.txt"], 2, "notes.txt is a file, or named like one: parts fill a folder"),
        (["in", "-o", "new.PNG"], 2, "new.PNG is a file, or named like one"),
        (["in", "-o", ""], 2, "a path is empty"),
        (["in", "-k", "3,4"], 2, "--k '3,4' is not one whole number, or auto"),
        (["in", "-k", "0"], 2, "--k is 0, not greater than or equal to 1 or 'auto'"),
        (["in", "-k", "101"], 2, "--k is 101, not less than or equal to 100 or 'auto'"),
        (["in", "-k", "x"], 2, "--k 'x' is not"),
        (["in", "--k", "2.5"], 2, "--k '2.5' is not"),
        (["in", "-k", "100", "--size", "8"], 1, "too few for 100 parts: give more photos, fewer parts"),
        (["in", "--as", "gif"], 2, "'gif' is not one of 'labels', 'rgb', 'components'"),
        (["in", "--foreground", "cat"], 2, "'cat' is not one of 'attention', 'pca', 'none'"),
        (["in", "--refine", "edges"], 2, "'edges' is not one of 'none', 'guided', 'grabcut'"),
        (["in", "--layer", "3"], 2, "layer 3 of a model with 3 layers, 0 to 2"),
        (["in", "--layer", "last"], 2, "--layer 'last' is not all or whole numbers"),
        (["in", "--size", "0"], 2, "--size is 0, not greater than or equal to 1"),
        (["in", "--size", "32,x"], 2, "--size"),
        (["in", "--seed", "-1"], 2, "--seed is -1, not greater than or equal to 0"),
        (["in", "--names", "a,b"], 2, "--names gives 2 names for 4 parts"),
        (["in", "--names", "a,b,,d"], 2, "--names gives"),
        (["in", "--names", ""], 2, "--names gives"),
        (["in", "--save-parts", "notes.txt/v"], 1, "notes.txt/v: cannot be written: "),
        (["in", "--save-parts", "in"], 1, "in: cannot be written: a folder is in its place"),
        (["in", "--save-parts", "in/0.png"], 1, "in/0.png: cannot be read as a part vocabulary"),
        (["in", "--parts", "gone"], 1, "gone: no such file"),
        (
            ["in", "--parts", "v", "-k", "4"],
            2,
            "--parts labels by what was learned: --k makes no sense beside it",
        ),
        (["in", "--parts", "v", "--foreground", "pca"], 2, "--foreground makes no sense beside it"),
        (["in", "--parts", "v", "--layer", "0"], 2, "--layer makes no sense beside it"),
        (["in", "--parts", "v", "--size", "32"], 2, "--size makes no sense beside it"),
        (["in", "--parts", "v", "--save-parts", "w"], 2, "--save-parts makes no sense beside it"),
        (["in", "--parts", "v", "--names", "a,b"], 2, "--names gives 2 names for 3 parts"),
        (["in", "--json", "--jsonl"], 2, "--json and --jsonl exclude each other"),
        (["in", "--batch-size", "0"], 2, "--batch-size"),
        (["-", "-"], 2, "standard input can be read only once"),
        (["-"], 1, "standard input: empty"),
        (["gone.png"], 1, "gone.png: no such file"),
        (["empty"], 3, "no photo in empty"),
        (["a" * 300], 1, "File name too long"),
        (["in", "-m", "crate-nani"], 2, "no model 'crate-nani', did you mean crate-nano?"),
    ],
)
def test_what_goes_wrong_is_said(
    machine: Machine, parts: Parts, arguments: Sequence[str], code: int, reason: str
) -> None:
    """In one line, or where photos failed one by one in a last one; and nothing is written or changed."""
    if "v" in arguments:
        parts("in", "-o", "saved", "-k", "3", "--save-parts", "v", "-q")
    (machine.desk / "notes.txt").write_text("neither photo nor vocabulary")
    (machine.desk / "empty").mkdir()
    before = tree(machine)
    done = parts("-q", *arguments)
    assert (done.code, done.out) == (code, b"")
    assert reason in done.err
    lines = done.err.splitlines()
    assert all(line.startswith("crate: ") for line in lines)
    assert len(lines) == 1 + ("no photo could be read" in done.err)
    assert tree(machine) == before


IN_ITS_PLACE = "cannot be written: a folder is in its place: move it, or choose another output"


@pytest.mark.parametrize("kind", ["parts.json", "sheet.png"])
def test_a_file_of_the_run_that_cannot_be_written(machine: Machine, parts: Parts, kind: str) -> None:
    """It is said before the first photo is looked at."""
    (machine.desk / "out" / kind).mkdir(parents=True)
    before = tree(machine)
    failed(parts("in", "-o", "out", "--jsonl", "-q"), 1, f"crate: out/{kind}: {IN_ITS_PLACE}\n")
    assert tree(machine) == before


@pytest.mark.parametrize("kind", ["labels", "overlays"])
def test_an_output_that_cannot_be_written_fails_its_photo(machine: Machine, parts: Parts, kind: str) -> None:
    (machine.desk / "out" / kind / "1.png").mkdir(parents=True)
    done = parts("in", "-o", "out", "--json", "-q")
    told = f"crate: out/{kind}/1.png: {IN_ITS_PLACE}\ncrate: 1 of 4 photos failed\n"
    assert (done.code, done.err) == (1, told)
    assert [record["input"] for record in json.loads(done.out)] == ["in/0.png", "in/2.png", "in/3.png"]
    written = {Path(name).name for name in machine.files() if name.startswith("out/labels/")}
    assert written == {"0.png", "2.png", "3.png"}


@pytest.mark.parametrize(
    ("photo", "options"),
    [
        ("out/labels/a.png", ["-o", "out"]),
        ("out/rgb/a.png", ["-o", "out", "--as", "rgb"]),
        ("out/components/a.png", ["-o", "out", "--as", "components"]),
        ("out/overlays/a.png", ["-o", "out"]),
        ("out/sheet.png", ["-o", "out"]),
        ("parts/sheet.png", []),
    ],
)
def test_an_input_is_never_overwritten(
    machine: Machine, parts: Parts, photo: str, options: list[str]
) -> None:
    machine.photo(photo)
    before = tree(machine)
    failed(parts(photo, *options, "-q"), 2, "is an input: choose another output")
    assert tree(machine) == before


@pytest.mark.parametrize("file", ["out/parts.json", "out/sheet.png", "out/labels/0.png"])
def test_a_vocabulary_is_not_overwritten_by_the_run_that_saved_it(
    machine: Machine, parts: Parts, file: str
) -> None:
    failed(parts("in", "-o", "out", "--save-parts", file, "-q"), 2, file)


# The disk.


def test_nothing_stays_in_the_temporary_folder(
    machine: Machine, parts: Parts, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parts("in", "-q").code == 0
    assert parts("in", "-q", "--save-parts", "v").code == 0
    assert parts("in", "-q", "--parts", "v").code == 0
    assert parts("in", "-q", "-k", "100", "--size", "4").code == 1
    assert parts("in", "-q", "--names", "a").code == 2
    assert not list(temporary.iterdir())

    def interrupted(album: Album) -> object:
        assert len(list(temporary.rglob("*.npz"))) == 4
        raise KeyboardInterrupt

    monkeypatch.setattr(Album, "learn", interrupted)
    assert parts("in", "-q") == Done(130, b"", "crate: interrupted\n")
    assert not list(temporary.iterdir())


def test_a_full_temporary_folder_is_said(
    machine: Machine, parts: Parts, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **_arrays: np.ndarray) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    before = tree(machine)
    hint = ": cannot be written: No space left on device; set TMPDIR to a folder with room"
    done = parts("in", "-q", "--save-parts", "v")
    failed(done, 1, hint)
    assert done.err.startswith(f"crate: {temporary}/crate-")
    assert not list(temporary.iterdir())
    assert tree(machine) == before


def test_what_was_seen_answers_other_questions(
    machine: Machine, parts: Parts, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `parts` and of `segment`, with the built-in model, at one size: no inference the second time."""
    kept = ("--features-cache", "kept", "--size", "32", "-q")
    assert here("parts", "in", "-o", "out", "--save-parts", "v", *kept).code == 0
    before = tree(machine, "out/")
    see_nothing(monkeypatch)
    assert here("parts", "in", "-o", "out", *kept).code == 0
    assert tree(machine, "out/") == before
    assert here("parts", "in", "-o", "out", "--parts", "v", *kept[:2], "-q").code == 0
    for name, content in shown(tree(machine, "out/")).items():
        assert name == "parts.json" or content == shown(before)[name]
    for question in (
        ("-k", "2"),
        ("-k", "auto"),
        ("--foreground", "pca"),
        ("--refine", "guided"),
        ("--as", "rgb"),
    ):
        assert here("parts", "in", "-o", "other", *question, *kept).code == 0
    assert here("segment", "in", "-o", "masks", *kept).code == 0
    assert len(tree(machine, "masks/")) == 4
    assert "looked at again" in here("parts", "in/0.png", *kept, "--layer", "0").err


def test_a_refit_has_as_many_parts_as_before_and_says_what_it_drops(machine: Machine, parts: Parts) -> None:
    parts("in", "-k", "3", "--save-parts", "v", "--names", "a,b,c", "-q")
    assert parts("in", "-o", "again", "--save-parts", "v", "-q").code == 0
    kept = json.loads((machine.desk / "again/parts.json").read_bytes())
    assert [(part["name"], part["label"]) for part in kept["parts"]] == [("a", 1), ("b", 2), ("c", 3)]
    fewer = parts("in", "-o", "fewer", "-k", "2", "--save-parts", "v")
    assert re.search(r"crate: v: no part matches, and none is kept, of [abc]\n", fewer.err)


@pytest.mark.parametrize("kind", ["rgb", "components"])
def test_the_sheet_shows_what_was_asked_for(machine: Machine, parts: Parts, kind: str) -> None:
    parts("in", "-o", "labels", "-q")
    parts("in", "-o", "other", "--as", kind, "-q")
    assert (machine.desk / "labels/sheet.png").read_bytes() != (machine.desk / "other/sheet.png").read_bytes()
