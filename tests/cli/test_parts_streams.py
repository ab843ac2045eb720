"""`crate parts` of shards and tables: the vocabulary and the labels that files give, and disk does not grow."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sklearn.cluster  # noqa: F401 - its threads can be held back once they are there
import torch
from safetensors.torch import save_file

from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.runs.portions import Portion
from cratecli.runs.views import views_of
from cratecli.tasks import parts_album, parts_features, parts_run
from tests.cli.conftest import Done, Here, Machine, failed, never, picture
from tests.support.checkpoints import released
from tests.support.runs import read_rows
from tests.support.shards import jpeg, tar_of, write_parquet

CONFIG = CrateConfig(patch_size=4, width=12, heads=3, depth=3, image_size=16, classes=0)
PHOTOS = [jpeg(seed, 36 - 4 * (seed % 2)) for seed in range(7)]
PHOTOS.append(PHOTOS[2])  # one comes twice
RULES = ("attention", "pca", "none")
Parts = Callable[..., Done]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "0.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in released(Crate(CONFIG)).items()}
    save_file(tensors, file, {"config": json.dumps(CONFIG.to_dict())})
    return str(file)


@pytest.fixture
def parts(here: Here, weights: str) -> Parts:
    """Run `crate parts` with a tiny model, quietly."""

    def run(*arguments: str | Path, **more: Any) -> Done:
        return here("parts", "-m", weights, "-k", "3", "-q", *arguments, **more)

    return run


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a temporary folder of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how many bytes of descriptors may wait on disk."""
    return lambda most: monkeypatch.setattr(parts_run, "KEPT", most)


def members(numbers: Sequence[int]) -> dict[str, bytes]:
    return {f"{number}.jpg": PHOTOS[number] for number in numbers}


def shard(machine: Machine, name: str, *numbers: int, **others: bytes) -> str:
    more = {f"{each}.jpg": content for each, content in others.items()}
    (machine.desk / name).write_bytes(tar_of(members(numbers) | more))
    return name


def folder(machine: Machine, name: str = "in") -> str:
    (machine.desk / name).mkdir()
    for file, content in members(range(len(PHOTOS))).items():
        (machine.desk / name / file).write_bytes(content)
    return name


def files(machine: Machine, below: str) -> dict[str, bytes]:
    """Give the files below a folder."""
    return {
        name.removeprefix(f"{below}/"): (machine.desk / name).read_bytes()
        for name in machine.files()
        if name.startswith(f"{below}/")
    }


def told(machine: Machine, place: str) -> dict[str, Any]:
    """Read parts.json, which is written as JSON of the standard library is."""
    content = (machine.desk / place / "parts.json").read_text()
    about: dict[str, Any] = json.loads(content)
    assert json.dumps(about, indent=1) == content
    return about


@pytest.mark.parametrize("rule", RULES)
def test_a_vocabulary_is_the_same_to_the_byte_however_photos_were_dealt_out(
    machine: Machine, parts: Parts, kept: Callable[[int], None], rule: str
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    everything = range(len(PHOTOS))
    sources = {
        "folder": [folder(machine)],
        "one": [shard(machine, "one.tar", *everything)],
        "mixed": [
            shard(machine, "m-1.tar", 6, 1),
            shard(machine, "m-0.tar", 3, 7, 0),
            "in/5.jpg",
            "in/2.jpg",
        ],
    }
    sources["mixed"].append(shard(machine, "m-2.tar", 4))
    write_parquet(machine.desk / "t.parquet", [PHOTOS[number] for number in everything[::-1]])
    sources["table"] = ["t.parquet"]
    found = {}
    for name, named in sources.items():
        for size, most in (("8", 10**9), ("3", 40_000), ("1", 0)):
            kept(most)
            way = "labels" if size == "3" else "none"
            to = ("-o", f"out-{name}") if way == "labels" else ()
            save = f"v-{name}-{size}"
            options = ("--foreground", rule, "--as", way, "--batch-size", size)
            assert parts(*named, *options, *to, "--save-parts", save).code == 0
            found[name, size] = (machine.desk / save).read_bytes()
    assert len(set(found.values())) == 1
    once = shard(machine, "once.tar", *everything[:-1])
    assert parts(once, "--foreground", rule, "--as", "none", "--save-parts", "v").code == 0
    assert (machine.desk / "v").read_bytes() not in found.values()  # a photo that comes twice counts twice


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("most", [10**9, 40_000, 0])
def test_shards_are_labelled_as_files_are(
    machine: Machine, parts: Parts, kept: Callable[[int], None], rule: str, most: int
) -> None:
    """Whether their descriptors waited on disk or not."""
    plain = parts(folder(machine), "-o", "plain", "--foreground", rule, "--save-parts", "v")
    assert plain.code == 0
    kept(most)
    shards = [shard(machine, f"s-{each}.tar", *numbers) for each, numbers in ((1, (0, 3, 5)), (0, (7, 2)))]
    done = parts(*shards, "in/1.jpg", "in/4.jpg", "in/6.jpg", "-o", "out", "--foreground", rule)
    assert (done.code, done.err) == (0, "")
    places = {0: "s-1/0", 3: "s-1/3", 5: "s-1/5", 7: "s-0/7", 2: "s-0/2", 1: "1", 4: "4", 6: "6"}
    expected, found = files(machine, "plain"), files(machine, "out")
    for number, place in places.items():
        for kind in ("labels", "overlays"):
            assert unsigned(found[f"{kind}/{place}.png"]) == unsigned(expected[f"{kind}/{number}.png"])
    pictures = {f"{kind}/{place}.png" for kind in ("labels", "overlays") for place in places.values()}
    assert {name for name in found if name.endswith(".png")} == {*pictures, "sheet.png"}
    images = told(machine, "out")["images"]
    inputs = [image["input"] for image in images]
    assert inputs == [
        *("in/1.jpg", "in/4.jpg", "in/6.jpg"),
        *("s-1.tar::0.jpg", "s-1.tar::3.jpg", "s-1.tar::5.jpg", "s-0.tar::7.jpg", "s-0.tar::2.jpg"),
    ]
    by_number = {
        image["input"].removeprefix("in/"): image["parts"] for image in told(machine, "plain")["images"]
    }
    for image in images:
        assert image["parts"] == by_number[image["input"].rpartition("::")[2].rpartition("/")[2]]
    assert {row.input for row in read_rows(machine.desk / "out")} >= {"../s-1.tar::0.jpg", "../in/1.jpg"}


def unsigned(png: bytes) -> tuple[str, bytes]:
    """Give a picture without the text that says how it was made."""
    return picture(png).mode, picture(png).tobytes()


def test_a_saved_vocabulary_labels_shards_of_any_kind(
    machine: Machine, parts: Parts, here: Here, weights: str
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert parts(folder(machine), "-o", "plain", "--save-parts", "v").code == 0
    shard(machine, "a.tar", 0, 1, 2)
    write_parquet(machine.desk / "t.parquet", PHOTOS[3:5], column="photo")
    label = ("parts", "-m", weights, "-q", "--parts", "v")
    assert here(*label, "t.parquet", "--column", "photo").lines[0] == "t-parts/labels/t/00000000.png"
    assert here(*label, "a.tar", "-o", "out", "--as", "npz").code == 0
    assert {name for name in files(machine, "out") if name.startswith("npz")} == {
        f"npz/a/{number}.npz" for number in range(3)
    }
    found = files(machine, "t-parts")
    for row, number in enumerate((3, 4)):
        expected = files(machine, "plain")[f"labels/{number}.png"]
        assert unsigned(found[f"labels/t/{row:08}.png"]) == unsigned(expected)


@pytest.mark.parametrize("rule", ["attention", "pca"])
@pytest.mark.parametrize("most", [10**9, 0])
def test_what_fails_is_told_of_once(
    machine: Machine, parts: Parts, kept: Callable[[int], None], rule: str, most: int
) -> None:
    """Though photos are read two or three times: a bad photo, a shard that is cut short, one that is not there."""
    kept(most)
    good = shard(machine, "good.tar", 0, 1, 2, bad=b"no photo")
    cut = shard(machine, "cut.tar", 3, 4)
    content = (machine.desk / cut).read_bytes()
    (machine.desk / cut).write_bytes(content[: content.index(b"4.jpg") + 700])
    done = parts(good, cut, "gone.tar", "in.jpg", "-o", "out", "--foreground", rule, "--save-parts", "v")
    assert done.code == 1
    assert sorted(done.err.splitlines()) == [
        "crate: 4 of 8 photos failed",
        "crate: cut.tar: a broken archive: unexpected end of data",
        "crate: gone.tar: No such file or directory",
        "crate: good.tar::bad.jpg: not an image of a known format",
        "crate: in.jpg: no such file",
    ]
    inputs = [image["input"] for image in told(machine, "out")["images"]]
    assert inputs == ["good.tar::0.jpg", "good.tar::1.jpg", "good.tar::2.jpg", "cut.tar::3.jpg"]
    shard(machine, "fine.tar", 0, 1, 2, 3)
    assert parts("fine.tar", "--as", "none", "--foreground", rule, "--save-parts", "w").code == 0
    assert (machine.desk / "v").read_bytes() == (machine.desk / "w").read_bytes()


# Learning alone.


def test_nothing_is_written_but_the_vocabulary(
    machine: Machine, parts: Parts, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(machine, "a.tar", 0, 1, 2, 3)
    before = set(machine.files())
    monkeypatch.setattr(parts_album, "label", never)
    done = parts("a.tar", "--as", "none", "--save-parts", "some/v")
    assert (done.code, done.lines, done.err) == (0, ["some/v"], "")
    assert set(machine.files()) - before == {"some/v"}
    assert parts("a.tar", "--as", "none", "--save-parts", "some/w", "--jsonl") == Done(0, b"", "")
    assert not list(temporary.iterdir())
    again = parts("a.tar", "--as", "none", "--save-parts", "some/v", "--names", "a,b,c")
    assert again.code == 0
    dry = parts("a.tar", "--as", "none", "--save-parts", "some/v", "--dry-run")
    assert dry.lines == ["a.tar\tsome/v"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--as", "none"), "nothing is written of the photos: give --save-parts FILE"),
        (("--as", "none", "--save-parts", "v", "-o", "out"), "--output makes no sense beside it"),
        (("--as", "none", "--save-parts", "v", "--prune"), "--prune makes no sense beside it"),
        (("--as", "none", "--save-parts", "v", "--refine", "guided"), "--refine makes no sense beside it"),
        (("--as", "none", "--save-parts", "a.tar"), "a.tar is an input: choose another output"),
        (("--as", "none", "--save-parts", "in/0.jpg"), "in/0.jpg is an input: choose another output"),
        (("-o", "out", "--save-parts", "a.tar"), "a.tar is an input: choose another output"),
        (("-o", "out", "--save-parts", "out/labels/a/v"), "out/labels/a/v is written by this run anyway"),
        (("-o", "out", "--save-parts", "out/overlays/a/b/v"), "out/overlays/a/b/v is written by this run"),
    ],
)
def test_what_makes_no_sense_is_refused(
    machine: Machine, parts: Parts, arguments: Sequence[str], reason: str
) -> None:
    folder(machine)
    shard(machine, "a.tar", 0, 1)
    before = files(machine, ""), set(machine.files())
    failed(parts("a.tar", "in", *arguments), 2, reason)
    assert (files(machine, ""), set(machine.files())) == before


def test_an_input_named_like_the_run(machine: Machine, parts: Parts) -> None:
    shutil.move(machine.desk / shard(machine, "a.tar", 0, 1), machine.desk / "parts.json.tar")
    assert parts("parts.json.tar", "--dry-run").lines == [
        "parts.json.tar\tparts.json-parts/labels/parts.json/"
    ]


# How often photos are read, and what becomes of them.


@pytest.mark.parametrize(
    ("rule", "most", "looks"),
    [("attention", 10**9, 1), ("pca", 10**9, 1), ("attention", 0, 2), ("pca", 0, 3), ("none", 4096, 2)],
)
def test_the_model_sees_photos_as_often_as_it_must(
    machine: Machine,
    parts: Parts,
    kept: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    most: int,
    looks: int,
) -> None:
    shard(machine, "a.tar", 0, 1, 2)
    kept(most)
    seen = list[Any]()

    def counted(photos: Sequence[Any], *arguments: Any, **more: Any) -> Any:
        seen.extend(photos)
        return views_of(photos, *arguments, **more)

    monkeypatch.setattr("cratecli.runs.batch.views_of", counted)
    assert parts("a.tar", "-o", "out", "--foreground", rule).code == 0
    assert len(seen) == 3 * looks


def test_disk_is_bounded(
    machine: Machine,
    parts: Parts,
    temporary: Path,
    kept: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Descriptors of the first photos are there, until there are too many: then none is."""
    kept(50_000)
    shard(machine, "a.tar", *range(8))
    there = []
    add = parts_features.Album.add

    def counted(*arguments: Any) -> None:
        add(*arguments)
        there.append(len(list(temporary.rglob("*.npz"))))

    monkeypatch.setattr(parts_features.Album, "add", counted)
    assert parts("a.tar", "-o", "out").code == 0
    assert there == [1, 2, 3, 0, 0, 0, 0, 0]
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("way", ["none", "labels"])
def test_photos_that_are_done_are_forgotten(
    machine: Machine, parts: Parts, kept: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """No job stays in memory: of some millions they would fill it."""
    kept(0)
    shard(machine, "a.tar", *range(6), bad=b"no photo")
    portions = list[Portion]()

    def noted(*arguments: Any) -> Portion:
        portions.append(readable(*arguments))
        return portions[-1]

    readable = parts_album.readable
    monkeypatch.setattr(parts_album, "readable", noted)
    to = ("-o", "out") if way == "labels" else ()
    done = parts("a.tar", "--as", way, *to, "--save-parts", "v", "--foreground", "pca")
    assert (done.code, done.err.splitlines()[-1]) == (1, "crate: 1 of 7 photos failed")
    assert [len(portion.done) for portion in portions] == [0] * (3 if way == "labels" else 2)


def test_photos_that_change_between_two_looks(
    machine: Machine,
    parts: Parts,
    here: Here,
    weights: str,
    kept: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are labelled as they are; it is said that the vocabulary is of both."""
    kept(0)
    shard(machine, "a.tar", 0, 1, 2)

    passes = list[None]()

    def meddle(run: Any, known: Any) -> Any:
        if passes:
            shard(machine, "a.tar", 0, 1, 3)
        passes.append(None)
        return readable(run, known)

    readable = parts_album.readable
    monkeypatch.setattr(parts_album, "readable", meddle)
    loud = ("parts", "-m", weights, "a.tar", "-o", "out", "--foreground", "pca", "-k", "2")
    done = here(*loud)
    assert done.code == 0
    assert "crate: all photos are looked at again, now that foreground and background are known\n" in done.err
    assert (
        "crate: photos changed, or could not be read again, while parts were learned from them\n" in done.err
    )
    assert [image["input"] for image in told(machine, "out")["images"]][-1] == "a.tar::3.jpg"
    kept(10**9)
    passes.clear()
    shard(machine, "a.tar", 0, 1, 2)
    done = parts("a.tar", "-o", "whole", "--foreground", "pca")
    assert "crate: a.tar::3.jpg: changed while it was in use\n" in done.err


def test_a_shard_beside_its_own_outputs(machine: Machine, parts: Parts) -> None:
    """What a killed run left behind is swept, in every folder; outputs that somebody edited stay."""
    shard(machine, "a.tar", 0, 1)
    assert parts("a.tar", "-o", "out").code == 0
    orphans = [machine.desk / f"out/{kind}/a/.crate-{'0' * 32}.part" for kind in ("labels", "overlays")]
    for orphan in orphans:
        orphan.write_bytes(b"")
    (machine.desk / "out/labels/a/0.png").write_bytes((machine.desk / "out/labels/a/1.png").read_bytes())
    edited = (machine.desk / "out/labels/a/0.png").read_bytes()
    done = parts("a.tar", "-o", "out")
    assert done.code == 0
    assert not any(orphan.exists() for orphan in orphans)
    assert (machine.desk / "out/labels/a/0.png").read_bytes() == edited
    assert [image["input"] for image in told(machine, "out")["images"]] == ["a.tar::1.jpg"]
