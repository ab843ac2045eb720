"""`crate evaluate --run`: the masks of finished runs, judged without a model."""

import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cratecli
from cratecli.evaluation.finished import opened
from cratecli.evaluation.protocol import JudgedPhoto
from cratecli.evaluation.saliency import saliency_run
from cratecli.geometry import Box
from cratecli.weights import checkpoint
from tests.cli.conftest import Here, Machine, failed
from tests.support.painted import coco, labelled, pairs
from tests.support.photos import photo

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DISC = Box(7, 8, 29, 30)
SEGMENT = ("--size", "32", "--refine", "none")
NUMBERS = ("--resamples", "0", "--json", "-q")
MASKCUT = ("--by", "maskcut", "--size", "64", "--refine", "none", "--min-score", "0", "--min-best", "0")


@pytest.fixture
def data(machine: Machine) -> Path:
    """Write four photos of a disc, and their truth."""
    truth = labelled((DISC, 255), height=36, width=48)
    return pairs(machine.desk / "set", "masks", *((photo(36, 48, seed), truth) for seed in range(4)))


def judged(done: Any) -> dict[str, Any]:
    assert (done.code, done.err) == (0, ""), done.err
    (record,) = json.loads(done.out)
    return dict(record)


def values(record: dict[str, Any], row: int = 0) -> dict[str, float]:
    return {name: each["value"] for name, each in record["rows"][row]["measures"].items()}


def refuse_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_given: object, **_options: object) -> None:
        raise AssertionError("a model was asked")

    monkeypatch.setattr(checkpoint, "load_model", load)


@pytest.mark.parametrize("output", ["run/", "rows.parquet", "masks.tar"])
def test_masks_of_a_run_have_the_numbers_of_the_model(
    machine: Machine, here: Here, data: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged(here("evaluate", "saliency", "set", *SEGMENT, *NUMBERS))
    assert here("segment", "set/images", "-o", output, *SEGMENT).code == 0
    refuse_models(monkeypatch)
    found = judged(here("evaluate", "saliency", "set", "--run", output, *NUMBERS))
    of_masks = {name: value for name, value in values(asked).items() if name not in ("maxFβ", "MAE")}
    assert list(of_masks) == ["IoU", "accuracy", "CorLoc"]
    assert values(found) == of_masks
    assert 0 < values(found)["IoU"] < 1
    assert [row["name"] for row in found["rows"]] == ["auto"]
    assert found["settings"] == {name: asked["settings"][name] for name in found["settings"]}
    assert found["settings"]["refine"] == "none"
    assert (found["run"], asked["run"]) == (output, None)
    assert (found["weights"], found["weights_sha256"]) == (asked["weights"], asked["weights_sha256"])
    assert "maxFβ and MAE are of soft maps" in found["notes"][0]
    assert found["notes"][1:] == asked["notes"][1:]  # of confidence
    result = cratecli.evaluate_saliency(data, run=machine.desk / output, resamples=0)
    assert result["auto"]["IoU"] == pytest.approx(of_masks["IoU"], abs=1e-6)


@pytest.mark.parametrize("output", ["found/", "found.parquet"])
def test_objects_of_a_run_have_the_numbers_of_the_model(
    machine: Machine, here: Here, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos that are square are shown to the model as `objects` shows them."""
    discs = [photo(64, 64, seed) for seed in range(3)]
    coco(machine.desk / "set", *((each, [Box(12, 10, 50, 50), Box(0, 0, 9, 9)]) for each in discs))
    asked = judged(here("evaluate", "coco", "set", "--size", "64", *NUMBERS))
    assert here("objects", "set/images", "-o", output, *MASKCUT).code == 0
    refuse_models(monkeypatch)
    found = judged(here("evaluate", "coco", "set", "--run", output, *NUMBERS))
    assert [(row["name"], row["layer"]) for row in found["rows"]] == [("our scores", None)]
    assert values(found) == values(asked, 1)
    assert max(values(found).values()) > 0
    assert found["settings"]["by"] == "maskcut"
    result = cratecli.evaluate_coco(machine.desk / "set", run=machine.desk / output, resamples=0)
    assert result["our scores"]["mask AP50"] == pytest.approx(values(found)["mask AP50"], abs=1e-6)


def test_several_runs_stand_side_by_side(here: Here, data: Path) -> None:
    assert here("segment", "set/images", "-o", "raw/", *SEGMENT).code == 0
    assert here("segment", "set/images", "-o", "refined/", "--size", "32", "--refine", "guided").code == 0
    done = here("evaluate", "saliency", "set", "--run", "raw/", "--run", "refined/", "--run", "raw/")
    assert done.code == 0, done.err
    assert [line.split()[:3] for line in done.lines[1:4]] == [
        ["raw/", "(crate-nano)", "auto"],
        ["refined/", "(crate-nano)", "auto"],
        [],
    ]
    assert (
        "the masks of refined/, layers 4,5,6,7, sizes 32, heads auto, keep otsu, refine guided"
        in done.err + (done.out.decode())
    )


def test_photos_that_the_run_has_not(here: Here, data: Path) -> None:
    """One line for all that are missing, one for those whose bytes are others, and one for a truth of another size."""
    assert here("segment", "set/images", "-o", "run/", *SEGMENT).code == 0
    for number in range(5):
        Image.fromarray(photo(36, 48, 20 + number)).save(data / f"images/z{number}.png")
        shutil.copy(data / "masks/a.png", data / f"masks/z{number}.png")
    Image.fromarray(photo(36, 48, 99)).save(data / "images/a.png")
    Image.open(data / "masks/b.png").resize((24, 18)).save(data / "masks/b.png")
    done = here("evaluate", "saliency", "set", "--run", "run/", "--resamples", "0")
    assert done.code == 1
    assert done.err.splitlines() == [
        "crate: set/images/a.png: changed since run/ was made",
        "crate: set/images/z0.png, set/images/z1.png, set/images/z2.png and 2 more: not in run/",
        "crate: run/: 1 photo is not in set, and not judged",
        "crate: set/images/b.png: 48 × 36 px, but 24 × 18 px in set/masks/b.png",
        "crate: 7 of 9 photos failed",
    ]
    assert "2 photos of set, 7 could not be evaluated" in done.out.decode()


def test_photos_are_matched_by_their_bytes(here: Here, data: Path) -> None:
    """Names of a run may be others, and a photo may be there twice."""
    assert here("segment", "set/images", "-o", "run/", *SEGMENT).code == 0
    before = judged(here("evaluate", "saliency", "set", "--run", "run/", *NUMBERS))
    for place in ("images", "masks"):
        for path in sorted((data / place).iterdir()):
            path.rename(path.with_stem(f"other-{path.stem}"))
        shutil.copy(data / place / "other-a.png", data / place / "again.png")
    after = judged(here("evaluate", "saliency", "set", "--run", "run/", *NUMBERS))
    assert (before["photos"], after["photos"]) == (4, 5)
    assert 0 < values(after)["IoU"] < 1


def test_what_had_failed_and_what_was_retouched_is_said(here: Here, data: Path) -> None:
    (data / "images/broken.png").write_bytes(b"junk")
    assert here("segment", "set/images", "-o", "run.parquet", *SEGMENT).code == 1
    (data / "images/broken.png").unlink()
    done = here("evaluate", "saliency", "set", "--run", "run.parquet")
    assert (done.code, done.err) == (0, "crate: run.parquet: 1 photo had failed\n")
    assert here("segment", "set/images", "-o", "run/", *SEGMENT).code == 0
    Image.fromarray(np.zeros((36, 48), np.uint8)).save("run/a.png")
    done = here("evaluate", "saliency", "set", "--run", "run/")
    told = "crate: changed since they were made, and judged as they were made: run/a.png\n"
    assert (done.code, done.err) == (0, told)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("saliency", "set", "--run", "run/", "--layer", "3"), 2, "--layer is of no use with --run"),
        (("saliency", "set", "--run", "run/", "--oracle"), 2, "--oracle is of no use with --run"),
        (("saliency", "set", "--run", "run/", "-m", "crate-nano"), 2, "--model is of no use with --run"),
        (("saliency", "set", "--run", "run/", "--resume"), 2, "--resume is of no use with --run"),
        (("saliency", "set", "--run", "run/", "--json", "--markdown"), 2, "exclude each other"),
        (("saliency", "set", "--run", "nowhere"), 1, "nowhere: No such file"),
        (("saliency", "set", "--run", ""), 2, "a path is empty"),
        (("saliency", "set", "--run", "set/images/a.png"), 1, "not a row of a manifest"),
        (("saliency", "set", "--run", "set/images"), 1, "the folder is no run"),
        (("saliency", "set", "--run", "rows/"), 1, "the folder is no run; rows/of.manifest.jsonl is one"),
        (("saliency", "set", "--run", "s3://bucket/run/"), 2, "only .parquet and .tar are read by URL"),
        (
            ("saliency", "set", "--run", "found/"),
            1,
            "found/: a run of crate objects: crate evaluate saliency",
        ),
        (("coco", "boxes", "--run", "run/"), 1, "run/: a run of crate segment: crate evaluate coco judges"),
        (("saliency", "set", "--run", "heads/"), 1, "a run of crate heads has no masks"),
        (("saliency", "set", "--run", "mixed/"), 1, "mixed/: its masks were made in 2 ways"),
        (("saliency", "other", "--run", "run/"), 1, "run/: none of its photos is in other"),
    ],
)
def test_what_is_no_run_of_these_photos(
    machine: Machine, here: Here, data: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    for made in ("run/", "mixed/"):
        assert here("segment", "set/images", "-o", made, *SEGMENT).code == 0
    assert (
        here("segment", "set/images", "-o", "mixed/", *SEGMENT, "--keep", "mean", "--include", "a*").code == 0
    )
    assert here("objects", "set/images", "-o", "found/", "--size", "32").code == 0
    if "rows/" in words:
        assert here("segment", "set/images", "-o", "rows/of.parquet", *SEGMENT).code == 0
    assert here("heads", "set/images/a.png", "--as", "npz", "-o", "heads/").code == 0
    coco(machine.desk / "boxes", (photo(36, 48, 0), [DISC]))
    pairs(machine.desk / "other", "masks", (photo(36, 48, 50), labelled((DISC, 255), height=36, width=48)))
    failed(here("evaluate", *words), code, told)


def test_a_file_of_rows_without_masks(here: Here, data: Path) -> None:
    (data / "images/a.png").write_bytes(b"junk")
    assert here("segment", "set/images/a.png", "-o", "run.parquet", *SEGMENT).code == 1
    for command in (
        ("export", "run.parquet", "--as", "coco"),
        ("evaluate", "saliency", "set", "--run", "run.parquet"),
    ):
        failed(here(*command), 3, "crate: run.parquet: no photo was done")


@pytest.mark.parametrize(
    ("change", "about", "told"),
    [
        ({"objects": [{"score": float("nan")}]}, {}, "a: an object has no score of 0 to 1, or no label"),
        ({"objects": [{"label": ""}]}, {}, "a: an object has no score of 0 to 1, or no label"),
        ({"confidence": float("nan")}, {}, "a: Out of range float values are not JSON compliant"),
        ({"input": "a\0b"}, {}, "is no path"),
        ({}, {"made": [{}]}, "does not say how it was made"),
        ({}, {"made": {"command": "segment"}}, "does not say how it was made"),
    ],
)
def test_rows_that_were_changed_by_hand(
    machine: Machine, here: Here, data: Path, change: dict[str, Any], about: dict[str, Any], told: str
) -> None:
    """The file is named as the user knows it."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert here("segment", "set/images", "-o", "run.parquet", *SEGMENT).code == 0
    table = parquet.read_table(machine.desk / "run.parquet")
    rows, (held,) = table.to_pylist(), table.schema.metadata.values()
    objects = [each | new for each, new in zip(rows[0]["objects"], change.get("objects", ()), strict=False)]
    rows[0] |= change | ({"objects": objects} if "objects" in change else {})
    metadata = {b"crate": json.dumps(json.loads(held) | about).encode()}
    spoilt = arrow.Table.from_pylist(rows, schema=table.schema.with_metadata(metadata))
    parquet.write_table(spoilt, machine.desk / "run.parquet")
    for command in (
        ("evaluate", "saliency", "set", "--run", "run.parquet"),
        ("export", "run.parquet", "--as", "coco"),
    ):
        done = here(*command)
        failed(done, 1, "crate: run.parquet: not a run of ours: ")
        assert told in done.err


@pytest.mark.parametrize("before", [0, 3, 5, 7])
def test_a_signal_ends_it_between_two_photos(here: Here, data: Path, before: int) -> None:
    """It is asked before each of four photos is matched, and before each is judged."""
    assert here("segment", "set/images", "-o", "run/", *SEGMENT).code == 0
    asked = count()
    with opened("run/") as run:
        found = saliency_run(data, run).judge_all(print, lambda: next(asked) >= before)
        assert [type(each) for each in found] == [JudgedPhoto] * max(0, before - 4)


def test_a_model_and_a_run_are_one_too_many(data: Path) -> None:
    with pytest.raises(ValueError, match="no model is asked"):
        cratecli.evaluate_saliency(data, "crate-nano", run="run/")
