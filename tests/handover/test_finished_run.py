"""What a manifest tells of a run: names that stay inside, the last row of each photo, a line for what is foreign."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.handover.finished_run import read_run
from cratecli.io.formats.record import annotate
from tests.support.annotations import blobs, split
from tests.support.runs import lay_out, row, write_manifest


def test_a_run_by_its_folder_or_its_manifest(tmp_path: Path) -> None:
    folder = lay_out(tmp_path)
    run = read_run(folder)
    assert run == read_run(folder / "manifest.jsonl")
    assert [each.name for each in run.photos] == ["a.jpg", "b.jpg", "b.png", "sub/a.png"]
    assert [each.file for each in run.photos] == ["a", "b.jpg", "b.png", "sub/a"]
    assert list(run) == list(run)
    assert [(photo.name, len(photo.objects)) for photo in run] == [
        ("a.jpg", 1),
        ("b.jpg", 0),
        ("b.png", 2),
        ("sub/a.png", 1),
    ]
    assert run.info["made"] == [{"command": "segment", "weights": "crate-nano"}]
    assert run.info["description"].startswith("crate ")
    assert run.photos[0].shown == str(tmp_path / "photos/a.jpg")


def test_the_last_row_of_an_input_counts(tmp_path: Path) -> None:
    first, second = split(blobs(40, 60), ("object",)), split(blobs(40, 60, 1), ("object",))
    rows = [row("a.jpg", "a.png", first), row("b.jpg", "b.png", first), row("a.jpg", "a.png", second)]
    rows[0] = rows[0].model_copy(update={"options": "old", "made": {"command": "old"}})
    run = read_run(write_manifest(tmp_path, rows))
    assert [(photo.name, photo.objects) for photo in run] == [("a.jpg", second), ("b.jpg", first)]
    assert run.info["made"] == [{"command": "segment", "weights": "crate-nano"}]


def test_a_run_is_the_same_in_whatever_order_it_was_done(tmp_path: Path) -> None:
    """Two processes, photos of several sizes, and runs taken up mix the rows, not what is exported."""
    rows = [row(f"{name}.jpg", f"{name}.png", []) for name in ("a/b", "a-b", "c", "a")]
    rows[1] = rows[1].model_copy(update={"options": "other", "made": {"command": "objects"}})
    run, mixed = (
        read_run(write_manifest(tmp_path / name, each)) for name, each in (("x", rows), ("y", rows[::-1]))
    )
    assert [each.name for each in run] == ["a/b.jpg", "a-b.jpg", "a.jpg", "c.jpg"]
    assert (list(mixed), mixed.info) == (list(run), run.info)


def test_measures_are_taken_anew_and_what_has_no_pixel_is_none(tmp_path: Path) -> None:
    (found,) = split(blobs(40, 60), ("object",))
    lying = replace(found, area=5, box=(1, 2, 3, 4))
    nothing = annotate(np.zeros((40, 60), bool), 0.5)
    run = read_run(write_manifest(tmp_path, [row("a.jpg", "a.png", [nothing, lying])]))
    assert next(iter(run)).objects == [found]


NAMES: dict[str, tuple[list[tuple[str, str | None]], list[str], list[str]]] = {
    "a tree": ([("../in/x/a.jpg", "x/a.png"), ("../in/a.jpg", "a.png")], ["x/a.jpg", "a.jpg"], ["x/a", "a"]),
    "no outputs": (
        [("in/a.jpg", None), ("in/A.png", None)],
        ["a.jpg", "A.png"],
        ["a.jpg", "A.png"],
    ),
    "no outputs, two folders": (
        [("../in/a.jpg", None), ("../in/sub/a.jpg", None)],
        ["a.jpg", "sub/a.jpg"],
        ["a", "sub/a"],
    ),
    "one output": ([("a.jpg", "all.json"), ("b.jpg", "all.json")], ["a.jpg", "b.jpg"], ["a", "b"]),
    "a name of its own": ([("a.jpg", "masks/new.png")], ["masks/a.jpg"], ["masks/new"]),
    "hostile": ([("../../../etc/passwd", "../../evil.png")], ["passwd"], ["evil"]),
    "absolute": (
        [("/etc/passwd", None), ("C:\\a.jpg", "/b.png")],
        ["passwd", "C%3A/a.jpg"],
        ["passwd", "b"],
    ),
    "odd": ([("a\nb\x1b.jpg", None), ("\udcff.jpg", None)], ["a%0Ab%1B.jpg", "%FF.jpg"], ["a%0Ab%1B", "%FF"]),
}


@pytest.mark.parametrize(("paths", "names", "own"), NAMES.values(), ids=NAMES)
def test_names(tmp_path: Path, paths: list[tuple[str, str | None]], names: list[str], own: list[str]) -> None:
    run = read_run(write_manifest(tmp_path, [row(source, output, []) for source, output in paths]))
    named = {each.source: (each.name, each.file) for each in run.photos}
    assert [named[tmp_path / source] for source, _ in paths] == list(zip(names, own, strict=True))


def test_two_photos_of_one_name(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [row("../a.jpg", "a.png", []), row("a.jpg", "b.png", [])])
    with pytest.raises(UsageError, match=r"\.\./a\.jpg and a\.jpg would both be called a\.jpg"):
        read_run(manifest)


def test_no_manifest_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="/dev/zero: not a regular file"):
        read_run(Path("/dev/zero"))
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(NothingMatchedError, match="no photo was done"):
        read_run(tmp_path)


def changed(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line.update(fields)


def changed_object(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line["objects"][0].update(fields)


FOREIGN: dict[str, Callable[[dict[str, Any]], None]] = {
    "no objects": lambda line: line.pop("objects"),
    "another size": changed(height=41),
    "a size beyond all": changed(height=10**9, width=10**9),
    "runs that do not fill": changed_object(rle={"size": [40, 60], "counts": "55103"}),
    "runs without end": changed_object(rle={"size": [40, 60], "counts": "o" * 100_000}),
    "a score beyond": changed_object(score=1.5),
    "a score that is none": changed_object(score=float("nan")),
    "no label": changed_object(label=""),
    "a path that is none": changed(input="a\0.jpg"),
    "a path that no disk has": changed(output="\ud800.png"),
    "a way that is no JSON": changed(made={"tau": float("inf")}),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_row_is_named_by_its_line(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    good = row("a.jpg", "a.png", split(blobs(40, 60), ("object",))).to_json()
    line = json.loads(good)
    change(line)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(f"{good}\n{json.dumps(line)}\n")
    with pytest.raises(InputError, match=r"manifest\.jsonl:2: not a row of a manifest") as error:
        read_run(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_a_manifest_that_changes_meanwhile(tmp_path: Path) -> None:
    folder = lay_out(tmp_path)
    run = read_run(folder)
    with (folder / "manifest.jsonl").open("a") as stream:
        stream.write(row("later.jpg", None, []).to_json() + "\n")
    assert len(list(run)) == 4  # what came later is left for the next time
    write_manifest(folder, [row("other.jpg", None, [])])
    with pytest.raises(InputError, match="has changed meanwhile"):
        list(run)


def test_rows_without_masks_are_passed_over(tmp_path: Path) -> None:
    """A page or sheets of heads in a run's folder do not take its masks from it."""
    looked = row("b.jpg", "b.js", []).model_copy(update={"made": {"command": "explore"}})
    again = row("a.jpg", "a.js", []).model_copy(update={"made": {"command": "explore"}})
    write_manifest(tmp_path, [row("a.jpg", "a.png", []), looked, again])
    assert [each.name for each in read_run(tmp_path).photos] == ["a.jpg"]
    write_manifest(tmp_path / "pages", [looked])
    with pytest.raises(InputError, match="a run of crate explore has no masks"):
        read_run(tmp_path / "pages")
