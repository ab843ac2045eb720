"""`crate explain` of Parquet files and shards of masks, and of single photos in them."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cratecli.io.formats import parquet, webdataset
from cratecli.io.formats.record import Annotated
from tests.cli.conftest import Here, Machine, failed

QUICK = ("--size", "32", "--refine", "none")
READ = {".parquet": parquet.read, ".tar": webdataset.read}
READ_ALL = {"parquet": parquet.read_all, "tar": webdataset.read_all}


@pytest.fixture
def desk(machine: Machine) -> Path:
    """Lay photos on the desk, as files and in two shards."""
    for seed, name in enumerate(("a.png", "b.png", "sub/c.png")):
        machine.photo(f"photos/{name}", (64, 48), seed)
    for number, name in enumerate(("a.png", "b.png")):
        with tarfile.open(machine.desk / f"shard-{number}.tar", "w") as tar:
            tar.add(machine.desk / "photos" / name, name)
    return machine.desk


def masks(file: Path) -> list[Annotated]:
    with file.open("rb") as stream:
        return list(READ[file.suffix](stream))


def again(here: Here, explained: str) -> Sequence[str]:
    """Run the command that makes a file again; gives what it wrote."""
    told = here("explain", explained)
    assert told.code == 0, told.err
    done = here(*told.out.decode().split()[1:], "-q")
    assert done.code == 0, done.err
    return done.lines


@pytest.mark.parametrize("ending", ["parquet", "tar"])
def test_a_file_and_a_photo_in_it_are_made_again(desk: Path, here: Here, ending: str) -> None:
    file = desk / f"out/rows.{ending}"
    assert here("segment", "photos", "-r", "-o", str(file), *QUICK).code == 0
    before = file.read_bytes()
    file.unlink()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(before)
    assert again(here, f"out/rows.{ending}") == [f"out/rows.{ending}"]
    assert file.read_bytes() == before
    assert again(here, f"out/rows.{ending}::sub/c") == [f"out/c.{ending}"]
    (alone,) = masks(desk / f"out/c.{ending}")
    assert list(alone.objects) == list(masks(file)[2].objects) != []


@pytest.mark.parametrize(
    ("ending", "sources"), [("parquet", ("n/%FFy", "n/%FFz")), ("tar", ("n/\udcffy", "n/\udcffz"))]
)
def test_names_that_are_no_unicode(machine: Machine, here: Here, ending: str, sources: Sequence[str]) -> None:
    """Parquet holds UTF-8 alone: there the names of photos, and the errors of others, are escaped."""
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    machine.photo("n/\udcffy.png", (64, 48), 1)
    (machine.desk / "n/\udcffz.png").write_bytes(b"no photo")
    assert here("segment", "n", "-o", f"rows.{ending}", *QUICK).code == 1
    with (machine.desk / f"rows.{ending}").open("rb") as stream:
        good, bad = READ_ALL[ending](stream)
    assert [good.source, bad.source] == [f"{each}.png" for each in sources]
    assert (good.name, bad.error) == ("%FFy", f"{sources[1]}.png: not an image of a known format")
    assert here("segment", "n/\udcffy.png", "-o", "run/", *QUICK).code == 0
    assert here("export", "run", "--as", "parquet", "-o", "e.parquet").code == 0
    (exported,) = masks(machine.desk / "e.parquet")
    assert exported.objects == good.objects


@pytest.mark.parametrize(
    ("name", "number"), [("score", "1" + "0" * 400), ("height", "Infinity"), ("width", "-Infinity")]
)
def test_numbers_that_no_record_can_hold(desk: Path, here: Here, name: str, number: str) -> None:
    assert here("segment", "photos/a.png", "-o", "rows.tar", *QUICK).code == 0
    (photo,) = masks(desk / "rows.tar")
    scored = name == "score"
    row = parquet.record_of(photo if scored else replace(photo, objects=[]), "b")
    (row["objects"][0] if scored else row)[name] = "here"
    record = json.dumps(row).replace('"here"', number).encode()
    with tarfile.open(desk / "rows.tar", "a") as tar:
        header = tarfile.TarInfo("b.json")
        header.size = len(record)
        tar.addfile(header, io.BytesIO(record))
    told = "crate: rows.tar: not a run of ours: not a photo's row (OverflowError: "
    failed(here("export", "rows.tar", "--as", "coco"), 1, told)


def test_a_file_of_one_shard_of_many(desk: Path, here: Here) -> None:
    assert here("segment", "shard-{0..1}.tar", "-o", "rows/", "--as", "parquet", *QUICK).code == 0
    before = masks(desk / "rows/shard-1.parquet")
    assert again(here, "rows/shard-1.parquet") == ["rows/shard-1.parquet"]
    assert masks(desk / "rows/shard-1.parquet") == before
    assert again(here, "rows/shard-1.parquet::b") == ["rows/b.parquet"]
    assert [each.objects for each in masks(desk / "rows/b.parquet")] == [each.objects for each in before]


def test_an_exported_run(desk: Path, here: Here) -> None:
    """The file was made by `export`, the masks of a photo in it by `segment`."""
    assert here("segment", "photos/a.png", "photos/b.png", "-o", "run/", *QUICK, "--as", "overlay").code == 0
    assert here("export", "run", "--as", "parquet", "-o", "e.parquet").code == 0
    assert here("explain", "e.parquet").lines == ["crate export run --as parquet --output e.parquet"]
    assert again(here, "e.parquet::b") == ["b.parquet"]
    assert masks(desk / "b.parquet")[0].objects == masks(desk / "e.parquet")[1].objects


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rows.parquet::none", "rows.parquet::none: not in there"),
        ("rows.parquet::broken", "rows.parquet::broken: has no mask: "),
        ("nowhere.parquet::a", "nowhere.parquet: no such file"),
        ("photos/a.png::a", "photos/a.png: holds no rows, and so no a"),
        ("shard-0.tar", "no rows and no JSON of ours"),
        ("shard-0.tar::a", "no rows and no JSON of ours"),
        ("cut.parquet", "no rows and no JSON of ours"),
        ("cut.parquet::a", "no rows and no JSON of ours"),
    ],
)
def test_what_is_not_there_or_not_ours(desk: Path, here: Here, name: str, told: str) -> None:
    (desk / "photos/broken.png").write_bytes(b"junk")
    assert here("segment", "photos", "-o", "rows.parquet", *QUICK).code == 1
    whole = (desk / "rows.parquet").read_bytes()
    (desk / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    failed(here("explain", name), 1, told)


def test_a_photo_may_be_called_so(desk: Path, here: Here) -> None:
    assert here("segment", "photos/a.png", "-o", "x.parquet::a.png", *QUICK).code == 0
    assert here("explain", "x.parquet::a.png").out.startswith(b"crate segment photos/a.png ")
