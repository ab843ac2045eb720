"""Photos from shards, tables and URLs, and outputs to them: the engine's promises hold for them too."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cratecli.runs import batch
from tests.cli.conftest import Done, Here, Machine, failed, inputs, never, outputs, picture
from tests.support.runs import read_rows
from tests.support.server import Answer, Server
from tests.support.shards import jpeg, tar_of, write_parquet

FAST = ("--size", "32", "--heads", "agree", "--refine", "none", "-q")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")


@pytest.fixture(autouse=True)
def store() -> Iterator[Any]:
    """Give fsspec's store in memory, empty."""
    import fsspec

    memory = fsspec.filesystem("memory")
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def shards(machine: Machine, count: int = 2, photos: int = 2, bad: int | None = None) -> list[Path]:
    """Put shards on the desk, of photos that differ; one photo may be bad."""
    made = []
    for shard in range(count):
        members = {}
        for number in range(photos):
            place = shard * photos + number
            members[f"{place}.jpg"] = b"no photo" if place == bad else jpeg(place)
            members[f"{place}.cls"] = b"1"
        made.append(machine.desk / f"s-{shard}.tar")
        made[-1].write_bytes(tar_of(members))
    return made


def rows_of(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def masks_in(done: Done) -> set[str]:
    return {json.dumps(json.loads(line)["rle"]) for line in done.lines}


def test_shards_become_folders_of_masks_and_are_taken_up_again(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards(machine, bad=1)
    told = "crate: s-0.tar::1.jpg: not an image of a known format\ncrate: 1 of 4 photos failed\n"
    done = here("segment", "s-{0..1}.tar", "-o", "out", *FAST)
    assert (done.code, done.err) == (1, told)
    assert sorted(done.lines) == ["out/s-0/0.png", "out/s-1/2.png", "out/s-1/3.png"]
    assert outputs(machine.desk / "out") == ["s-0/0.png", "s-1/2.png", "s-1/3.png"]
    assert {row.input for row in read_rows(machine.desk / "out")} == {
        "../s-0.tar::0.jpg",
        "../s-1.tar::2.jpg",
        "../s-1.tar::3.jpg",
    }
    orphan = machine.desk / "out/s-1" / f".crate-{'0' * 32}.part"
    orphan.write_bytes(b"")
    (machine.desk / "out/s-1/3.png").unlink()
    again = here("segment", "s-{0..1}.tar", "-o", "out", "--resume", *FAST)
    assert (again.code, again.lines) == (1, ["out/s-1/3.png"])
    assert not orphan.exists()
    monkeypatch.setattr(batch, "views_of", never)
    (machine.desk / "s-0.tar").write_bytes(tar_of({"0.jpg": jpeg(0)}))
    assert here("segment", "s-{0..1}.tar", "-o", "out", "--resume", *FAST).code == 0
    assert here("segment", "s-{0..1}.tar", "-o", "out", "--prune", "--resume", *FAST).code == 0
    assert len(outputs(machine.desk / "out")) == 3


def test_photos_are_the_same_wherever_they_come_from(
    machine: Machine, here: Here, server: Server, store: Any
) -> None:
    content = jpeg()
    (machine.desk / "a.jpg").write_bytes(content)
    (machine.desk / "a.tar").write_bytes(tar_of({"x/a.jpg": content}))
    write_parquet(machine.desk / "a.parquet", [{"bytes": content, "path": None}])
    server.answers["/a.jpg"] = Answer(content)
    server.answers["/a.tar"] = Answer(tar_of({"a.jpg": content}))
    store.pipe_file("/b/sub/a.jpg", content)
    store.pipe_file("/b/a.tar", tar_of({"a.jpg": content}))
    store.pipe_file("/b/a.parquet", (machine.desk / "a.parquet").read_bytes())
    sources = [
        *("a.jpg", "a.tar", "a.parquet", "a.tar::x/a.jpg", "a.parquet::00000000"),
        *(f"{server.address}/a.jpg", f"{server.address}/a.tar"),
        *("memory://b/sub", "memory://b/a.tar", "memory://b/a.parquet", "memory://b/a.tar::a.jpg"),
    ]
    done = here("segment", *sources, "--jsonl", "--rle", "-o", "out", *FAST)
    assert (done.code, len(masks_in(done))) == (0, 1)
    names = ["a.tar::x/a.jpg", "a.parquet::00000000", "memory://b/a.tar::a.jpg"]
    expected = [*sources[:1], *names[:2], *names, *sources[5:6], *[f"{server.address}/a.tar::a.jpg"]]
    expected += ["memory://b/sub/a.jpg", "memory://b/a.tar::a.jpg", "memory://b/a.parquet::00000000"]
    assert sorted(inputs(done)) == sorted(expected)


def test_one_bad_row_of_fifty_is_a_row_with_an_error(machine: Machine, here: Here) -> None:
    photo = jpeg(width=16, height=16)
    rows = [photo] * 50
    rows[17] = photo[:200]
    write_parquet(machine.desk / "rows.parquet", rows, "scan")
    done = here("segment", "rows.parquet", "--column", "scan", "-o", "masks.parquet", "--resume", *FAST)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "crate: 1 of 50 photos failed"
    found = rows_of(machine.desk / "masks.parquet")
    assert [row["key"] for row in found] == [f"rows/{number:08}" for number in range(50)]
    assert [row["key"] for row in found if row["error"]] == ["rows/00000017"]
    assert found[17]["height"] is None
    assert {row["input"] for row in found} == {f"rows.parquet::{number:08}" for number in range(50)}


def test_outputs_of_another_command_are_named_before_they_are_replaced(machine: Machine, here: Here) -> None:
    shards(machine, 1)
    assert here("segment", "s-0.tar", "-o", "out", *FAST).code == 0
    done = here("objects", "s-0.tar", "-o", "out", "--size", "32")
    assert "of crate segment, and replaced, unless edited: out/s-0/0.png, out/s-0/1.png" in done.err


@pytest.mark.parametrize("command", ["segment", "objects"])
@pytest.mark.parametrize(("kind", "ending"), [("parquet", "parquet"), ("webdataset", "tar")])
def test_files_of_rows_are_exported_as_the_run_would_be(
    machine: Machine, here: Here, command: str, kind: str, ending: str
) -> None:
    shards(machine, 1, 3, bad=2)
    options = ("--size", "32", "-q")
    assert here(command, "s-0.tar", "-o", f"rows/all.{ending}", *options).code == 1
    assert here(command, "s-0.tar", "-o", "plain/", *options).code == 1
    for run, out in (
        (f"rows/all.{ending}", "a.json"),
        ("plain", "b.json"),
        ("rows/all.manifest.jsonl", "c.json"),
    ):
        assert here("export", run, "--as", "coco", "-o", out, "-q").code == 0
    read = [json.loads((machine.desk / name).read_text()) for name in ("a.json", "b.json", "c.json")]
    assert [[each["file_name"].rpartition("/")[2] for each in whole["images"]] for whole in read] == [
        ["0.jpg", "1.jpg"]
    ] * 3
    masks = [[each["segmentation"] for each in whole["annotations"]] for whole in read]
    assert masks[0] == masks[1] == masks[2]
    again = here("export", f"rows/all.{ending}", "--as", kind, "-o", f"again.{ending}")
    assert (again.code, "1 photo had failed: left out" in again.err) == (0, True)
    assert "IoU 1" in again.err
    assert here("export", f"again.{ending}", "--as", "overlay", "-o", "shown", "-q").code == 0


def test_a_file_for_each_shard_is_kept_once_it_is_finished(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shards(machine)
    asked = ("segment", str(first), str(second), "--as", "parquet", "-o", "out/", *FAST)
    done = here(*asked)
    assert (done.code, done.lines) == (0, ["out/s-0.parquet", "out/s-1.parquet"])
    written = (machine.desk / "out/s-0.parquet").read_bytes()
    second.write_bytes(tar_of({"9.jpg": jpeg(9)}))
    from cratecli.io.sources import packed

    read: list[str] = []
    original = packed.Packed.entries

    def entries(self: packed.Packed, *given: Any) -> Any:
        read.append(self.name)
        return original(self, *given)

    monkeypatch.setattr(packed.Packed, "entries", entries)
    again = here(*asked, "--resume")
    assert (again.code, again.lines, read) == (0, ["out/s-1.parquet"], [str(second)])
    assert (machine.desk / "out/s-0.parquet").read_bytes() == written
    assert [row["key"] for row in rows_of(machine.desk / "out/s-1.parquet")] == ["9"]
    other = here(*asked[:-5], "--size", "48", "--heads", "agree", "-q", "--resume")
    assert (other.code, len(other.lines)) == (0, 2)


def test_a_shard_that_cannot_be_read_ends_no_run(machine: Machine, here: Here) -> None:
    first, _ = shards(machine)
    first.write_bytes(first.read_bytes()[: 1 << 10])
    done = here("segment", "s-0.tar", "no.tar", "s-1.tar", "-o", "out", *FAST)
    assert done.code == 1
    assert "crate: s-0.tar: a broken archive" in done.err
    assert "crate: no.tar: No such file or directory" in done.err
    assert outputs(machine.desk / "out") == ["s-1/2.png", "s-1/3.png"]


def test_outputs_go_to_a_store_and_are_taken_up_again(
    machine: Machine, here: Here, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        store.pipe_file(f"/b/photos/sub/{number}.jpg", jpeg(number))
    asked = ("segment", "memory://b/photos/", "-r", "-o", "memory://b/masks/", *FAST[:-1])
    done = here(*asked)
    assert (done.code, done.lines) == (0, ["memory://b/masks/sub/0.png", "memory://b/masks/sub/1.png"])
    assert "what is done is noted in b-masks.manifest.jsonl, which --resume" in done.err
    assert machine.files() == []
    store.pipe_file("/b/masks/sub/1.png", b"torn")
    assert here(*asked, "--resume").lines == ["memory://b/masks/sub/1.png"]
    assert here(*asked, "--exists", "skip").lines == []
    monkeypatch.setattr(batch, "views_of", never)
    assert here(*asked, "--resume").code == 0
    edited = store.cat_file("/b/masks/sub/1.png")
    store.pipe_file("/b/masks/sub/0.png", edited)
    assert "changed since they were made, and kept" in here(*asked, "--resume").err
    assert store.cat_file("/b/masks/sub/0.png") == edited
    assert here("export", "b-masks.manifest.jsonl", "--as", "coco", "-o", "run.json", "-q").code == 0
    names = [each["file_name"] for each in json.loads((machine.desk / "run.json").read_text())["images"]]
    assert names == ["0.jpg", "1.jpg"]


def test_one_file_goes_to_a_store(machine: Machine, here: Here, store: Any) -> None:
    shards(machine, 1)
    assert here("segment", "s-0.tar", "-o", "memory://b/rows/", "--as", "parquet", *FAST).lines == [
        "memory://b/rows/s-0.parquet"
    ]
    assert here("segment", "s-0.tar", "-o", "memory://b/run.json", *FAST).lines == ["memory://b/run.json"]
    assert len(json.loads(store.cat_file("/b/run.json"))["images"]) == 2
    (machine.desk / "a.jpg").write_bytes(jpeg())
    assert here("segment", "a.jpg", "-o", "memory://b/a.png", *FAST).lines == ["memory://b/a.png"]


def test_shards_that_are_not_there_leave_no_files(machine: Machine, here: Here, store: Any) -> None:
    shards(machine, 1)
    store.pipe_file("/b/s-0.tar", (machine.desk / "s-0.tar").read_bytes())
    done = here("segment", "memory://b/s-{0..2}.tar", "-o", "rows/", "--as", "parquet", *FAST)
    assert (done.code, done.lines) == (1, ["rows/s-0.parquet"])
    assert "memory://b/s-1.tar: no such object" in done.err
    assert [each.name for each in (machine.desk / "rows").glob("*.parquet")] == ["s-0.parquet"]


def test_a_store_that_takes_nothing_ends_the_run(
    machine: Machine, here: Here, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_arguments: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(store), "pipe_file", refuses)  # each thread has a store of its own
    shards(machine, 1)
    done = here("segment", "s-0.tar", "-o", "memory://b/", *FAST)
    assert done.code == 1
    assert done.err.startswith("crate: memory://b/s-0/0.png: cannot be written: access denied: Access Denied")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("heads", "s-0.tar", "-o", "x.png"), 2, "shards and tables are read by segment, objects and parts"),
        (("parts", "s-0.tar", "-o", "memory://x/"), 2, "memory://x/: URLs cannot be written yet"),
        (("parts", "s-0.tar", "--as", "parquet"), 2, "'parquet' is not one of 'labels', 'rgb', 'components'"),
        (("parts", "no.tar", "-o", "x"), 1, "no.tar: no such file"),
        (("heads", "a.jpg", "-o", "memory://x/a.png"), 2, "URLs cannot be written yet"),
        (("segment", "s-0.tar", "-o", "-"), 2, "photos of shards and tables go to a folder, or to one file"),
        (("segment", "s-0.tar", "-o", "x", "--exists", "skip"), 2, "give --resume"),
        (("segment", "s-0.tar", "-o", "x", "--at", "1,1"), 2, "here may be many"),
        (("segment", "ftp://host/a.jpg"), 2, "ftp:// is not read; known are"),
        (("segment", "s-0.tar", "-o", "http://host/"), 2, "a web server takes no files"),
        (("segment", "no.tar", "-o", "x.parquet"), 1, "no.tar: no such file"),
        (("segment", "memory://none/"), 3, "no photo in memory://none/"),
        (
            ("segment", "http://me:pw@127.0.0.1:1/a.jpg?sig=1", "-o", "x.png"),
            1,
            "http://127.0.0.1:1/a.jpg: cannot be",
        ),
        (("segment", "http://127.0.0.1:1/photos/"), 1, "a web server does not say what is in a folder"),
        (("segment", "gs://b/a.jpg"), 2, "pip install 'cratecli[gcs]'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    machine: Machine,
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    reason: str,
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    shards(machine, 1)
    (machine.desk / "a.jpg").write_bytes(jpeg())
    done = here(*arguments, "-q")
    failed(done, code, reason)
    assert not (machine.desk / "x.parquet").exists()
    assert "pw" not in done.err
    assert "sig" not in done.err


def test_a_dry_run_says_where_shards_go(machine: Machine, here: Here) -> None:
    shards(machine)
    done = here("segment", "s-{0..1}.tar", "-o", "memory://b/x/", "--dry-run")
    assert done.lines == ["s-0.tar\tmemory://b/x/s-0/", "s-1.tar\tmemory://b/x/s-1/"]
    rows = here("segment", "s-{0..1}.tar", "-o", "x/", "--as", "webdataset", "--dry-run")
    assert rows.lines == ["s-0.tar\tx/s-0.tar", "s-1.tar\tx/s-1.tar"]


def test_a_mask_says_from_which_shard_it_is(machine: Machine, here: Here) -> None:
    shards(machine, 1)
    here("segment", "s-0.tar", "-o", "out", *FAST)
    explained = here("explain", "out/s-0/1.png")
    assert explained.out.startswith(b"crate segment s-0.tar::1.jpg ")
    assert "s-0.tar::1.jpg: not looked at" in explained.err


@pytest.mark.parametrize("name", ["a.parquet", "a.tar"])
def test_a_file_of_rows_that_is_not_ours_is_refused(machine: Machine, here: Here, name: str) -> None:
    path = machine.desk / name
    for content in (b"", b"junk", tar_of({"1.json": b"{}"})):
        path.write_bytes(content)
        failed(here("export", name, "--as", "coco", "-o", "x.json", "-q"), 1, f"{name}: not a run of ours")
    write_parquet(path, [b"1"])
    failed(here("export", name, "--as", "coco", "-o", "x.json", "-q"), 1, f"{name}: not a run of ours")


def test_files_of_rows_are_exported_from_a_store_and_never_over_themselves(
    machine: Machine, here: Here, store: Any, server: Server
) -> None:
    shards(machine, 1)
    assert here("segment", "s-0.tar", "-o", "memory://b/rows.parquet", *FAST).code == 0
    server.answers["/rows.parquet?key=hunter2"] = Answer(store.cat_file("/b/rows.parquet"))
    for run in ("memory://b/rows.parquet", f"{server.address}/rows.parquet?key=hunter2"):
        assert here("export", run, "--as", "coco", "-o", "run.json", "-q").code == 0
        read = (machine.desk / "run.json").read_text()
        assert len(json.loads(read)["annotations"]) == 2
        assert "hunter2" not in read
    failed(
        here("export", "memory://b/x", "--as", "coco", "-o", "x.json", "-q"),
        2,
        "only .parquet and .tar are read",
    )
    assert here("export", "memory://b/rows.parquet", "--as", "webdataset", "-o", "rows.tar", "-q").code == 0
    again = here("export", "rows.tar", "--as", "webdataset", "-o", "rows.tar", "-q")
    failed(again, 2, "rows.tar belongs to the run itself")


def test_the_tools_that_they_are_for_read_rows(machine: Machine, here: Here) -> None:
    iterators = pytest.importorskip("webdataset.tariterators", reason="webdataset is not installed")
    shards(machine, 1, bad=1)
    assert here("segment", "s-0.tar", "--as", "webdataset", "-o", "out/", *FAST).code == 1
    with (machine.desk / "out/s-0.tar").open("rb") as stream:
        opened = [{"url": "s-0.tar", "stream": stream}]
        samples = list(iterators.group_by_keys(iterators.tar_file_expander(opened)))
    assert [sample["__key__"] for sample in samples] == ["0", "1"]
    assert picture(samples[0]["mask.png"]).size == (32, 24)
    assert "not an image" in json.loads(samples[1]["json"])["error"]
