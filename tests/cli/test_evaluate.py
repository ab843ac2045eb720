"""`crate evaluate` as its user meets it: tables, records, resumed runs, and what goes wrong."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file

import cratecli
from cratecli.cli import tables
from cratecli.evaluation.records import EvaluationRecord
from cratecli.evaluation.result import Evaluation, Measure, ResultRow
from cratecli.evaluation.scores import ScoreStore
from cratecli.geometry import Box
from cratecli.model.engine import WeightsId
from tests.cli.conftest import Here, Machine, failed
from tests.support.painted import coco, devkit, labelled, pairs, save
from tests.support.photos import photo
from tests.support.vits import family_vit, register_families
from tests.support.warm import warm_python

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

KILLED = """
import os, signal
from itertools import count
from cratecli.cli.app import main
from cratecli.evaluation.scores import ScoreStore

add, added = ScoreStore.add, count(1)

def dying(store, *scores):
    add(store, *scores)
    if next(added) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

ScoreStore.add = dying
main()
"""
"""A process that is killed when it has written the scores of five photos."""

QUICK = ("--size", "32", "--resamples", "20")
MASKS = (*QUICK, "--refine", "none")
DISC = Box(7, 8, 29, 30)


def disc(seed: int = 0) -> np.ndarray:
    return photo(36, 48, seed)


def truth(label: int = 255) -> np.ndarray:
    return labelled((DISC, label), height=36, width=48)


def saliency_set(folder: Path, count: int = 3) -> Path:
    return pairs(folder, "masks", *((disc(seed), truth()) for seed in range(count)))


def values(record: dict[str, Any], row: int = 0) -> dict[str, float]:
    return {name: each["value"] for name, each in record["rows"][row]["measures"].items()}


def test_a_table_of_what_segment_makes(machine: Machine, here: Here) -> None:
    """The masks of `crate segment`, for truth: all is right."""
    for seed in range(3):
        machine.photo(f"own/images/{seed}.png", (64, 48), seed)
    assert here("segment", "own/images", "-o", "own/masks", "--size", "32", "--refine", "none").code == 0
    (machine.desk / "own/masks/manifest.jsonl").unlink()
    done = here("evaluate", "saliency", "own", *MASKS, "-m", "crate-nano")
    assert done.code == 0, done.err
    assert done.err.startswith(
        "crate: crate-nano, layers 4,5,6,7, sizes 32, heads auto, keep otsu, refine none, torch cpu"
    )
    header, row, *rest = done.lines
    assert header.split() == ["model", "IoU", "maxFβ", "MAE", "accuracy", "CorLoc"]
    assert row.split()[:4] == ["crate-nano", "auto", "1.000", "(1.000–1.000)"]
    assert rest[1].startswith("3 photos of own; layers 4,5,6,7, sizes 32")
    assert rest[-1] == "95 % intervals: percentiles of 20 resamples of the photos, seed 0"


def test_records_say_all_and_nothing_else_stands_on_stdout(machine: Machine, here: Here) -> None:
    saliency_set(machine.desk / "set")
    done = here("evaluate", "saliency", "set", *MASKS, "--json", "--oracle", "--mean-of-heads", "-q")
    assert (done.code, done.err) == (0, "")
    (record,) = json.loads(done.out)
    assert record["protocol"] == "saliency"
    assert (record["data"], record["photos"], record["failed"]) == ("set", 3, 0)
    assert record["weights"] == "crate-nano"
    assert record["settings"]["refine"] == "none"
    assert record["settings"]["oracle"] is True
    assert [row["name"] for row in record["rows"]] == ["auto", "mean of heads", "oracle"]
    result = cratecli.evaluate_saliency(
        machine.desk / "set", "crate-nano", sizes=[32], refine="none", oracle=True, mean_of_heads=True
    )
    for row, printed in zip(result.rows, record["rows"], strict=True):
        assert {each.name: each.value for each in row.measures} == pytest.approx(
            {name: each["value"] for name, each in printed["measures"].items()}, abs=1e-6
        )
        assert all(each["low"] <= each["value"] <= each["high"] for each in printed["measures"].values())
        assert all(each["paper"] is None for each in printed["measures"].values())


def test_photos_are_read_by_the_range_that_is_asked_for(machine: Machine, here: Here) -> None:
    folder = saliency_set(machine.desk / "set", 1)
    (path,) = folder.glob("images/*")
    deep = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
    path.unlink()
    Image.fromarray(deep).save(path.with_suffix(".png"))
    runs = {}
    for range_ in ("auto", "0:4095", "0:100"):
        done = here("evaluate", "saliency", "set", *MASKS, "--json", "-q", "--range", range_)
        (record,) = json.loads(done.out)
        assert record["settings"]["range"] == range_
        runs[range_] = values(record)
    assert runs["auto"] == runs["0:4095"] != runs["0:100"]


def test_masks_as_data_sets_store_them(machine: Machine, here: Here) -> None:
    """White on transparent white and a dark class of a palette are the masks that 0 and 255 are."""
    table = here("evaluate", "saliency", str(saliency_set(machine.desk / "set")), *MASKS, "--json", "-q").out
    for path in sorted((machine.desk / "set/masks").iterdir()):
        alpha = Image.open(path).convert("L")
        if path.stem == "a":
            dark = Image.fromarray(np.where(np.asarray(alpha), 3, 0).astype(np.uint8))
            dark.putpalette([0, 0, 0] * 3 + [60, 20, 0])
            dark.save(path)
        else:
            Image.merge("LA", [Image.new("L", alpha.size, 255), alpha]).convert("RGBA").save(path)
    assert here("evaluate", "saliency", str(machine.desk / "set"), *MASKS, "--json", "-q").out == table


def test_truth_that_is_doubtful(machine: Machine, here: Here) -> None:
    """It is told with the numbers, also of scores that are known; a mask that shows nothing is a failure."""
    folder = saliency_set(machine.desk / "set", 4)
    Image.new("L", (48, 36), 255).save(folder / "masks/a.png")
    Image.new("L", (48, 36), 0).save(folder / "masks/b.png")
    Image.linear_gradient("L").resize((48, 36)).save(folder / "masks/c.png")
    first = here("evaluate", "saliency", "set", *MASKS)
    assert first.code == 1
    assert "crate: set/masks/b.png: shows no object: all of it is background" in first.err.splitlines()
    notes = [
        "1 of 3 masks are foreground all over: a",
        "1 of 3 masks have many grey levels, of which those above 127 are foreground: c",
    ]
    assert first.lines[-3:-1] == notes
    (record,) = json.loads(here("evaluate", "saliency", "set", *MASKS, "--resume", "--json").out)
    assert record["notes"][-3:-1] == notes
    cut = here("evaluate", "saliency", "set", *MASKS, "--off-centre")
    assert (cut.code, "1 of 2 photos failed" in cut.err) == (1, True), cut.err


def test_folders_of_other_names(machine: Machine, here: Here) -> None:
    folder = saliency_set(machine.desk / "set", 2)
    table = here("evaluate", "saliency", "set", *MASKS, "--json", "-q").out
    folder.rename(machine.desk / "DUTS")
    (machine.desk / "DUTS/images").rename(machine.desk / "DUTS/DUTS-TE-Image")
    (machine.desk / "DUTS/masks").rename(machine.desk / "DUTS/DUTS-TE-Mask")
    (record,) = json.loads(here("evaluate", "saliency", "DUTS", *MASKS, "--json", "-q").out)
    assert record["rows"] == json.loads(table)[0]["rows"]
    assert (record["settings"]["images"], record["settings"]["masks"]) == ("DUTS-TE-Image", "DUTS-TE-Mask")
    (machine.desk / "DUTS/DUTS-TE-Mask").rename(machine.desk / "truth")
    named = ("--images", "DUTS-TE-Image", "--masks", "../truth")
    (record,) = json.loads(here("evaluate", "saliency", "DUTS", *named, *MASKS, "--json", "-q").out)
    assert record["rows"] == json.loads(table)[0]["rows"]
    failed(here("evaluate", "saliency", "DUTS", *MASKS), 1, "name its folders with --images and --masks")
    assert here("evaluate", "parts", "DUTS", *named, "--size", "32", "--resamples", "0", "-q").code == 0


def test_several_models_and_markdown(machine: Machine, here: Here) -> None:
    """A file of its own is a model too; each is evaluated once, however often it is named."""
    saliency_set(machine.desk / "set")
    file = Path(here("models", "path", "crate-nano").lines[0])
    (machine.desk / "a|b.safetensors").write_bytes(file.read_bytes())
    models = ("-m", "crate-nano", "-m", "a|b.safetensors", "-m", "crate-nano")
    done = here("evaluate", "saliency", "set", *MASKS, *models, "--markdown", "-q")
    assert done.code == 0, done.err
    header, line, first, second, blank, *notes = done.lines
    assert header == "| model |  | IoU | maxFβ | MAE | accuracy | CorLoc |"
    assert line == "|---|---|---:|---:|---:|---:|---:|"
    assert first.startswith("| crate-nano | auto | ")
    assert second.startswith("| a\\|b.safetensors | auto | ")
    assert first.split(" | ")[2:] == second.split(" | ")[2:]
    assert blank == ""
    assert notes[0].startswith("- crate-nano: 3 photos of set; ")
    assert notes[1].startswith("- a|b.safetensors: 3 photos of set; ")


def test_families_of_vits_stand_side_by_side(machine: Machine, here: Here) -> None:
    """Patches of 14 and 16 px, registers, and no class token: one table, and scores that are kept for each model."""
    saliency_set(machine.desk / "set")
    families = ("dinov2-registers", "dinov3", "clip", "siglip")
    register_families()
    rows = []
    for family in families:
        save_file(family_vit(family).state_dict(), machine.desk / f"{family}.safetensors")
        architecture = f"timm:tiny_{family.replace('-', '_')}"
        file = machine.desk / f"{family}.safetensors"
        rows.append(f'[models.{family}]\narchitecture = "{architecture}"\nfile = "{file}"\n')
    machine.register("\n".join(rows))
    models = [word for family in ("crate-nano", *families) for word in ("-m", family)]
    options = ("--size", "64", "--resamples", "0", "--refine", "none", "--min-confidence", "0", *models)
    done = here("evaluate", "saliency", "set", *options, "-q")
    assert done.code == 0, done.err
    assert [line.split()[:2] for line in done.lines[1:6]] == [
        [name, "auto"] for name in ("crate-nano", *families)
    ]
    again = here("evaluate", "saliency", "set", *options, "--resume", "--json")
    assert again.err.count("3 photos were evaluated before") == 5
    records = json.loads(again.out)
    assert [record["weights"] for record in records] == ["crate-nano", *families]
    assert len({json.dumps(values(record)) for record in records}) == 5
    layers = [record["settings"]["layers"] for record in records[1:]]
    assert layers == [[1], [1], [1], [2]]  # the last: of siglip its pooling head


def test_voc(machine: Machine, here: Here) -> None:
    devkit(machine.desk / "VOCdevkit", (disc(), truth(15)), (disc(1), truth(7)))
    done = here("evaluate", "voc", "VOCdevkit", *QUICK, "--layer", "all", "--json", "-q")
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)
    assert [row["layer"] for row in record["rows"]] == [layer for layer in range(8) for _ in range(3)]
    assert all(0 < values(record, row)["mIoU"] < 1 for row in range(24))
    table = here("evaluate", "voc", "VOCdevkit/VOC2012", *QUICK, "-q")
    assert table.lines[0].split() == ["model", "layer", "mIoU", "%"]
    assert len(table.lines) == 9
    assert "32 × 32 px, single view" in table.lines[5]
    failed(
        here("evaluate", "voc", "VOCdevkit", "--split", "train", "-q"), 1, "train.txt in it: not a VOCdevkit"
    )


def test_coco(machine: Machine, here: Here) -> None:
    coco(machine.desk / "set", (disc(), [DISC]), (disc(1), [DISC, Box(0, 0, 4, 4)]))
    done = here("evaluate", "coco", "set", "--size", "64", "--resamples", "20", "--json", "-q")
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)
    assert [(row["name"], row["layer"]) for row in record["rows"]] == [
        ("every score 1", 6),
        ("our scores", 6),
    ]
    assert {name.split()[0] for name in values(record)} == {"box", "mask"}
    attention = [4, 5, 6, 7]
    assert record["settings"] == {
        "range": "auto",
        "layers": [6],
        "sizes": [64],
        "attention": attention,
        "tau": 0.15,
        "count": 3,
    }
    other = here("evaluate", "coco", "set", "--tau", "0.3", "--n", "1", "--layer", "-1", "-q", *QUICK)
    assert "layers 7, 32 × 32 px, tau 0.3, n 1" in other.out.decode()


def test_what_is_wrong_with_the_second_model_is_said_before_the_first_is_judged(
    machine: Machine, here: Here
) -> None:
    saliency_set(machine.desk / "set", 1)
    (machine.desk / "broken.safetensors").write_bytes(b"broken")
    done = here(
        "evaluate",
        "saliency",
        "set",
        *QUICK,
        "-m",
        "crate-nano",
        "-m",
        "broken.safetensors",
        "--scores",
        "scores",
    )
    failed(done, 4, "broken.safetensors")
    assert not list(machine.desk.glob("scores/*"))


def test_parts(machine: Machine, here: Here) -> None:
    pairs(machine.desk / "set", "masks_part", (disc(), truth(1)), (disc(1), truth(1)))
    done = here("evaluate", "parts", "set", "-k", "2", "--json", "-q", *QUICK)
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)
    assert list(values(record)) == ["NMI", "ARI", "NMI, object", "ARI, object", "part IoU"]
    assert record["settings"]["k"] == 2
    again = here("evaluate", "parts", "set", "-k", "2", "--json", "--resume", *QUICK)
    assert again.out == done.out
    assert again.err.splitlines()[-1] == "crate: 2 photos were evaluated before"
    failed(
        here("evaluate", "parts", "set", "-k", "many", "-q"),
        2,
        "--k 'many' is not whole numbers",
    )


def test_killed_in_the_middle_and_taken_up(machine: Machine, here: Here) -> None:
    """FAULTS 12: known scores are not computed again, and the numbers are those of an unbroken run."""
    saliency_set(machine.desk / "set", 20)
    command = ["evaluate", "saliency", "set", *MASKS, "--scores", "kept", "--resume", "--json"]
    killed = subprocess.run(
        [warm_python(), "-c", KILLED, *command],
        cwd=machine.desk,
        env=machine.environment,
        capture_output=True,
        check=False,
    )
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"")
    (file,) = machine.desk.glob("kept/*.jsonl")
    before = file.read_bytes().count(b"\n")
    assert 5 <= before < 20
    with file.open("ab") as stream:
        stream.write(b'{"key": "torn')
    taken_up = here(*command)
    assert taken_up.code == 0
    assert taken_up.err.splitlines()[-1] == f"crate: {before} photos were evaluated before"
    assert len(file.read_bytes().splitlines()) == 20
    unbroken = here(*command, "--scores", "other")
    assert "before" not in unbroken.err
    assert unbroken.out == taken_up.out


def test_asked_to_end(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in hand is finished; the rest is for --resume."""
    saliency_set(machine.desk / "set", 30)
    add, added = ScoreStore.add, count(1)

    def asking(store: ScoreStore[Any], *scores: Any) -> None:
        add(store, *scores)
        if next(added) == 3:
            assert callable(signal.getsignal(signal.SIGTERM))
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ScoreStore, "add", asking)
    ended = here("evaluate", "saliency", "set", *MASKS, "--scores", "kept", "--batch-size", "1")
    assert (ended.code, ended.out) == (143, b"")
    (file,) = machine.desk.glob("kept/*.jsonl")
    done = len(file.read_bytes().splitlines())
    assert 3 <= done < 30
    last = f"crate: interrupted: {done} of 30 photos done, {30 - done} left; --resume goes on from here"
    assert ended.err.splitlines()[-1] == last


def test_a_bad_photo_among_good_ones(machine: Machine, here: Here) -> None:
    """Each is one line; the numbers are of the others, which is said; the run ends with 1."""
    folder = saliency_set(machine.desk / "set", 5)
    (folder / "images/b.png").write_bytes(b"no photo")
    save(folder / "masks/c.png", np.zeros((36, 48), np.uint8))
    save(folder / "masks/d.png", np.full((48, 36), 255, np.uint8))
    done = here("evaluate", "saliency", "set", *MASKS, "-q")
    assert done.code == 1
    assert sorted(done.err.splitlines()) == [
        "crate: 3 of 5 photos failed",
        "crate: set/images/b.png: not an image of a known format",
        "crate: set/images/d.png: 48 × 36 px, but 36 × 48 px in set/masks/d.png",
        "crate: set/masks/c.png: shows no object: all of it is background",
    ]
    assert "2 photos of set, 3 could not be evaluated; " in done.out.decode()
    first = here("evaluate", "saliency", "set", *MASKS, "-q", "--fail-fast", "--batch-size", "1")
    assert (first.code, first.out) == (1, b"")
    for name in "ae":
        (folder / f"images/{name}.png").write_bytes(b"")
    none = here("evaluate", "saliency", "set", *MASKS, "-q")
    assert none.code == 1
    assert none.err.splitlines()[-2:] == [
        "crate: 5 of 5 photos failed",
        "crate: set: none of its photos could be evaluated",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["saliency", "gone"], 3, "gone: no such folder"),
        (["saliency", "set/images"], 1, "set/images: has no images/ and masks/; DUTS-TE-Image/ and "),
        (
            ["parts", "set"],
            1,
            "set: has no images/ and masks_part/ in it: name its folders with --images and --masks",
        ),
        (["voc", "set"], 1, "set: no ImageSets/Segmentation/val.txt in it"),
        (["coco", "set"], 1, "set: neither instances.json nor annotations/instances_val2017.json in it"),
        (["saliency", "empty"], 3, "no photo in empty/images"),
        (["saliency", "set", "--off-centre"], 1, "c.png: nothing in images/ goes with it"),
        (["saliency", "set", "--json", "--markdown"], 2, "--json and --markdown exclude each other"),
        (["saliency", "set", "-m", "crate-nan"], 2, "no model 'crate-nan', did you mean crate-nano?"),
        (
            ["saliency", "set", "-m", "vit-small-patch8-dino"],
            4,
            "vit-small-patch8-dino is not on this machine",
        ),
        (
            ["saliency", "set", "--heads", "some"],
            2,
            "--heads 'some' is not auto, agree, all or whole numbers",
        ),
        (["saliency", "set", "--keep", "most"], 2, "'most' is not mass:F"),
        (["voc", "set", "--layer", "-9"], 2, "layer -9 of a model with 8 layers, 0 to 7"),
        (["voc", "set", "--size", "2000"], 2, "--size is 2000, not less than or equal to 1536"),
        (["saliency", "set", "--device", "cuda:9"], 5, "cuda:9 is not available"),
        (["saliency"], 2, "missing argument 'PATH'"),
    ],
)
def test_what_goes_wrong_is_one_line(
    machine: Machine, here: Here, arguments: Sequence[str], code: int, reason: str
) -> None:
    folder = saliency_set(machine.desk / "set")
    (folder / "images/c.png").unlink()
    for name in ("images", "masks"):
        (machine.desk / "empty" / name).mkdir(parents=True)
    failed(here("evaluate", *arguments, *(() if arguments == ["saliency"] else ("-q",))), code, reason)


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("segmentation", {"size": [64, 64], "counts": "~" * 1000}, "an RLE's counts are not COCO's text"),
        ("segmentation", [[1e9] * 6], "a polygon has points far outside the photo, or that are no numbers"),
        ("bbox", "abcd", "its bbox is not left, top, width and height"),
    ],
)
def test_one_bad_annotation_is_one_line(
    machine: Machine, here: Here, part: str, value: object, reason: str
) -> None:
    """It is said before any photo is judged, and no decoder in C sees it."""
    folder = coco(machine.desk / "set", (np.zeros((64, 64, 3), np.uint8), [Box(8, 8, 24, 24)] * 2))
    whole = json.loads((folder / "instances.json").read_text())
    whole["annotations"][1][part] = value
    (folder / "instances.json").write_text(json.dumps(whole))
    done = here("evaluate", "coco", "set", "--size", "64", "-q")
    failed(done, 1, f"set/instances.json: not COCO's annotations: annotations[1], id 2: {reason}")


def test_scores_that_cannot_be_written(machine: Machine, here: Here) -> None:
    saliency_set(machine.desk / "set")
    (machine.desk / "file").write_text("")
    done = here("evaluate", "saliency", "set", *MASKS, "-q", "--scores", "file/x")
    failed(done, 1, "scores cannot be written: Not a directory")


def test_another_process_at_work_on_the_same_scores(machine: Machine, here: Here) -> None:
    saliency_set(machine.desk / "set", 1)
    command = ("evaluate", "saliency", "set", *MASKS, "-q", "--scores", "kept")
    assert here(*command).code == 0
    (file,) = machine.desk.glob("kept/*.jsonl")
    content = file.read_bytes()
    with FileLock(file.with_name(f".{file.name}.lock")):
        failed(here(*command), 1, f"kept/{file.name}: another crate is at work on it: wait for it")
    assert file.read_bytes() == content


def test_a_limit_of_file_sizes(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 11: one line, and the scores that were written are known."""
    saliency_set(machine.desk / "set", 20)
    command = ("evaluate", "saliency", "set", *MASKS, "--scores", "kept", "--resume")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, most[1]))
    try:
        done = here(*command, "-q")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    (file,) = machine.desk.glob("kept/*.jsonl")
    rows = file.read_bytes().count(b"\n")
    reason = f"{file.relative_to(machine.desk)}: scores cannot be written: File too large"
    counted = f"{rows} of 20 photos done, {20 - rows} left; --resume goes on from here"
    assert (done.code, done.out, done.err) == (1, b"", f"crate: {reason}; {counted}\n")
    assert 0 < rows < 20
    taken_up = here(*command)
    assert taken_up.code == 0
    assert taken_up.err.splitlines()[-1] == f"crate: {rows} photos were evaluated before"
    assert file.read_bytes().count(b"\n") == 20


def test_the_papers_number_in_a_column_of_its_own() -> None:
    """Only where there is one."""
    rows = (
        ResultRow("best", (Measure("mIoU", 0.2345, 0.2, 0.26, paper=0.27),), 11),
        ResultRow("auto", (Measure("mIoU", 0.2, float("nan"), float("nan")),), 11),
    )
    result = Evaluation("voc", Path("VOC[red]\x1b"), 1449, 0, rows, "a recipe", {}, ("a note",), None)
    header, _, best, auto, _, *notes = tables.as_markdown([result]).splitlines()
    assert header == "| model |  | layer | mIoU % | paper |"
    assert best == "| a model without a name | best | 11 | 23.4 (20.0–26.0) | 27.0 |"
    assert auto == "| a model without a name | auto | 11 | 20.0 |  |"
    assert notes == ["- 1,449 photos of VOC[red]\\x1b; a recipe", "- a note"]
    table = tables.as_table([result]).splitlines()
    assert table[0].split() == ["model", "layer", "mIoU", "%", "paper"]
    assert table[1].split()[-3:] == ["23.4", "(20.0–26.0)", "27.0"]
    assert table[4] == "1,449 photos of VOC[red]\\x1b; a recipe"


def test_the_record_of_an_evaluation() -> None:
    """Keys in this order, numbers rounded, NaN null; a folder's name may be no Unicode."""
    best = ResultRow("best", (Measure("mIoU", 0.23456789, 0.2, 0.26, paper=0.27),), 11)
    auto = ResultRow("auto", (Measure("mIoU", 0.2, float("nan"), float("nan")),))
    settings = {"layers": [11], "split": "val"}
    weights = WeightsId("crate-nano", "0" * 64)
    result = Evaluation(
        "voc", Path("VOC\udcff"), 1449, 2, (best, auto), "a recipe", settings, ("note",), weights
    )
    (printed,) = json.loads(tables.as_json([result]))
    assert list(printed.items()) == [
        ("protocol", "voc"),
        ("data", "VOC\udcff"),
        ("photos", 1449),
        ("failed", 2),
        ("weights", "crate-nano"),
        ("weights_sha256", "0" * 64),
        ("run", None),
        ("settings", settings),
        ("notes", ["note"]),
        (
            "rows",
            [
                {
                    "name": "best",
                    "layer": 11,
                    "measures": {"mIoU": {"value": 0.234568, "low": 0.2, "high": 0.26, "paper": 0.27}},
                },
                {
                    "name": "auto",
                    "layer": None,
                    "measures": {"mIoU": {"value": 0.2, "low": None, "high": None, "paper": None}},
                },
            ],
        ),
    ]
    assert EvaluationRecord.model_validate(printed) == result.as_record()


def test_a_narrow_terminal_breaks_numbers_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "stdout_is_terminal", lambda: True)
    for name, value in (("COLUMNS", "80"), ("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    names = ("IoU", "maxFβ", "MAE", "accuracy", "CorLoc")
    rows = (ResultRow("mean of heads", tuple(Measure(name, 0.123, 0.045, 0.678) for name in names)),)
    weights = WeightsId("crate-nano", "0")
    result = Evaluation("saliency", Path("set"), 3, 0, rows, "a recipe", {}, (), weights)
    table = tables.as_table([result])
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "…" not in table
    for number in ("0.123", "(0.045", "0.678)"):
        assert table.count(number) == len(names)


def test_photos_as_a_data_set_has_them(machine: Machine, here: Here) -> None:
    """Turned by EXIF, and masks as JPEG's neighbours have them: names need share a stem only."""
    folder = machine.desk / "set"
    turned = Image.fromarray(np.rot90(disc()).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (folder / "images").mkdir(parents=True)
    turned.save(folder / "images/ä [x].jpg", exif=exif, quality=95)
    save(folder / "masks/ä [x].png", truth())
    done = here("evaluate", "saliency", "set", *MASKS, "-q")
    assert done.code == 0, done.err
